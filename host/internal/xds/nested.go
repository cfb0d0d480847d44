package xds

import (
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// layer is a message around another: what stands before the field that holds
// the other, and the number of that field.
type layer struct {
	before []byte
	field  protowire.Number
}

// layers returns the messages around a plugin configuration, from the outside
// in. settings is the encoded PluginConfig without its configuration. Envoy
// hands the content of a BytesValue to the filter as it is.
func layers(settings []byte) []layer {
	return []layer{
		{text(1, ResourceName), 2}, // TypedExtensionConfig: name, typed_config
		anyOf(&filterv3.Wasm{}),
		{nil, 1},      // Wasm: config
		{settings, 4}, // PluginConfig: configuration
		anyOf(&wrapperspb.BytesValue{}),
		{nil, 1}, // BytesValue: value
	}
}

// responseLayers returns the messages around a resource: it is an element of a
// DiscoveryResponse's resources, and as such an Any.
func responseLayers() []layer {
	return []layer{{nil, 2}, {text(1, TypeURL), 2}}
}

// anyOf is an Any of a type: type_url, value.
func anyOf(m proto.Message) layer {
	return layer{text(1, "type.googleapis.com/"+string(m.ProtoReflect().Descriptor().FullName())), 2}
}

func text(field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), s)
}

// nested encodes a payload within layers. The generated code would copy it once
// for each Any, and a payload of many megabytes comes with each write.
func nested(payload []byte, layers []layer) []byte {
	size := len(payload)
	heads := make([][]byte, len(layers))
	for i := len(layers) - 1; i >= 0; i-- {
		head := protowire.AppendTag(layers[i].before, layers[i].field, protowire.BytesType)
		heads[i] = protowire.AppendVarint(head, uint64(size))
		size += len(heads[i])
	}
	out := make([]byte, 0, size)
	for _, head := range heads {
		out = append(out, head...)
	}
	return append(out, payload...)
}
