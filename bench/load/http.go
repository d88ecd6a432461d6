package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// response is one HTTP response. Its slices point into what was parsed.
type response struct {
	status int
	close  bool   // the server will close the connection
	accept []byte // Sec-WebSocket-Accept
	body   []byte
}

const maxHead = 64 << 10 // bytes of a response's head

var errIncomplete = errors.New("load: incomplete")

// parseResponse reads one response at the front of p and returns its length.
// It borrows p, and overwrites it where it holds a chunked body. eof says that
// nothing comes after p, which ends a body without a length. It returns
// errIncomplete when p holds only a part.
func parseResponse(p []byte, eof bool) (res response, n int, err error) {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		if len(p) > maxHead {
			return res, 0, errors.New("a head without end")
		}
		return res, 0, errIncomplete
	}
	h, err := parseHead(p[:end], &res)
	if err != nil {
		return res, 0, err
	}
	n = end + 4
	body := p[n:]
	switch {
	case res.status < 200 || res.status == 204 || res.status == 304: // RFC 9112, 6.3: no body
		return res, n, nil
	case h.chunked:
		size, used, err := dechunk(body, nil)
		if err != nil {
			return res, 0, err
		}
		_, _, err = dechunk(body, body[:0])
		res.body = body[:size:size]
		return res, n + used, err
	case h.length >= 0:
		if len(body) < h.length {
			return res, 0, errIncomplete
		}
		res.body = body[:h.length:h.length]
		return res, n + h.length, nil
	}
	res.close = true
	if !eof {
		return res, 0, errIncomplete
	}
	res.body = body
	return res, len(p), nil
}

// framing is how the end of a body is found.
type framing struct {
	length  int // -1 where it is not told
	chunked bool
}

func parseHead(p []byte, res *response) (framing, error) {
	f := framing{length: -1}
	line, rest, _ := bytes.Cut(p, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' {
		return f, fmt.Errorf("no status line: %.40q", line)
	}
	var ok bool
	if res.status, ok = digits(line[9:12]); !ok || res.status < 100 {
		return f, fmt.Errorf("no status: %.40q", line)
	}
	res.close = line[7] == '0'
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return f, fmt.Errorf("no header line: %.40q", line)
		}
		value = bytes.TrimSpace(value)
		switch len(name) {
		case len("Connection"):
			if bytes.EqualFold(name, []byte("Connection")) {
				res.close = bytes.EqualFold(value, []byte("close")) || res.close && !bytes.EqualFold(value, []byte("keep-alive"))
			}
		case len("Content-Length"):
			if bytes.EqualFold(name, []byte("Content-Length")) {
				if f.length, ok = digits(value); !ok {
					return f, fmt.Errorf("no length: %.40q", line)
				}
			}
		case len("Transfer-Encoding"):
			if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
				f.chunked = bytes.EqualFold(value, []byte("chunked"))
			}
		case len("Sec-WebSocket-Accept"):
			if bytes.EqualFold(name, []byte("Sec-WebSocket-Accept")) {
				res.accept = value
			}
		}
	}
	return f, nil
}

// digits reads a number of at most nine digits.
func digits(p []byte) (n int, ok bool) {
	if len(p) == 0 || len(p) > 9 {
		return 0, false
	}
	for _, c := range p {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// dechunk measures the chunked body at the front of p: the bytes it carries
// and the bytes it takes. Unless dst is nil, it appends the former to dst,
// which may be the front of p (RFC 9112, 7.1).
func dechunk(p, dst []byte) (size, used int, err error) {
	for {
		line, _, ok := bytes.Cut(p[used:], []byte("\r\n"))
		if !ok {
			return 0, 0, errIncomplete
		}
		used += len(line) + 2
		number, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(number)), 16, 31)
		if err != nil {
			return 0, 0, fmt.Errorf("no chunk size: %.40q", line)
		}
		if n == 0 {
			break
		}
		end := used + int(n)
		if len(p) < end+2 {
			return 0, 0, errIncomplete
		}
		if p[end] != '\r' || p[end+1] != '\n' {
			return 0, 0, errors.New("a chunk without end")
		}
		if dst != nil {
			dst = append(dst, p[used:end]...)
		}
		size, used = size+int(n), end+2
	}
	for { // trailers, up to the empty line
		line, _, ok := bytes.Cut(p[used:], []byte("\r\n"))
		if !ok {
			return 0, 0, errIncomplete
		}
		used += len(line) + 2
		if len(line) == 0 {
			return size, used, nil
		}
	}
}
