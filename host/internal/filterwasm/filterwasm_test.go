package filterwasm_test

import (
	"bytes"
	"testing"

	"sallyport/host/internal/filterwasm"
)

func TestModuleIsWebAssembly(t *testing.T) {
	b, err := filterwasm.Module()
	if err != nil {
		t.Fatalf("%v (run make build)", err)
	}
	if !bytes.HasPrefix(b, []byte("\x00asm\x01\x00\x00\x00")) {
		t.Errorf("it begins with %q", b[:min(8, len(b))])
	}
}
