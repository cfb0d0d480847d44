package xds

import (
	"bytes"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestNestedIsWhatGeneratedCodeEncodes holds the field numbers.
func TestNestedIsWhatGeneratedCodeEncodes(t *testing.T) {
	for _, payload := range [][]byte{{0}, bytes.Repeat([]byte("x"), 1<<20)} {
		inner := packed(t, wrapperspb.Bytes(payload))
		plugin := &wasmv3.PluginConfig{Name: "n", FailurePolicy: wasmv3.FailurePolicy_FAIL_RELOAD}
		settings, err := proto.Marshal(plugin)
		if err != nil {
			t.Fatal(err)
		}
		plugin.Configuration = inner
		want := &corev3.TypedExtensionConfig{Name: ResourceName, TypedConfig: packed(t, &filterv3.Wasm{Config: plugin})}
		var got corev3.TypedExtensionConfig
		if err := proto.Unmarshal(nested(payload, layers(settings)), &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(unnested(t, &got), unnested(t, want)) {
			t.Errorf("a payload of %d bytes: got %.500v", len(payload), &got)
		}
		if got.Name != want.Name || got.TypedConfig.TypeUrl != want.TypedConfig.TypeUrl {
			t.Errorf("got %s in %s", got.TypedConfig.TypeUrl, got.Name)
		}
	}
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func unnested(t *testing.T, c *corev3.TypedExtensionConfig) *filterv3.Wasm {
	t.Helper()
	var w filterv3.Wasm
	if err := c.TypedConfig.UnmarshalTo(&w); err != nil {
		t.Fatal(err)
	}
	return &w
}
