package httpparse

import (
	"bytes"
	"strings"
)

// parseTarget sets Path and Query from Target by the four forms of RFC 9112,
// 3.2; parseLine and splitLine left only VCHAR in it. Bytes that RFC 3986 wants
// encoded but that cannot mislead a parser (such as '"' or '|') pass: browsers
// send them in queries.
func (r *Request) parseTarget() error {
	t := r.Target
	// No part of a URI that is sent may hold a '#': RFC 9112, 3.2.
	if len(t) == 0 || bytes.IndexByte(t, '#') >= 0 {
		return errTarget
	}
	switch {
	case string(r.Method) == "CONNECT": // authority-form, and nothing else
		if host, port, ok := splitAuthority(t); !ok || len(host) == 0 || len(port) == 0 {
			return errTargetForm
		}
		return nil
	case t[0] == '/': // origin-form
	case len(t) == 1 && t[0] == '*': // asterisk-form
		if string(r.Method) != "OPTIONS" {
			return errTargetForm
		}
	default: // absolute-form
		var ok bool
		if t, ok = cutAuthority(t); !ok {
			return errTargetForm
		}
	}
	r.Path = t
	if mark := bytes.IndexByte(t, '?'); mark >= 0 {
		r.Path, r.Query = t[:mark], t[mark+1:]
	}
	if len(r.Path) == 0 {
		// RFC 9110, 4.2.3: an empty path means "/". The slash in front of the
		// authority lends itself, so that Path borrows p in this case too.
		slash := bytes.IndexByte(r.Target, '/')
		r.Path = r.Target[slash : slash+1]
	}
	if !wellEscaped(r.Path) {
		return errTarget
	}
	return nil
}

// cutAuthority returns what is behind scheme and authority of an absolute-form
// for us: RFC 9112, 3.2.2. Userinfo is refused: RFC 9110, 4.2.4.
func cutAuthority(t []byte) (rest []byte, ok bool) {
	colon := bytes.IndexByte(t, ':')
	if colon < 0 || !equalFold(t[:colon], "http") && !equalFold(t[:colon], "https") {
		return nil, false
	}
	t = t[colon+1:]
	if len(t) < 2 || t[0] != '/' || t[1] != '/' {
		return nil, false
	}
	t = t[2:]
	end := bytes.IndexAny(t, "/?")
	if end < 0 {
		end = len(t)
	}
	host, _, ok := splitAuthority(t[:end])
	return t[end:], ok && len(host) > 0
}

// splitAuthority reads uri-host [":" port], RFC 3986, 3.2.2 and 3.2.3, and
// reports whether it is well-formed. Both parts may be empty. Percent-encoded
// names are refused, nobody sends them.
func splitAuthority(p []byte) (host, port []byte, ok bool) {
	host = p
	if len(p) > 0 && p[0] == '[' {
		end := bytes.IndexByte(p, ']')
		if end < 0 || !bracketed(p[1:end]) {
			return nil, nil, false
		}
		if host, port = p[:end+1], p[end+1:]; len(port) > 0 {
			return host, port[1:], port[0] == ':' && all(port[1:], isDigit)
		}
		return host, nil, true
	}
	if colon := bytes.IndexByte(p, ':'); colon >= 0 {
		host, port = p[:colon], p[colon+1:]
	}
	return host, port, all(host, isHost) && all(port, isDigit)
}

// bracketed reports whether p could be an IPv6 address, which is checked for its
// bytes only, with or without a zone. A zone means something on the client's machine
// alone, and a client ought not to send it (RFC 6874, 4); but some do, with "%25"
// before it as in a URI, or with "%" alone, as outside of a URI.
func bracketed(p []byte) bool {
	address, zone, zoned := bytes.Cut(p, percent)
	for _, c := range address {
		if class[c]&isHex == 0 && c != ':' && c != '.' {
			return false
		}
	}
	for _, c := range zone { // RFC 6874, 2: unreserved and pct-encoded
		if class[c]&isHost == 0 && c != '%' || isSubDelim(c) {
			return false
		}
	}
	return len(address) > 0 && zoned == (len(zone) > 0) && wellEscaped(zone)
}

// isSubDelim: RFC 3986, 2.2.
func isSubDelim(c byte) bool { return strings.IndexByte("!$&'()*+,;=", c) >= 0 }

var percent = []byte{'%'}

// wellEscaped reports whether each '%' has its two digits: RFC 3986, 2.1.
func wellEscaped(p []byte) bool {
	for {
		i := bytes.IndexByte(p, '%')
		if i < 0 {
			return true
		}
		if i+2 >= len(p) || class[p[i+1]]&isHex == 0 || class[p[i+2]]&isHex == 0 {
			return false
		}
		p = p[i+3:]
	}
}
