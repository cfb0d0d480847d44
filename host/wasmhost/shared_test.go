package wasmhost

import (
	"slices"
	"testing"
)

func TestSharedDataFromOutside(t *testing.T) {
	rt, err := NewRuntime(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close(t.Context()) })
	if _, ok := rt.SharedData("b"); ok || len(rt.SharedKeys()) != 0 {
		t.Error("there is something at the start")
	}
	rt.SetSharedData("b", []byte("1"))
	rt.SetSharedData("a", nil)
	before, _ := rt.shared.value("b")
	rt.SetSharedData("b", []byte("2"))
	after, _ := rt.shared.value("b")
	if got, ok := rt.SharedData("b"); !ok || string(got) != "2" || before.cas == after.cas {
		t.Errorf("%q, %t; numbers %d and %d", got, ok, before.cas, after.cas)
	}
	if got := rt.SharedKeys(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("keys %v", got)
	}
}
