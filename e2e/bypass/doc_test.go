// Package bypass attacks the real Envoy with the filter, in the configuration
// that "sallyport envoy config" prints, with what got by other proxies: raw bytes
// in HTTP/1.1, raw frames in HTTP/2. The rows of SECURITY.md stand here.
package bypass
