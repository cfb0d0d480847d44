//go:build keycloak

package keycloak

import "testing"

// TestKeycloak starts one server for all, since that takes half a minute. The
// story in Envoy comes first: it needs a realm that no token was asked of.
func TestKeycloak(t *testing.T) {
	s := start(t)
	t.Run("story in Envoy", func(t *testing.T) { testStoryInEnvoy(t, s) })
	t.Run("story offline", func(t *testing.T) { testStoryOffline(t, s) })
	t.Run("rotation under load", func(t *testing.T) { testRotation(t, s) })
}
