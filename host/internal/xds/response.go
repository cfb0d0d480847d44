package xds

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // what its codec is made of
	"google.golang.org/grpc/mem"
)

// response is a DiscoveryResponse in the wire format: the fields that are of one
// stream, and behind them the resource, whose bytes all streams share.
type response struct {
	head     []byte
	resource []byte // see FilterConfig.resource
}

// newResponse makes a response of a push.
func newResponse(p *push, nonce string) *response {
	head := text(1, p.version) // version_info
	head = append(head, text(4, TypeURL)...)
	head = append(head, text(5, nonce)...)
	return &response{head, p.resource}
}

// codec is gRPC's for protocol buffers, and leaves a response as it is: encoding
// it for each stream would copy the whole configuration for each proxy.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*response); ok {
		return mem.BufferSlice{mem.SliceBuffer(r.head), mem.SliceBuffer(r.resource)}, nil
	}
	return c.CodecV2.Marshal(v)
}
