package engine

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"

	"turbine/httpparse"
)

// runMiddleware lets the standard middlewares, if there are any, see the request, and
// reports whether the request continues. What they add to the response's header is
// added to ours; if one of them answers by itself, its answer is sent.
func (h *httpConn) runMiddleware(r *httpparse.Request) (goOn bool) {
	if h.server.middleware == nil {
		return true
	}
	w := &middlewareWriter{header: http.Header{}}
	request, err := standardRequest(r, h)
	if err == nil {
		err = h.callMiddleware(w, request)
	}
	if err != nil {
		h.refuseFor(r, refusedRequest.because("MIDDLEWARE_FAILURE", err.Error(), ""))
		return false
	}
	if w.passed {
		h.exchange.headers = appendHeaderLines(h.exchange.headers, w.header)
		return true
	}
	h.answerMiddleware(r, w)
	return false
}

func (h *httpConn) callMiddleware(w *middlewareWriter, request *http.Request) error {
	request = request.WithContext(context.WithValue(request.Context(), middlewareKey{}, w))
	if !h.call(callMiddleware, func() { h.server.middleware.ServeHTTP(w, request) }) {
		return ErrCallbackPanic
	}
	return nil
}

// answerMiddleware sends what a middleware answered to r.
func (h *httpConn) answerMiddleware(r *httpparse.Request, w *middlewareWriter) {
	h.refuses(r, CauseMiddleware)
	h.exchange.keepAlive = h.exchange.keepAlive && !h.exchange.webSocket
	h.exchange.headers = appendFields(h.exchange.headers, w.header, framing)
	h.exchange.byMiddleware = true
	if w.status == 0 {
		w.status = http.StatusOK
	}
	h.exchange.answer(h.conn.Loop(), w.status, "", w.body.String())
}

// middlewareEnd is the handler at the end of the chain: the request is ours.
// Middlewares that add header fields as late as possible do so when the header
// is written.
var middlewareEnd = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	r.Context().Value(middlewareKey{}).(*middlewareWriter).passed = true
	w.WriteHeader(http.StatusOK)
})

// middlewareKey is where a request's context holds its middlewareWriter, which
// middlewares may have wrapped.
type middlewareKey struct{}

// middlewareWriter collects what middlewares do to the response.
type middlewareWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
	passed bool
}

func (w *middlewareWriter) Header() http.Header { return w.header }

func (w *middlewareWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 { // informational ones are not the answer
		w.status = status
	}
}

func (w *middlewareWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed // the client would take it for the next response
	}
	return w.body.Write(p)
}

// standardRequest copies r into the form of net/http. Its body is empty: it
// belongs to the session.
func standardRequest(r *httpparse.Request, h *httpConn) (*http.Request, error) {
	u, err := url.ParseRequestURI(string(r.Target))
	if err != nil {
		return nil, err
	}
	request := &Request{http: r, remote: h.server.clientAddr(r, h.conn), tls: h.server.tlsOf(h.conn)}
	return request.standard(u), nil
}

// standard is r in the form of net/http, for the target u, without a body.
func (r *Request) standard(u *url.URL) *http.Request {
	header := r.Headers()
	host := header.Get("Host")
	header.Del("Host")
	return &http.Request{
		Method: r.Method(), URL: u, RequestURI: r.Target(), Host: host, Header: header,
		Proto: "HTTP/1." + string('0'+byte(r.http.Minor)), ProtoMajor: 1, ProtoMinor: r.http.Minor,
		Body: http.NoBody, RemoteAddr: peerName(r.remote), TLS: r.TLS(),
	}
}

// framing are the header fields that say how a message is read: the server's
// own affair in every response.
var framing = []string{"Connection", "Content-Length", "Date", "Transfer-Encoding", "Upgrade"}

// ownFields are framing, and the fields that say what the server's own responses are.
var ownFields = append([]string{
	"Cache-Control", "Content-Encoding", "Content-Type",
	"Sec-Websocket-Accept", "Sec-Websocket-Extensions", "Sec-Websocket-Protocol",
}, framing...)

// appendHeaderLines appends the fields of h as header lines, in the order of
// their names, for a response of the server. Its own fields cannot be changed,
// and what is no field name is left out.
func appendHeaderLines(dst []byte, h http.Header) []byte { return appendFields(dst, h, ownFields) }

func appendFields(dst []byte, h http.Header, without []string) []byte {
	if len(h) == 0 {
		return dst
	}
	names := make([]string, 0, len(h))
	for name := range h {
		if isToken(name) && !slices.Contains(without, http.CanonicalHeaderKey(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range h[name] {
			dst = httpparse.AppendHeader(dst, name, value)
		}
	}
	return dst
}
