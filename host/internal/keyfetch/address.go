package keyfetch

import (
	"errors"
	"fmt"
	"net/netip"
)

// The flags that set a Policy, which errors name.
const (
	CAFileFlag       = "--issuer-ca-file"
	AllowPrivateFlag = "--issuer-allow-private"
	AllowHTTPFlag    = "--issuer-allow-http"
)

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		list[i] = netip.MustParsePrefix(t)
	}
	return list
}

var (
	// never are addresses that no issuer has, whatever the policy: those of no
	// single host (RFC 6890), and those where clouds serve credentials to
	// whoever asks from within.
	never = prefixes(
		"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
		"::/96", "fe80::/10", "ff00::/8",
		"2001::/32", // Teredo: an IPv4 address of somebody else's choice inside

		// Metadata services beyond the link-local ones: AWS, Google, Alibaba,
		// Azure, Oracle.
		"fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
	)
	loopback = prefixes("127.0.0.0/8", "::1/128")
	private  = prefixes(
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", // RFC 1918
		"100.64.0.0/10",         // RFC 6598: shared by carriers
		"fc00::/7", "fec0::/10", // RFC 4193, RFC 3879
		"192.0.0.0/24", "198.18.0.0/15", // RFC 6890, RFC 2544
		"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", // RFC 5737: documentation
		"2001:db8::/32", "3fff::/20", "100::/64", "64:ff9b:1::/48", // RFC 3849, 9637, 6666, 8215
	)

	nat64   = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToIV = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// checkAddr refuses addresses that the policy does not allow.
func (p Policy) checkAddr(addr netip.Addr) error {
	addr = embedded(addr.Unmap().WithZone(""))
	switch {
	case !addr.IsValid():
		return errors.New("no IP address")
	case within(addr, loopback):
		return p.private(addr, "a loopback address")
	case within(addr, never):
		return fmt.Errorf("address %s is link-local, a cloud's metadata service, or no address of one host: never allowed", addr)
	case within(addr, private):
		return p.private(addr, "private")
	}
	return nil
}

func (p Policy) private(addr netip.Addr, what string) error {
	if p.AllowPrivate {
		return nil
	}
	return fmt.Errorf("address %s is %s: %s allows these", addr, what, AllowPrivateFlag)
}

// embedded returns the IPv4 address that an IPv6 address leads to through a
// translator, or the address itself.
func embedded(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	b := addr.As16()
	switch {
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixToIV.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}

func within(addr netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
