package mem_test

import (
	"testing"

	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
	"sallyport/host/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return mem.New() })
}
