package httpparse

import "bytes"

// judge applies the rules that connect fields with each other and with the
// version, and sets what they say about body and connection. Reading is done.
func (r *Request) judge() error {
	var hosts, lengths, codings int
	var closes, keeps, upgrades, webSocket, unexpected bool
	for i := range r.Headers {
		h := &r.Headers[i]
		switch len(h.Name) {
		case len("Host"):
			if !equalFold(h.Name, "host") {
				break
			}
			// RFC 9112, 3.2: more than one Host or a malformed one is 400.
			if hosts++; hosts > 1 {
				return errHostRepeated
			}
			if _, _, ok := splitAuthority(h.Value); !ok {
				return errHost
			}
		case len("Expect"):
			if equalFold(h.Name, "expect") {
				unexpected = r.expect(h.Value) || unexpected
			}
		case len("Upgrade"):
			if !equalFold(h.Name, "upgrade") {
				break
			}
			for list := h.Value; len(list) > 0; {
				var protocol []byte
				protocol, list = nextElement(list)
				webSocket = webSocket || equalFold(protocol, "websocket")
			}
		case len("Connection"):
			if !equalFold(h.Name, "connection") {
				break
			}
			for list := h.Value; len(list) > 0; {
				var option []byte
				option, list = nextElement(list)
				closes = closes || equalFold(option, "close")
				keeps = keeps || equalFold(option, "keep-alive")
				upgrades = upgrades || equalFold(option, "upgrade")
			}
		case len("Content-Length"):
			if !equalFold(h.Name, "content-length") {
				break
			}
			// RFC 9112, 6.3 allows to merge equal values; a client that repeats them is more
			// likely to smuggle than to stutter.
			if lengths++; lengths > 1 {
				return errLengthTwice
			}
			var ok bool
			if r.ContentLength, ok = parseLength(h.Value); !ok {
				return errLength
			}
		case len("Transfer-Encoding"):
			if !equalFold(h.Name, "transfer-encoding") {
				break
			}
			if codings++; codings > 1 {
				return errCodingTwice
			}
			if err := checkCoding(h.Value); err != nil {
				return err
			}
			r.Chunked = true
		}
	}
	switch {
	case hosts == 0 && r.Minor == 1: // RFC 9112, 3.2
		return errHostMissing
	case r.Chunked && lengths > 0: // RFC 9112, 6.3, rule 3: ought to be handled as an error
		return errCodingLength
	case r.Chunked && r.Minor == 0: // RFC 9112, 6.1: treat the framing as faulty
		return errCodingVersion
	case unexpected && r.Minor == 1:
		return errExpectation
	}
	r.KeepAlive = !closes && (r.Minor == 1 || keeps)
	// RFC 9110, 7.8 and 10.1.1: both are ignored in a request of HTTP/1.0.
	r.WebSocket = upgrades && webSocket && r.Minor == 1
	r.ExpectContinue = r.ExpectContinue && r.Minor == 1
	return nil
}

// expect reads one Expect field and reports whether it asks for anything but
// 100-continue. RFC 9110, 10.1.1.
func (r *Request) expect(list []byte) (unexpected bool) {
	for len(list) > 0 {
		var expectation []byte
		expectation, list = nextElement(list)
		switch {
		case equalFold(expectation, "100-continue"):
			r.ExpectContinue = true
		case len(expectation) > 0:
			unexpected = true
		}
	}
	return unexpected
}

// parseLength reads Content-Length, RFC 9110, 8.6: digits only, at most 18 of
// them, so that the sum cannot overflow.
func parseLength(p []byte) (length int64, ok bool) {
	if len(p) == 0 || len(p) > 18 || !all(p, isDigit) {
		return -1, false
	}
	for _, c := range p {
		length = length*10 + int64(c-'0')
	}
	return length, true
}

// checkCoding accepts the one transfer coding there is, "chunked", alone.
// RFC 9112, 6.1: a coding not understood is 501. Chunked twice, or next to stray
// commas, is understood and wrong: 400. So is chunked that is not the last
// coding, whatever is behind it: RFC 9112, 6.3, the body's length is not known.
func checkCoding(list []byte) error {
	if equalFold(list, "chunked") {
		return nil
	}
	chunked, unknown, last := 0, false, false // last: chunked is the last one so far
	for len(list) > 0 {
		var coding []byte
		coding, list = nextElement(list)
		switch {
		case equalFold(coding, "chunked"):
			chunked++
			last = true
		case len(coding) > 0:
			unknown, last = true, false
		}
	}
	if unknown && (chunked == 0 || chunked == 1 && last) {
		return errCodingKind
	}
	return errCoding
}

// nextElement takes one element from a comma-separated list. The element may
// be empty: RFC 9110, 5.6.1.2 wants those ignored.
func nextElement(list []byte) (element, rest []byte) {
	element, rest, _ = bytes.Cut(list, comma)
	return trimOWS(element), rest
}

var comma = []byte{','}
