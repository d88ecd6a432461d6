package httpparse

import "bytes"

// Parse reads one request head from the front of p and returns its length,
// with the empty line that ends it and the one that may stand before it. r's
// slices borrow p; its Headers room is used again, so a warm r costs no
// allocation. Parse returns ErrIncomplete when p holds only part of a head,
// and an *Error when p cannot become one; after that the connection must be
// closed. The limits hold for a part of a head as well. The result does not
// depend on how the head was cut into pieces. RFC 9112, 2 to 6.
//
// Each call looks at p from the start: when more bytes came, ask HeadEnd first.
func Parse(p []byte, r *Request, limits Limits) (n int, err error) {
	limits = limits.filled()
	*r = Request{Headers: r.Headers[:0], ContentLength: -1}
	n, err = r.parseLine(p, limits.RequestLine)
	if err != nil {
		return 0, err
	}
	n, err = r.parseFields(p, n, limits)
	if err != nil {
		return 0, err
	}
	if err = r.judge(); err != nil {
		return 0, err
	}
	return n, nil
}

// HeadEnd looks for the empty line that ends a head, where p[:from] was looked at
// before and holds none, and returns the length of the head, or -1. It reads every
// new byte once, so a peer that sends a head byte by byte cannot make parsing
// quadratic. It borrows p. It takes bare LF for the end of a line, so that Parse
// refuses such a head at once instead of waiting for more. When the answer is not -1,
// Parse does not answer ErrIncomplete.
func HeadEnd(p []byte, from int) int {
	// The end may have begun in the bytes seen: its last but one LF is at most
	// two bytes before from.
	i := min(max(from-len("\n\r"), 0), len(p))
	for {
		lf := bytes.IndexByte(p[i:], '\n')
		if lf < 0 {
			return -1
		}
		i += lf + 1
		switch {
		case i < len(p) && p[i] == '\n':
			return i + 1
		case i+1 < len(p) && p[i] == '\r' && p[i+1] == '\n':
			return i + 2
		}
	}
}

// parseLine reads the request line, RFC 9112, 3, and returns where the fields
// begin.
func (r *Request) parseLine(p []byte, limit int) (n int, err error) {
	line, size, crlf := cutLine(p)
	if crlf && len(line) == 0 {
		// RFC 9112, 2.2: at least one empty line before the request line should
		// be ignored. One it is: old clients sent one behind a POST body.
		n = size
		line, size, crlf = cutLine(p[n:])
	}
	// The bytes come first, of a part as well: a TLS hello or other noise need
	// not contain an LF, and the answer must not depend on where it was cut.
	if !lineBytes(line[:min(len(line), limit)]) {
		return 0, errRequestLine
	}
	switch {
	case len(line) > limit:
		return 0, ErrRequestLine
	case size == 0:
		return 0, ErrIncomplete
	case !crlf:
		return 0, errBareLF
	}
	return n + size, r.splitLine(line)
}

// splitLine takes the request line apart: method SP target SP version, with
// single spaces and nothing around them. It holds VCHAR and SP only.
func (r *Request) splitLine(line []byte) error {
	space := bytes.IndexByte(line, ' ')
	if space < 0 {
		return errRequestLine
	}
	r.Method, line = line[:space], line[space+1:]
	if len(r.Method) == 0 || !all(r.Method, isToken) {
		return errMethod
	}
	space = bytes.IndexByte(line, ' ')
	if space < 0 {
		return errRequestLine
	}
	r.Target, line = line[:space], line[space+1:]
	if err := r.parseVersion(line); err != nil {
		return err
	}
	return r.parseTarget()
}

// parseVersion reads HTTP-version, RFC 9112, 2.3. It comes before the target is
// understood, so that the preface of HTTP/2 is answered with 505. A higher minor
// version of HTTP/1 is treated as the highest that is known: RFC 9110, 2.5.
func (r *Request) parseVersion(version []byte) error {
	const form = "HTTP/1.1"
	if len(version) != len(form) || string(version[:5]) != "HTTP/" ||
		class[version[5]]&isDigit == 0 || version[6] != '.' || class[version[7]]&isDigit == 0 {
		return errRequestLine
	}
	if version[5] != '1' {
		return errVersion
	}
	r.Minor = min(int(version[7]-'0'), 1)
	return nil
}

// parseFields reads header fields from p[start:] until the empty line and
// returns where the head ends.
func (r *Request) parseFields(p []byte, start int, limits Limits) (n int, err error) {
	n = start
	for {
		line, size, crlf := cutLine(p[n:])
		if len(line) == 0 {
			switch {
			case size == 0:
				return 0, ErrIncomplete
			case crlf:
				return n + size, nil
			}
			return 0, errBareLF
		}
		if n-start+len(line)+len("\r\n") > limits.HeaderBytes {
			return 0, ErrHeaderBytes
		}
		if size == 0 {
			return 0, ErrIncomplete
		}
		if !crlf {
			return 0, errBareLF
		}
		if len(r.Headers) >= limits.HeaderCount {
			return 0, ErrHeaderCount
		}
		h, err := parseField(line)
		if err != nil {
			return 0, err
		}
		r.Headers = append(r.Headers, h)
		n += size
	}
}

// parseField reads one field line, RFC 9112, 5. Space before the colon and a
// folded line, which begins with space, fail as bytes that are not a token.
func parseField(line []byte) (Header, error) {
	colon := 0
	for colon < len(line) && class[line[colon]]&isToken != 0 {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return Header{}, errFieldName
	}
	h := Header{Name: line[:colon], Value: trimOWS(line[colon+1:])}
	if !valueBytes(h.Value) {
		return Header{}, errFieldValue
	}
	return h, nil
}

// cutLine returns the line at the front of p without its end, and its size with
// it; crlf says that the end is CRLF and not a bare LF. As long as the LF is
// not there size is 0 and line is what came, without a CR that may be half of
// the end.
func cutLine(p []byte) (line []byte, size int, crlf bool) {
	lf := bytes.IndexByte(p, '\n')
	line = p
	if lf >= 0 {
		line, size = p[:lf], lf+1
	}
	if last := len(line) - 1; last >= 0 && line[last] == '\r' {
		return line[:last], size, size > 0
	}
	return line, size, false
}
