package engine

import (
	"strconv"
	"strings"
	"time"
)

// Cookie is a cookie that carries the session id with the handshake response
// of a polling session, for load balancers that keep a session on one server
// by it. The engine never reads it back. Sessions that begin with a WebSocket
// get none. The zero value is "io=<id>; Path=/; HttpOnly; SameSite=Lax".
//
// Cookie{EveryResponse: true, SameSite: SameSiteOmit} is what the servers of
// socket.io 1 and 2 send: "io=<id>; Path=/; HttpOnly" with every response.
type Cookie struct {
	// Name is a token. Zero means "io". Change it when the load balancer looks
	// for another one.
	Name string
	// Path is the prefix of the paths that the cookie is sent back to. Zero
	// means "/".
	Path string
	// NoPath omits Path: a browser then takes the directory of the request.
	NoPath bool
	// NoHTTPOnly lets scripts in the page read the session id.
	NoHTTPOnly bool
	// SameSite says whether requests from other sites carry the cookie. Zero
	// means SameSiteLax. Clients on pages of another site need SameSiteNone,
	// which browsers take only with Secure.
	SameSite SameSite
	// Domain also sends the cookie to the subdomains of this host, which must
	// be the server's or above it. Zero omits it: the server's host alone.
	Domain string
	// MaxAge is how long the client keeps the cookie, counted in whole
	// seconds: at least one, a fraction is cut off. Zero omits it: until the
	// browser is closed.
	MaxAge time.Duration
	// Expires is the same as a date, of the years 1601 to 9999, to the second.
	// Zero omits it. Clients that know MaxAge prefer that.
	Expires time.Time
	// Secure keeps the cookie off connections without TLS. Set it where
	// clients come over TLS that a proxy ends; on connections on which the
	// server speaks TLS itself it is always on.
	Secure bool
	// Partitioned gives a page embedded in another site a cookie for each such
	// site. Browsers take it only with Secure.
	Partitioned bool
	// Priority is which cookies a browser drops first: "Low", "Medium" or
	// "High". Zero omits it.
	Priority string
	// EveryResponse sends the cookie with every 200 of a polling session, to
	// polls and posts. Only clients or balancers made for the old server need
	// that.
	EveryResponse bool
}

// SameSite is the SameSite attribute of a Cookie.
type SameSite uint8

// The values of SameSite. SameSiteOmit leaves the choice to the browser.
const (
	SameSiteLax SameSite = iota + 1
	SameSiteStrict
	SameSiteNone
	SameSiteOmit
)

// String is the value of the attribute, and "" when there is none.
func (s SameSite) String() string {
	switch s {
	case 0, SameSiteLax:
		return "Lax"
	case SameSiteStrict:
		return "Strict"
	case SameSiteNone:
		return "None"
	default:
		return ""
	}
}

// check is what makes append safe: the attributes are written unchanged. A nil Cookie
// is none.
func (c *Cookie) check() error {
	switch {
	case c == nil:
		return nil
	case c.Name != "" && !isToken(c.Name): // RFC 6265, 4.1.1: cookie-name
		return badOption("Cookie.Name %q: letters, digits and !#$%%&'*+-.^_`|~ are allowed", c.Name)
	case c.Path != "" && !isCookiePath(c.Path):
		return badOption("Cookie.Path %q: a slash and then printable ASCII without a semicolon is allowed", c.Path)
	case c.NoPath && c.Path != "":
		return badOption("Cookie.Path %q with NoPath: only one of them is allowed", c.Path)
	case c.Domain != "" && !isCookieDomain(c.Domain):
		return badOption("Cookie.Domain %q: a host name of letters, digits, hyphens and dots is allowed", c.Domain)
	case c.MaxAge != 0 && c.MaxAge < time.Second:
		return badOption("Cookie.MaxAge of %v: zero or at least one second is allowed", c.MaxAge)
	case !c.Expires.IsZero() && (c.Expires.UTC().Year() < 1601 || c.Expires.UTC().Year() > 9999): // RFC 6265, 5.1.1
		return badOption("Cookie.Expires in the year %d: 1601 to 9999 is allowed", c.Expires.UTC().Year())
	case c.Priority != "" && c.Priority != "Low" && c.Priority != "Medium" && c.Priority != "High":
		return badOption("Cookie.Priority %q: Low, Medium and High are allowed", c.Priority)
	case c.SameSite > SameSiteOmit:
		return badOption("Cookie.SameSite of %d is unknown", c.SameSite)
	}
	return nil
}

// append appends the Set-Cookie field, with the attributes in the order of the
// reference server. It borrows sid. Over TLS it is Secure. c has been checked;
// nil appends nothing.
func (c *Cookie) append(dst, sid []byte, secure bool) []byte {
	if c == nil {
		return dst
	}
	dst = append(dst, "Set-Cookie: "...)
	if c.Name == "" {
		dst = append(dst, "io"...)
	}
	dst = append(dst, c.Name...)
	dst = appendURIComponent(append(dst, '='), sid)
	if c.MaxAge != 0 {
		dst = append(dst, "; Max-Age="...)
		dst = strconv.AppendInt(dst, int64(c.MaxAge/time.Second), 10)
	}
	if c.Domain != "" {
		dst = append(dst, "; Domain="...)
		dst = append(dst, c.Domain...)
	}
	switch {
	case c.NoPath:
	case c.Path == "":
		dst = append(dst, "; Path=/"...)
	default:
		dst = append(dst, "; Path="...)
		dst = append(dst, c.Path...)
	}
	if !c.Expires.IsZero() {
		dst = c.Expires.UTC().AppendFormat(dst, "; Expires=Mon, 02 Jan 2006 15:04:05 GMT")
	}
	if !c.NoHTTPOnly {
		dst = append(dst, "; HttpOnly"...)
	}
	if c.Secure || secure {
		dst = append(dst, "; Secure"...)
	}
	if c.Partitioned {
		dst = append(dst, "; Partitioned"...)
	}
	if c.Priority != "" {
		dst = append(dst, "; Priority="...)
		dst = append(dst, c.Priority...)
	}
	if value := c.SameSite.String(); value != "" {
		dst = append(dst, "; SameSite="...)
		dst = append(dst, value...)
	}
	return append(dst, '\r', '\n')
}

// appendURIComponent appends p as encodeURIComponent of ECMAScript writes it.
func appendURIComponent(dst, p []byte) []byte {
	const hex = "0123456789ABCDEF"
	for _, c := range p {
		if isAlphanumeric(c) || strings.IndexByte("-_.!~*'()", c) >= 0 {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// isCookiePath says what RFC 6265, 4.1.1 allows as path-value. A path that does
// not begin with a slash means none to a browser (5.2.4).
func isCookiePath(s string) bool {
	return s[0] == '/' && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r == ';' || r > '~'
	})
}

// isCookieDomain allows a dot in front, which clients ignore: RFC 6265, 5.2.3.
func isCookieDomain(s string) bool {
	for label := range strings.SplitSeq(strings.TrimPrefix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !isAlphanumeric(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

// isToken says what RFC 9110, 5.6.2 calls a token.
func isToken(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}
