package enginetest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"turbine/engine"
)

// A wire is one connection, as a link uses it. Its methods do not wait.
type wire interface {
	send(p []byte) // borrows p
	end()          // ends the client's direction behind what was sent
	reset()        // drops the connection
	pause(on bool) // on: reads no more from it
}

// A link is what a client has of a connection: HTTP requests one after another, or
// a WebSocket after the first. The client's mu is held for all its methods.
type link struct {
	c      *Client
	wire   wire
	method string              // of the request that waits for its response
	done   func(res *response) // is told the response; nil between requests
	frames *frames             // of a WebSocket; nil before
	in     []byte              // received and not used
}

// response is a whole HTTP response, which is the receiver's.
type response struct {
	status int
	header http.Header
	close  bool // the connection ends with it
	body   []byte
}

// text says what a response is in a message of a failed test.
func (r *response) text() string {
	told := refusal(r)
	if told.Code < 0 {
		return fmt.Sprintf("status %d: %s", told.Status, told.Message)
	}
	return fmt.Sprintf("status %d, code %d: %s", told.Status, told.Code, told.Message)
}

// request sends one, on a new connection if there is none. done is called with the
// response, unless the session ends before.
func (l *link) request(method string, transport engine.Transport, header http.Header, body []byte, done func(res *response)) {
	if l.wire == nil {
		w, err := l.c.network.connect(l)
		if err != nil {
			l.c.fail(err)
			return
		}
		l.wire, l.in = w, nil
	}
	l.method, l.done = method, done
	l.wire.send(append(l.c.head(method, transport, header, len(body)), body...))
}

// data takes what has come on w. It borrows p.
func (l *link) data(w wire, p []byte) {
	if l.wire != w { // dropped since
		return
	}
	l.in = append(l.in, p...)
	l.read(false)
}

// ended is told that nothing more comes on w; err is nil for an end in good order.
func (l *link) ended(w wire, err error) {
	if l.wire != w {
		return
	}
	l.read(true)
	if l.wire != w {
		return
	}
	l.drop()
	switch {
	case l.done == nil && l.frames == nil: // a connection that was kept alive
	case err != nil:
		l.c.fail(fmt.Errorf("connection lost: %w", err))
	default:
		l.c.fail(errLost)
	}
}

var errLost = errors.New("connection lost")

// drop ends the connection, which the next request does not use.
func (l *link) drop() {
	if l.wire != nil {
		l.wire.end()
		l.wire = nil
	}
}

// read takes the responses and frames in l.in.
func (l *link) read(eof bool) {
	for l.frames == nil && l.done != nil {
		res, n, err := parseResponse(l.in, l.method, eof)
		if err == errIncomplete {
			return
		}
		if err != nil {
			l.c.fail(fmt.Errorf("no HTTP response: %w", err))
			return
		}
		done := l.done
		l.in, l.done = l.in[n:], nil
		if res.close && res.status != http.StatusSwitchingProtocols {
			l.drop()
		}
		l.c.keepCookies(res.header)
		done(res)
	}
	if l.frames != nil {
		l.in = l.in[l.frames.read(l.in):]
	}
}

// head makes the head of a request.
func (c *Client) head(method string, transport engine.Transport, more http.Header, length int) []byte {
	query := url.Values{}
	maps.Copy(query, c.options.Query)
	query.Set("EIO", strconv.Itoa(int(c.options.Revision)))
	query.Set("transport", transport.String())
	if c.options.Base64 {
		query.Set("b64", "1")
	}
	if c.open.SID != "" {
		query.Set("sid", c.open.SID)
	}
	header := http.Header{"Host": {c.host}}
	for _, from := range []http.Header{c.options.Header, more} {
		for name, values := range from {
			header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if len(c.cookies) > 0 {
		header["Cookie"] = []string{strings.Join(append(slices.Clone(header["Cookie"]), c.cookies...), "; ")}
	}
	if method == http.MethodPost {
		header["Content-Length"] = []string{strconv.Itoa(length)}
	}
	p := fmt.Appendf(nil, "%s %s?%s HTTP/1.1\r\n", method, c.path, query.Encode())
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			p = fmt.Appendf(p, "%s: %s\r\n", name, value)
		}
	}
	return append(p, "\r\n"...)
}

// keepCookies keeps what the server sets, "name=value", the last one of a name.
func (c *Client) keepCookies(header http.Header) {
	for _, cookie := range (&http.Response{Header: header}).Cookies() {
		c.cookies = slices.DeleteFunc(c.cookies, func(kept string) bool { return strings.HasPrefix(kept, cookie.Name+"=") })
		if cookie.MaxAge >= 0 {
			c.cookies = append(c.cookies, cookie.Name+"="+cookie.Value)
		}
	}
}

var errIncomplete = errors.New("incomplete")

// parseResponse reads the response to a request of that method at the front of p,
// and says how long it is. eof says that nothing comes behind p. It borrows p.
func parseResponse(p []byte, method string, eof bool) (*response, int, error) {
	if !bytes.Contains(p, []byte("\r\n\r\n")) {
		return nil, 0, errIncomplete
	}
	source := bytes.NewReader(p)
	reader := bufio.NewReader(source)
	r, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		return nil, 0, err
	}
	res := &response{status: r.StatusCode, header: r.Header, close: r.Close}
	untilEnd := r.ContentLength < 0 && len(r.TransferEncoding) == 0
	if untilEnd && !eof || r.ContentLength > int64(source.Len()+reader.Buffered()) {
		return nil, 0, errIncomplete
	}
	if r.StatusCode != http.StatusSwitchingProtocols {
		res.body, err = io.ReadAll(r.Body)
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, 0, errIncomplete
	case err != nil:
		return nil, 0, err
	}
	n := len(p) - source.Len() - reader.Buffered()
	if res.status < 200 && res.status != http.StatusSwitchingProtocols {
		res, more, err := parseResponse(p[n:], method, eof)
		return res, n + more, err
	}
	if encoding := res.header.Get("Content-Encoding"); encoding != "" {
		return nil, 0, fmt.Errorf("its Content-Encoding is %s, which this client does not read: leave Accept-Encoding out of Options.Header", encoding)
	}
	return res, n, nil
}
