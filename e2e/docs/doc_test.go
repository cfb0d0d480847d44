// Package docs runs the examples of the documentation, so that none of it is
// said that is not so.
package docs
