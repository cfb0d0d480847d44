package storetest_test

import (
	"testing"

	"sallyport/host/internal/store"
	"sallyport/host/internal/store/storetest"
)

// TestConformanceOfTheLeast runs the suite on a store that promises no more than
// package store does, so that the suite asks for no more either.
func TestConformanceOfTheLeast(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return storetest.NewOptimistic() })
}
