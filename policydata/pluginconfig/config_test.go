package pluginconfig_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
)

var configs = map[string]pluginconfig.Config{
	"least":    {TrustedKeys: [][]byte{{1}}},
	"snapshot": {TrustedKeys: [][]byte{{1, 2, 3}, {4}}, Snapshot: []byte("\x00\xffsnapshot")},
	"header":   {TrustedKeys: [][]byte{{1}}, TokenHeader: "x-token", RemoveToken: true},
	"cookie":   {TrustedKeys: [][]byte{{1}}, TokenCookie: "sid", IdentityHeaders: true},
	"all":      {TrustedKeys: [][]byte{{1}}, Snapshot: []byte("SPCF"), TokenHeader: "a", RemoveToken: true, IdentityHeaders: true, HostCluster: "sallyport_host"},
	"host":     {TrustedKeys: [][]byte{{1}}, HostCluster: `a"b\c`, HostAuthority: "host.example:8470"},
	"poll":     {TrustedKeys: [][]byte{{1}}, Snapshot: []byte("fallback"), HostCluster: "sallyport_host", Poll: true},
}

func TestRoundTrip(t *testing.T) {
	for name, c := range configs {
		for form, encode := range map[string]func(*pluginconfig.Config) []byte{
			"json":   func(c *pluginconfig.Config) []byte { return c.AppendJSON(nil) },
			"binary": func(c *pluginconfig.Config) []byte { return c.AppendBinary(nil) },
		} {
			t.Run(name+"_"+form, func(t *testing.T) {
				b := encode(&c)
				if form == "json" && !json.Valid(b) {
					t.Fatalf("no JSON: %s", b)
				}
				got, err := pluginconfig.Parse(b)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	c := configs["all"]
	for _, b := range [][]byte{c.AppendJSON([]byte("before")), c.AppendBinary([]byte("before"))} {
		if !bytes.HasPrefix(b, []byte("before")) {
			t.Errorf("%q", b)
		}
		if got, err := pluginconfig.Parse(b[len("before"):]); err != nil || !cmp.Equal(got, c) {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

func TestParseAccepts(t *testing.T) {
	tests := []struct {
		name, text string
		want       pluginconfig.Config
	}{
		{"nothing_yet", "{}", pluginconfig.Config{}},
		{"space", " {\n\"trusted_keys\" : [ \"AQ==\" ]\t}\r\n", pluginconfig.Config{TrustedKeys: [][]byte{{1}}}},
		{"header_in_lower_case", `{"trusted_keys":["AQ=="],"token":{"header":"X-Token"}}`, pluginconfig.Config{TrustedKeys: [][]byte{{1}}, TokenHeader: "x-token"}},
		{"what_is_false", `{"trusted_keys":["AQ=="],"remove_token":false,"identity_headers":false}`, pluginconfig.Config{TrustedKeys: [][]byte{{1}}}},
		{"escaped_text", `{"trusted_keys":["\u0041Q=="],"token":{"cookie":"s\u0069d"}}`, pluginconfig.Config{TrustedKeys: [][]byte{{1}}, TokenCookie: "sid"}},
		{"sixteen_keys", `{"trusted_keys":[` + strings.Repeat(`"AQ==",`, 15) + `"AQ=="]}`, pluginconfig.Config{TrustedKeys: bytes.Fields([]byte(strings.Repeat("\x01 ", 16)))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pluginconfig.Parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	const keys = `"trusted_keys":["AQ=="]`
	object := func(members string) string { return "{" + keys + "," + members + "}" }
	binaryForm := func(object string, n int, rest string) string {
		return "SPCF" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) + object + rest
	}
	long := base64.StdEncoding.EncodeToString(make([]byte, 5000))
	tests := []struct{ name, text, want string }{
		{"empty", "", "plugin configuration: "},
		{"no_json", "{", "plugin configuration: "},
		{"text_behind", "{" + keys + "} x", "plugin configuration: "},
		{"duplicate_member", object(keys), "plugin configuration: "},
		{"duplicate_member_escaped", object(`"trusted\u005fkeys":["AQ=="]`), "plugin configuration: "},
		{"invalid_utf8", object("\"x\":\"\xff\""), "plugin configuration: "},
		{"array", `["AQ=="]`, "want a JSON object"},
		{"text", `"x"`, "want a JSON object"},
		{"null", "null", "want a JSON object"},
		{"snapshot_without_keys", `{"snapshot":"AQ=="}`, "trusted_keys: at least one key is required"},
		{"snapshot_with_empty_keys", `{"snapshot":"AQ==","trusted_keys":[]}`, "trusted_keys: at least one key is required"},
		{"binary_snapshot_without_keys", binaryForm("{}", 2, "x"), "trusted_keys: at least one key is required"},
		{"keys_no_array", `{"trusted_keys":"AQ=="}`, "trusted_keys: want an array"},
		{"keys_object", `{"trusted_keys":{"a":"AQ=="}}`, "trusted_keys: want an array"},
		{"keys_null", `{"trusted_keys":null}`, "trusted_keys: want an array"},
		{"key_no_text", `{"trusted_keys":["AQ==",1]}`, "trusted_keys: entry 1: want a base64 string"},
		{"key_empty", `{"trusted_keys":[""]}`, "trusted_keys: entry 0: want a base64 string"},
		{"key_no_base64", `{"trusted_keys":["!"]}`, "trusted_keys: entry 0: not base64"},
		{"key_without_padding", `{"trusted_keys":["AQ"]}`, "trusted_keys: entry 0: not base64"},
		{"key_with_loose_bits", `{"trusted_keys":["AR=="]}`, "trusted_keys: entry 0: not base64"},
		{"key_too_long", `{"trusted_keys":["` + long + `"]}`, "trusted_keys: entry 0: more than 4096 bytes"},
		{"too_many_keys", `{"trusted_keys":[` + strings.Repeat(`"AQ==",`, 16) + `"AQ=="]}`, "trusted_keys: more than 16 keys"},
		{"unknown_member", object(`"snapshots":"AQ=="`), "snapshots: unknown member"},
		{"member_in_another_case", object(`"Snapshot":"AQ=="`), "Snapshot: unknown member"},
		{"snapshot_no_text", object(`"snapshot":1`), "snapshot: want a base64 string"},
		{"snapshot_empty", object(`"snapshot":""`), "snapshot: want a base64 string"},
		{"snapshot_no_base64", object(`"snapshot":"?"`), "snapshot: not base64"},
		{"remove_token_no_bool", object(`"remove_token":"true"`), "remove_token: want true or false"},
		{"identity_headers_no_bool", object(`"identity_headers":null`), "identity_headers: want true or false"},
		{"token_no_object", object(`"token":"x-token"`), `token: want {"header"`},
		{"token_empty", object(`"token":{}`), "token: want either header or cookie"},
		{"token_both", object(`"token":{"header":"a","cookie":"b"}`), "token: want either header or cookie"},
		{"token_unknown", object(`"token":{"query":"a"}`), "token: query: unknown member"},
		{"token_header_empty", object(`"token":{"header":""}`), "token: header: want a text"},
		{"token_header_no_text", object(`"token":{"header":1}`), "token: header: want a text"},
		{"token_header_bad", object(`"token":{"header":"a b"}`), "token: header: unknown member or bad name"},
		{"token_header_pseudo", object(`"token":{"header":":path"}`), "token: header: unknown member or bad name"},
		{"token_cookie_bad", object(`"token":{"cookie":"a=b"}`), "token: cookie: unknown member or bad name"},
		{"host_no_object", object(`"host":"sallyport_host"`), `host: want {"cluster"`},
		{"host_null", object(`"host":null`), `host: want {"cluster"`},
		{"host_empty", object(`"host":{}`), "host: want a cluster"},
		{"host_without_cluster", object(`"host":{"authority":"a"}`), "host: want a cluster"},
		{"host_cluster_empty", object(`"host":{"cluster":""}`), "host: cluster: want a text"},
		{"host_cluster_no_text", object(`"host":{"cluster":1}`), "host: cluster: want a text"},
		{"host_cluster_too_long", object(`"host":{"cluster":"` + strings.Repeat("a", 256) + `"}`), "host: cluster: want a text"},
		{"host_authority_with_a_line_end", object(`"host":{"cluster":"a","authority":"b\r\nc: d"}`), "host: authority: want a text"},
		{"host_authority_not_ASCII", object(`"host":{"cluster":"a","authority":"ü"}`), "host: authority: want a text"},
		{"host_unknown", object(`"host":{"cluster":"a","path":"/"}`), "host: path: unknown member"},
		{"host_poll_no_bool", object(`"host":{"cluster":"a","poll":"true"}`), "host: poll: want true or false"},
		{"host_poll_without_cluster", object(`"host":{"poll":true}`), "host: want a cluster"},
		{"host_poll_without_keys", `{"host":{"cluster":"a","poll":true}}`, "trusted_keys: at least one key is required to poll"},
		{"binary_cut", "SPCF\x01\x00", "truncated"},
		{"binary_length_beyond", binaryForm("{"+keys+"}", 1<<31, ""), "truncated"},
		{"binary_without_object", binaryForm("", 0, ""), "plugin configuration: "},
		{"binary_with_two_snapshots", binaryForm(object(`"snapshot":"AQ=="`), len(object(`"snapshot":"AQ=="`)), "x"), "snapshot: given twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := pluginconfig.Parse([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParseRefusesLargeSnapshots(t *testing.T) {
	c := pluginconfig.Config{TrustedKeys: [][]byte{{1}}, Snapshot: make([]byte, policydata.MaxSnapshotBytes+3)}
	if _, err := pluginconfig.Parse(c.AppendJSON(nil)); err == nil || !strings.Contains(err.Error(), "snapshot: more than") {
		t.Errorf("got %v", err)
	}
}

func FuzzConfig(f *testing.F) {
	for _, c := range configs {
		f.Add(c.AppendJSON(nil))
		f.Add(c.AppendBinary(nil))
	}
	f.Add([]byte(`{"trusted_keys":["AQ=="],"token":{"cookie":"a","header":"b"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := pluginconfig.Parse(b)
		if err != nil {
			return
		}
		if len(c.TrustedKeys) == 0 && (c.Snapshot != nil || c.Poll) || c.TokenHeader != "" && c.TokenCookie != "" {
			t.Fatalf("%+v", c)
		}
		for _, again := range [][]byte{c.AppendJSON(nil), c.AppendBinary(nil)} {
			got, err := pluginconfig.Parse(again)
			if err != nil {
				t.Fatalf("%q: %v", again, err)
			}
			if diff := cmp.Diff(c, got); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func Example() {
	c := pluginconfig.Config{TrustedKeys: [][]byte{[]byte("key")}, TokenHeader: "x-token"}
	fmt.Println(string(c.AppendJSON(nil)))
	// Output: {"trusted_keys":["a2V5"],"token":{"header":"x-token"}}
}

// A configuration is kept for good; its snapshot, once there is a newer one, not.
func TestConfigurationDoesNotKeepItsText(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const size = 16 << 20
	before := heap()
	c, err := pluginconfig.Parse((&pluginconfig.Config{
		TrustedKeys: [][]byte{{1}}, Snapshot: make([]byte, size), TokenHeader: "x-token", HostCluster: "host", HostAuthority: "name",
	}).AppendJSON(nil))
	if err != nil || len(c.Snapshot) != size {
		t.Fatal(err)
	}
	c.Snapshot = nil
	if after := heap(); after > before+size/2 {
		t.Errorf("%d bytes are still in memory", after-before)
	}
	runtime.KeepAlive(c)
}
