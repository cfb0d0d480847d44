package keyfetch

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	const (
		public   = "public"
		private  = "private"  // refused unless allowed
		loopback = "loopback" // the same
		never    = "never"
	)
	tests := []struct{ addr, want string }{
		{"93.184.216.34", public},
		{"2606:4700::1111", public},
		{"::ffff:8.8.8.8", public},
		{"64:ff9b::8.8.8.8", public},
		{"2002:808:808::1", public},
		{"127.0.0.1", loopback},
		{"127.255.255.254", loopback},
		{"::1", loopback},
		{"::ffff:127.0.0.1", loopback},
		{"64:ff9b::127.0.0.1", loopback},
		{"2002:7f00:1::", loopback},
		{"10.0.0.1", private},
		{"172.16.0.1", private},
		{"172.31.255.255", private},
		{"192.168.1.1", private},
		{"100.64.0.1", private},
		{"100.127.255.255", private},
		{"fd12:3456::1", private},
		{"fec0::1", private},
		{"::ffff:10.0.0.1", private},
		{"64:ff9b::10.0.0.1", private},
		{"2002:a00:1::", private},
		{"192.0.2.1", private},
		{"198.18.0.1", private},
		{"2001:db8::1", private},
		{"64:ff9b:1::1", private},
		{"172.32.0.1", public},
		{"100.128.0.1", public},
		{"192.169.0.1", public},
		{"11.0.0.1", public},
		{"169.254.169.254", never},
		{"::ffff:169.254.169.254", never},
		{"64:ff9b::169.254.169.254", never},
		{"2002:a9fe:a9fe::", never},
		{"fe80::1", never},
		{"fe80::1%eth0", never},
		{"0.0.0.0", never},
		{"::", never},
		{"0.1.2.3", never},
		{"224.0.0.1", never},
		{"ff02::1", never},
		{"255.255.255.255", never},
		{"240.0.0.1", never},
		{"fd00:ec2::254", never},
		{"fd20:ce::254", never},
		{"100.100.100.200", never},
		{"168.63.129.16", never},
		{"192.0.0.192", never},
		{"::7f00:1", never},
		{"2001::1", never},
	}
	for _, test := range tests {
		addr := netip.MustParseAddr(test.addr)
		strict, open := Policy{}.checkAddr(addr), Policy{AllowPrivate: true}.checkAddr(addr)
		got := public
		switch {
		case open != nil:
			got = never
		case strict != nil && strings.Contains(strict.Error(), "loopback"):
			got = loopback
		case strict != nil:
			got = private
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s (%v; %v)", test.addr, got, test.want, strict, open)
		}
		if strict != nil && open == nil && !strings.Contains(strict.Error(), AllowPrivateFlag) {
			t.Errorf("%s: %v names no flag", test.addr, strict)
		}
	}
	if (Policy{AllowPrivate: true}).checkAddr(netip.Addr{}) == nil {
		t.Error("no address is good")
	}
}

func TestCheckURL(t *testing.T) {
	tests := []struct {
		url, want string
		policy    Policy
	}{
		{"https://idp.example.com/keys", "", Policy{}},
		{"https://idp.example.com:8443/keys?v=1", "", Policy{}},
		{"http://idp.example.com/keys", AllowHTTPFlag, Policy{}},
		{"http://idp.example.com/keys", "", Policy{AllowHTTP: true}},
		{"ftp://idp.example.com/keys", "not https", Policy{AllowHTTP: true}},
		{"file:///etc/passwd", "not an absolute URL", Policy{AllowHTTP: true}},
		{"https:keys", "not an absolute URL", Policy{}},
		{"/keys", "not an absolute URL", Policy{}},
		{"", "not an absolute URL", Policy{}},
		{"https://a b/", "not a URL", Policy{}},
		{"https://u:secret@idp.example.com/keys", "credentials", Policy{}},
		{"https://127.0.0.1/keys", AllowPrivateFlag, Policy{}},
		{"https://[::1]/keys", AllowPrivateFlag, Policy{}},
		{"https://127.0.0.1/keys", "", Policy{AllowPrivate: true}},
		{"https://169.254.169.254/keys", "never allowed", Policy{AllowPrivate: true}},
		{"https://[fe80::1%25eth0]/keys", "never allowed", Policy{AllowPrivate: true}},
		{"https://idp.example.com/" + strings.Repeat("x", maxURLBytes), "at most 2048", Policy{}},
	}
	for _, test := range tests {
		err := test.policy.CheckURL(test.url)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: got %v, want %q", test.url, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows a secret: %v", test.url, err)
		}
	}
}
