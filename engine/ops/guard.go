package ops

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// A guarded request passes two checks before anything else is looked at:
//
//   - A page of another origin is refused, whatever protects the Handler: a browser
//     that has a client certificate shows it to every page's requests.
//   - Where nothing protects it, the request has come over the loopback interface or a
//     Unix socket, and its Host is the address or "localhost". So a page cannot get in
//     by a name of its own that it lets point to this address.

// checkOrigin refuses what a page elsewhere has a browser send, except that a link there
// may open the status page: what that shows, the page elsewhere cannot read.
func checkOrigin(r *http.Request) *problem {
	const detail = "Operations cannot be used by pages of other origins. Open the address of the operations listener itself."
	foreign := newProblem(http.StatusForbidden, "foreign-origin", "Forbidden", detail)
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none": // no browser, the own page, or the address bar
	default:
		if !opensPage(r) {
			return foreign
		}
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return foreign
		}
	}
	return nil
}

// opensPage reports whether a browser asks for the status page in a tab of its own.
func opensPage(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// checkLocal refuses what does not come from this machine, or asks for a host that is
// not this address. It is for a Handler that nothing protects.
func checkLocal(r *http.Request) *problem {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return newProblem(http.StatusForbidden, "not-protected", "Forbidden",
			"It is not known which address this is. Serve operations by net/http, or set keys.")
	}
	if local.Network() == "unix" {
		return nil // browsers do not reach it
	}
	address, err := netip.ParseAddrPort(local.String())
	if err != nil || !address.Addr().Unmap().IsLoopback() {
		return newProblem(http.StatusForbidden, "not-protected", "Forbidden",
			"Operations without keys are for the loopback interface and Unix sockets. Set keys or client certificates.")
	}
	if !isHost(r.Host, netip.AddrPortFrom(address.Addr().Unmap(), address.Port())) {
		return newProblem(http.StatusForbidden, "foreign-host", "Forbidden",
			"The Host of the request is not this address. Ask for http://"+local.String()+"/ or http://localhost:"+portOf(address)+"/, or set keys.")
	}
	return nil
}

func portOf(address netip.AddrPort) string {
	_, port, _ := net.SplitHostPort(address.String())
	return port
}

// isHost reports whether a request for that Host is one for the address. A Host
// without a port has port 80 or 443, which the address then has to have.
func isHost(host string, address netip.AddrPort) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if address.Port() != 80 && address.Port() != 443 {
			return false
		}
	} else if port != portOf(address) {
		return false
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap() == address.Addr()
}
