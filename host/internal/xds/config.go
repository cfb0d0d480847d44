package xds

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policydata/pushapi"
)

const (
	// ResourceName names the ECDS resource. It is also the filter's name, its
	// root id and its vm id, which must never change between pushes: Envoy keys
	// the VM by vm id and code, so a new id would start another VM for each
	// push instead of configuring the running one.
	ResourceName = "sallyport"

	// TypeURL is the type of the ECDS resource.
	TypeURL = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"

	// MaxConfigurationBytes bounds the plugin configuration of one push.
	MaxConfigurationBytes = 64 << 20

	// MaxModuleBytes bounds the module of one push.
	MaxModuleBytes = 32 << 20

	runtimeV8 = "envoy.wasm.runtime.v8"
)

// FilterConfig is what the proxies are to run.
type FilterConfig struct {
	// PluginConfiguration is handed to the filter byte for byte.
	PluginConfiguration []byte
	// Exactly one of ModulePath and Module is set: the path of the filter's
	// module on the proxy's machine, or the module itself. The second needs no
	// file on the proxies, and sends the module along with each push.
	//
	// Envoy can fetch a module by HTTP, too, but not safely: where a default
	// configuration is applied without warming, Envoy 1.40 takes a
	// configuration with remote code at once, never fetches the code, and lets
	// every request pass unfiltered.
	ModulePath string
	Module     []byte
}

// resource encodes c as the one ECDS resource, as it stands in a response. The
// encoding is deterministic, so that hosts on one store send the same bytes.
func (c FilterConfig) resource() ([]byte, error) {
	if n := len(c.PluginConfiguration); n > MaxConfigurationBytes {
		return nil, fmt.Errorf("plugin configuration of %d bytes is above the limit of %d", n, MaxConfigurationBytes)
	}
	code, err := c.code()
	if err != nil {
		return nil, err
	}
	settings, err := proto.MarshalOptions{Deterministic: true}.Marshal(&wasmv3.PluginConfig{
		Name:   ResourceName,
		RootId: ResourceName,
		// A trap in the filter must close, and must not close for ever:
		// FAIL_OPEN lets everything pass, FAIL_CLOSED answers 503 until the
		// proxy restarts, FAIL_RELOAD makes a new VM about a second later.
		FailurePolicy: wasmv3.FailurePolicy_FAIL_RELOAD,
		// A pause at the headers holds the body back, too. The filter asks for
		// that each time that it pauses, so this is the second bolt.
		AllowOnHeadersStopIteration: wrapperspb.Bool(false),
		Vm: &wasmv3.PluginConfig_VmConfig{VmConfig: &wasmv3.VmConfig{
			VmId:    ResourceName,
			Runtime: runtimeV8,
			Code:    &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{Local: code}},
			// Part of the VM's key, so as in the bootstraps that we print.
			EnvironmentVariables: &wasmv3.EnvironmentVariables{HostEnvKeys: []string{pushapi.TokenVariable}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the plugin's settings: %w", err)
	}
	return nested(c.PluginConfiguration, append(responseLayers(), layers(settings)...)), nil
}

func (c FilterConfig) code() (*corev3.DataSource, error) {
	switch {
	case c.ModulePath != "" && len(c.Module) > 0:
		return nil, errors.New("the filter's module is given twice, as a path and as bytes")
	case c.ModulePath != "":
		return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: c.ModulePath}}, nil
	case len(c.Module) > MaxModuleBytes:
		return nil, fmt.Errorf("module of %d bytes is above the limit of %d", len(c.Module), MaxModuleBytes)
	case len(c.Module) > 0:
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: c.Module}}, nil
	}
	return nil, errors.New("the filter's module is missing")
}
