package engine

import (
	"bytes"
	"strings"

	"turbine/httpparse"
	"turbine/internal/proxied"
	"turbine/loop"
)

// originAllowed reports whether the page that made r, which came on c, may talk
// to the server, if one made it: a page of the server's own origin, of
// Options.Access.Origins, or of CORS, which the caller has asked. It borrows r.
//
// A browser says Origin with each WebSocket handshake, and with each poll and
// post of a page from elsewhere, and no page can keep it from that. A script
// element, as JSONP uses them, is the exception: it has no Origin, but from
// newer browsers, over TLS or to localhost, a Sec-Fetch-Site.
func (s *Server) originAllowed(r *httpparse.Request, c *loop.Conn, byCORS bool) bool {
	rules := s.pages.Load()
	if rules.any || byCORS {
		return true
	}
	origin := r.Header("Origin")
	if origin == nil {
		switch string(r.Header("Sec-Fetch-Site")) {
		case "cross-site", "same-site":
			return false
		}
		return true
	}
	if sameOrigin(origin, r.Header("Host"), s.schemeOf(r, c)) {
		return true
	}
	for _, allowed := range rules.origins {
		if allowed == string(origin) {
			return true
		}
	}
	return false
}

// sameOrigin compares host and port, and the scheme where it is known: whether
// the client came over TLS only the proxy in front knows, if there is one. It may
// have added either scheme's port to Host: so these two and none are the same
// here.
func sameOrigin(origin, host []byte, known proxied.Scheme) bool {
	word, authority, ok := bytes.Cut(origin, schemeEnd)
	if !ok || string(word) != "https" && string(word) != "http" {
		return false // "null", or an app with a page of its own
	}
	if known != proxied.Unknown && known != proxied.ParseScheme(word) {
		return false
	}
	name, port := splitHost(authority)
	hostName, hostPort := splitHost(host)
	return len(name) > 0 && bytes.EqualFold(name, hostName) &&
		(string(port) == string(hostPort) || defaultPort(port) && defaultPort(hostPort))
}

var schemeEnd = []byte("://")

// splitHost cuts the port off, which is empty without one. The brackets around
// an IPv6 address stay.
func splitHost(p []byte) (name, port []byte) {
	colon := bytes.LastIndexByte(p, ':')
	if colon < 0 || bytes.IndexByte(p[colon:], ']') >= 0 {
		return p, nil
	}
	return p[:colon], p[colon+1:]
}

func defaultPort(p []byte) bool { return len(p) == 0 || string(p) == "80" || string(p) == "443" }

// checkOrigins is for Options.Access.Origins.
func checkOrigins(origins []string) error {
	for _, origin := range origins {
		switch {
		case origin == "*":
			return badOption("Access.Origins: for pages from anywhere set Access.AnyOrigin instead of \"*\"")
		case !isOrigin(origin) || strings.ToLower(origin) != origin:
			return badOption("Access.Origins: %q is not an origin like https://example.com, in lower case, without a path or slash at its end", origin)
		}
	}
	return nil
}
