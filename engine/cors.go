package engine

import (
	"regexp"
	"strings"
	"time"

	"turbine/httpparse"
)

// CORS says which pages of other origins a browser lets talk to the server by
// polling. The server lets the same pages use WebSockets, to which a browser does not
// apply CORS: what CORS allows need not also be in Options.Access.Origins. Without a
// CORS no page of another origin may poll.
//
// Origins, Patterns and Allow are asked in this order, and where one of them
// matches the request's Origin is echoed. A CORS without any of them, and
// without AnyOrigin, allows no origin. A request without Origin is not from a
// page of another origin.
type CORS struct {
	// Origins are the origins that are allowed, compared byte by byte:
	// "https://example.com", with a port unless it is the scheme's own, without a path.
	// "*" alone stands for any and is answered with "*", which lets no page send cookies
	// when it polls. A WebSocket brings them nevertheless: "*" switches the check of
	// Origin off, as Options.Access.AnyOrigin does, and every page on the Web may then
	// open a session with the cookies of the person that looks at it.
	Origins []string
	// Patterns allow the origins they match. They match anywhere unless
	// anchored: write ^https://[a-z]+\.example\.com$, since what is left open
	// at either end is open to an attacker's host.
	Patterns []*regexp.Regexp
	// Allow is asked about an origin that nothing above allows. It runs on the
	// loop of the connection, for several connections at the same time, and
	// must not block. Nil allows none.
	Allow func(origin string) bool
	// AnyOrigin echoes whatever origin asks. It switches the check of Origin off, as
	// Options.Access.AnyOrigin does: every page on the Web may then open a WebSocket
	// with the cookies of the person that looks at it, and with Credentials also poll
	// with them. Only for servers to which a cookie means nothing.
	AnyOrigin bool
	// Methods are what pages may use. Empty means GET, HEAD, PUT, PATCH, POST
	// and DELETE; the protocol needs GET and POST.
	Methods []string
	// Headers are the request fields that pages may set. Empty means those
	// that the browser asks for.
	Headers []string
	// ExposedHeaders are the response fields that pages may read in addition to the
	// common ones.
	ExposedHeaders []string
	// Credentials lets pages send cookies and client certificates. A client
	// that sets withCredentials needs it, and sticky sessions by Cookie.
	Credentials bool
	// MaxAge is how long a browser may remember the answer to a preflight,
	// counted in whole seconds: at least one, a fraction is cut off. Zero
	// leaves it to the browser, 5 seconds mostly.
	MaxAge time.Duration
	// PreflightStatus is the status of that answer, 200 to 299. Zero means
	// 204. Some old browsers and smart TVs take only 200.
	PreflightStatus int
	// PreflightContinue handles a preflight like any request after its headers are set;
	// the engine then refuses it. It is for an application that answers OPTIONS
	// elsewhere.
	PreflightContinue bool
}

const defaultMethods = "GET,HEAD,PUT,PATCH,POST,DELETE"

// check is what makes the append functions safe: what is configured is written
// unchanged. A nil CORS is none.
func (c *CORS) check() error {
	if c == nil {
		return nil
	}
	for _, origin := range c.Origins {
		switch {
		case origin == "*" && (len(c.Origins) > 1 || len(c.Patterns) > 0 || c.Allow != nil || c.AnyOrigin):
			return badOption("CORS.Origins: \"*\" allows any origin and must stand alone")
		case origin == "*" && c.Credentials:
			return badOption("CORS.Origins: browsers refuse \"*\" with CORS.Credentials; list the origins")
		case origin != "*" && !isOrigin(origin):
			return badOption("CORS.Origins: %q is not an origin like https://example.com, without a path or slash at its end", origin)
		}
	}
	for _, pattern := range c.Patterns {
		if pattern == nil {
			return badOption("CORS.Patterns: nil is not a pattern")
		}
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"Methods", c.Methods}, {"Headers", c.Headers}, {"ExposedHeaders", c.ExposedHeaders}} {
		for _, value := range list.values {
			if !isToken(value) {
				return badOption("CORS.%s %q: letters, digits and !#$%%&'*+-.^_`|~ are allowed", list.name, value)
			}
		}
	}
	if c.MaxAge != 0 && c.MaxAge < time.Second {
		return badOption("CORS.MaxAge of %v: zero or at least one second is allowed", c.MaxAge)
	}
	if c.PreflightStatus != 0 && (c.PreflightStatus < 200 || c.PreflightStatus > 299) {
		return badOption("CORS.PreflightStatus of %d: 200 to 299 is allowed", c.PreflightStatus)
	}
	return nil
}

// preflightStatus is the status of the answer to a preflight.
func (c *CORS) preflightStatus() int {
	if c.PreflightStatus == 0 {
		return 204
	}
	return c.PreflightStatus
}

// appendHeaders appends the header fields of any response to r but a preflight's,
// also of errors and of the 101. allowed is what allowsPage said about r. It borrows
// r. c has been checked; nil appends nothing.
func (c *CORS) appendHeaders(dst []byte, r *httpparse.Request, allowed bool) []byte {
	if c == nil {
		return dst
	}
	dst = c.appendOrigin(dst, r, allowed)
	if !c.any() {
		dst = append(dst, "Vary: Origin\r\n"...)
	}
	return c.appendExposed(c.appendCredentials(dst))
}

// appendPreflight appends the header fields of the response to r, a request
// with the method OPTIONS. allowed is what allowsPage said about r. It borrows
// r. c has been checked; nil appends nothing.
func (c *CORS) appendPreflight(dst []byte, r *httpparse.Request, allowed bool) []byte {
	if c == nil {
		return dst
	}
	echo := len(c.Headers) == 0
	dst = c.appendOrigin(dst, r, allowed)
	switch {
	case c.any():
	case echo:
		dst = append(dst, "Vary: Origin, Access-Control-Request-Headers\r\n"...)
	default:
		dst = append(dst, "Vary: Origin\r\n"...)
	}
	dst = c.appendCredentials(dst)
	if len(c.Methods) == 0 {
		dst = append(dst, "Access-Control-Allow-Methods: "+defaultMethods+"\r\n"...)
	} else {
		dst = appendList(dst, "Access-Control-Allow-Methods", c.Methods)
	}
	switch {
	case !echo:
		dst = appendList(dst, "Access-Control-Allow-Headers", c.Headers)
	default:
		if c.any() {
			dst = append(dst, "Vary: Access-Control-Request-Headers\r\n"...)
		}
		if asked := r.Header("Access-Control-Request-Headers"); len(asked) > 0 {
			dst = httpparse.AppendHeaderBytes(dst, "Access-Control-Allow-Headers", asked)
		}
	}
	if c.MaxAge != 0 {
		dst = httpparse.AppendHeaderInt(dst, "Access-Control-Max-Age", int64(c.MaxAge/time.Second))
	}
	return c.appendExposed(dst)
}

// any says that the response is the same for all origins.
func (c *CORS) any() bool { return len(c.Origins) == 1 && c.Origins[0] == "*" }

func (c *CORS) appendOrigin(dst []byte, r *httpparse.Request, allowed bool) []byte {
	if c.any() {
		return append(dst, "Access-Control-Allow-Origin: *\r\n"...)
	}
	if allowed {
		dst = httpparse.AppendHeaderBytes(dst, "Access-Control-Allow-Origin", r.Header("Origin"))
	}
	return dst
}

// opensToAll says that pages of every origin are allowed. A nil CORS is none.
func (c *CORS) opensToAll() bool { return c != nil && (c.AnyOrigin || c.any()) }

// allowsPage reports whether r has an Origin that is allowed. It is asked once a
// request, since Allow may be expensive. It borrows r; a nil CORS allows none.
func (c *CORS) allowsPage(r *httpparse.Request) bool {
	if c == nil || c.any() {
		return false
	}
	origin := r.Header("Origin")
	return len(origin) > 0 && c.allows(origin)
}

// allowsPage is CORS.allowsPage, where the watchdog knows of it.
func (h *httpConn) allowsPage(r *httpparse.Request) bool {
	cors := h.server.cors()
	if cors != nil && cors.Allow != nil {
		defer h.enter(callAllow).leave()
	}
	return cors.allowsPage(r)
}

// allows borrows origin, which is not empty. Only Allow costs an allocation.
func (c *CORS) allows(origin []byte) bool {
	if c.AnyOrigin {
		return true
	}
	for _, allowed := range c.Origins {
		if allowed == string(origin) {
			return true
		}
	}
	for _, pattern := range c.Patterns {
		if pattern.Match(origin) {
			return true
		}
	}
	return c.Allow != nil && c.Allow(string(origin))
}

// appendCredentials does not ask for the origin: without Allow-Origin the field means
// nothing, and the reference server also sends it.
func (c *CORS) appendCredentials(dst []byte) []byte {
	if c.Credentials {
		dst = append(dst, "Access-Control-Allow-Credentials: true\r\n"...)
	}
	return dst
}

func (c *CORS) appendExposed(dst []byte) []byte {
	if len(c.ExposedHeaders) > 0 {
		dst = appendList(dst, "Access-Control-Expose-Headers", c.ExposedHeaders)
	}
	return dst
}

// appendList appends a header field whose value is a list of tokens.
func appendList(dst []byte, name string, values []string) []byte {
	dst = append(append(dst, name...), ':', ' ')
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, value...)
	}
	return httpparse.AppendEnd(dst)
}

// isOrigin says what a browser can send as Origin: RFC 6454, 7. The host may be
// empty, as apps with a page of their own have it.
func isOrigin(s string) bool {
	if s == "null" {
		return true
	}
	scheme, host, ok := strings.Cut(s, "://")
	return ok && isToken(scheme) && !strings.ContainsFunc(host, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`/?#@,;"\*`, r)
	})
}
