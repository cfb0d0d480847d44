//go:build keycloak

package keycloak

import "testing"

// TestKeycloak starts one server for all, since that takes half a minute.
func TestKeycloak(t *testing.T) {
	s := start(t)
	t.Run("story offline", func(t *testing.T) { testStoryOffline(t, s) })
}
