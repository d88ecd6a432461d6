package engine

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/url"

	"turbine/httpparse"
	"turbine/loop"
)

// Request is a request as callbacks see it. Unless a callback's comment says
// otherwise it is borrowed: valid until that callback returns. Clone keeps it.
type Request struct {
	http    *httpparse.Request
	remote  netip.AddrPort
	conn    *loop.Conn           // nil in a clone, and where tls is known
	tls     *tls.ConnectionState // nil until asked for
	context context.Context      // nil but in Admit and Open of a mounted server
}

// Clone returns a copy that may be kept, and read on any goroutine.
func (r *Request) Clone() *Request {
	return &Request{http: cloneHTTP(r.http), remote: r.remote, tls: r.TLS(), context: r.context}
}

func cloneHTTP(r *httpparse.Request) *httpparse.Request {
	keep := func(p []byte) []byte { return append([]byte(nil), p...) }
	c := *r
	c.Method, c.Target, c.Path, c.Query = keep(r.Method), keep(r.Target), keep(r.Path), keep(r.Query)
	c.Headers = make([]httpparse.Header, len(r.Headers))
	for i, h := range r.Headers {
		c.Headers[i] = httpparse.Header{Name: keep(h.Name), Value: keep(h.Value)}
	}
	return &c
}

// Method is the HTTP method.
func (r *Request) Method() string { return string(r.http.Method) }

// Target is the request target as it came.
func (r *Request) Target() string { return string(r.http.Target) }

// Path is the path of the request target, not decoded.
func (r *Request) Path() string { return string(r.http.Path) }

// Query is the value of a query parameter, decoded, the first one where a name
// repeats, as for Header, and "" where it is absent. The server's own parameters
// (EIO, transport, sid, b64, j) are read with the last one counting, as the
// reference server does.
func (r *Request) Query(name string) string {
	for rest := r.http.Query; len(rest) > 0; {
		var key, value []byte
		key, value, rest = httpparse.NextParam(rest)
		if unescaped(key) == name {
			return unescaped(value)
		}
	}
	return ""
}

// queryValue is the value of one of the protocol's own parameters, decoded: the
// last one counts where a name repeats, as in parseQuery.
func queryValue(r *httpparse.Request, name string) (found string) {
	for rest := r.Query; len(rest) > 0; {
		var key, value []byte
		key, value, rest = httpparse.NextParam(rest)
		if string(key) == name {
			found = unescaped(value)
		}
	}
	return found
}

// unescaped copies p, which stays as it came: a request may be parsed again on
// another loop.
func unescaped(p []byte) string {
	return string(httpparse.Unescape(append([]byte(nil), p...)))
}

// Header is the value of a header field, the first one where a name repeats,
// and "" where it is absent. The name's case does not matter.
func (r *Request) Header(name string) string { return string(r.http.Header(name)) }

// Host is the Host field: the name and port by which the client has asked.
func (r *Request) Host() string { return r.Header("Host") }

// Origin is the origin of the page that has sent the request, "" where it is from no
// browser, or one that does not say.
func (r *Request) Origin() string { return r.Header("Origin") }

// Cookie is the value of the first cookie of that name, and "" where there is none.
func (r *Request) Cookie(name string) string {
	for _, c := range (&http.Request{Header: http.Header{"Cookie": r.Headers()["Cookie"]}}).CookiesNamed(name) {
		return c.Value
	}
	return ""
}

// HTTP is a copy for libraries that want a request of net/http. It has no body, and
// may be kept. A target that net/url cannot read is its URL's Opaque.
func (r *Request) HTTP() *http.Request {
	u, err := url.ParseRequestURI(r.Target())
	if err != nil {
		u = &url.URL{Opaque: r.Target()}
	}
	return r.standard(u).WithContext(r.Context())
}

// Headers is a copy of all header fields.
func (r *Request) Headers() http.Header {
	h := make(http.Header, len(r.http.Headers))
	for _, f := range r.http.Headers {
		h.Add(string(f.Name), string(f.Value))
	}
	return h
}

// RemoteAddr is the client's address: the address of the connection's other end. If
// that is one of Options.Proxies.Trusted, it is the address of the client that the
// proxy names, with port 0 if the proxy does not name the port.
func (r *Request) RemoteAddr() netip.AddrPort { return r.remote }

// TLS is the state of the connection's TLS, with the client's certificate if it
// has shown one; nil on a plain connection, also where a proxy in front speaks
// TLS. Of a client whose connection is at another node it has the version and the
// protocol of its TLS alone. It may be kept.
func (r *Request) TLS() *tls.ConnectionState {
	if r.tls == nil && r.conn != nil {
		r.tls = r.conn.TLS()
	}
	return r.tls
}

// Context is a context with the values that middlewares around a server in net/http
// have put into the http.Request's, such as the user that has logged in: in Admit and
// Open, and in Clones made there. It does not end with the request; Session.Context
// ends with the session. Elsewhere it is context.Background().
func (r *Request) Context() context.Context {
	if r.context == nil {
		return context.Background()
	}
	return r.context
}
