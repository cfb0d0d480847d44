package xds

import (
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// A response is what the generated code would encode, and copies nothing of the
// resource, whatever stream it is for.
func TestResponseSharesTheResource(t *testing.T) {
	s := New(Options{})
	set(t, s, "1.7", "configuration")
	p, _ := s.latest()
	for _, nonce := range []string{"1", "2"} {
		b, err := newCodec().Marshal(newResponse(p, nonce))
		if err != nil {
			t.Fatal(err)
		}
		if last := b[len(b)-1].ReadOnlyData(); &last[0] != &p.resource[0] {
			t.Error("the resource was copied")
		}
		var got discoveryv3.DiscoveryResponse
		if err := proto.Unmarshal(b.Materialize(), &got); err != nil {
			t.Fatal(err)
		}
		if _, raw := unpack(t, &got); string(raw) != "configuration" {
			t.Errorf("it carries %q", raw)
		}
		want := &discoveryv3.DiscoveryResponse{
			VersionInfo: "1.7", TypeUrl: TypeURL, Nonce: nonce,
			Resources: []*anypb.Any{{TypeUrl: TypeURL, Value: got.GetResources()[0].GetValue()}},
		}
		if !proto.Equal(want, &got) {
			t.Errorf("got %v, want %v", &got, want)
		}
	}
}

// What is no response is encoded as ever.
func TestCodecOfOtherMessages(t *testing.T) {
	m := &discoveryv3.DiscoveryRequest{VersionInfo: "1.1"}
	b, err := newCodec().Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var got discoveryv3.DiscoveryRequest
	if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b.Materialize())}, &got); err != nil || !proto.Equal(m, &got) {
		t.Errorf("got %v, %v", &got, err)
	}
}
