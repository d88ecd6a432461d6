package proxied

import (
	"bytes"
	"net/netip"

	"turbine/httpparse"
)

// hops are the elements of a list in all header fields of one name, from the
// last to the first. It borrows the fields.
type hops struct {
	headers []httpparse.Header // those not looked at yet
	name    string
	list    []byte // what is left of the field that is looked at
}

func hopsOf(r *httpparse.Request, name string) hops { return hops{headers: r.Headers, name: name} }

// next is the next element, without whitespace around it. Empty ones are passed
// over: RFC 9110, 5.6.1.2.
func (h *hops) next() (element []byte, ok bool) {
	for {
		for len(h.list) > 0 {
			h.list, element = lastElement(h.list, h.name == Forwarded)
			if len(element) > 0 {
				return element, true
			}
		}
		n := len(h.headers) - 1
		if n < 0 {
			return nil, false
		}
		if bytes.EqualFold(h.headers[n].Name, []byte(h.name)) {
			h.list = h.headers[n].Value
		}
		h.headers = h.headers[:n]
	}
}

// node is the address in an element.
func (h *hops) node(element []byte) (netip.AddrPort, bool) {
	if h.name == Forwarded {
		var scratch [maxNode]byte
		value, ok := forwardedParam(element, "for", scratch[:0])
		if !ok {
			return netip.AddrPort{}, false
		}
		element = value
	}
	return parseNode(element)
}

// lastElement cuts the last element off a list. With quoted, commas in quoted
// strings are part of them; quotes are counted from the end, where a trusted
// proxy has written, so that one that a client leaves open hides nothing.
func lastElement(list []byte, quoted bool) (rest, element []byte) {
	open := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case quoted && list[i] == '"' && !escaped(list, i):
			open = !open
		case list[i] == ',' && !open:
			return list[:i], bytes.Trim(list[i+1:], " \t")
		}
	}
	return nil, bytes.Trim(list, " \t")
}

// escaped reports whether the byte at i is escaped by a backslash.
func escaped(p []byte, i int) bool {
	n := 0
	for i > n && p[i-n-1] == '\\' {
		n++
	}
	return n%2 == 1
}

// forwardedParam is the value of a parameter of one element of Forwarded,
// unquoted, in scratch if need be. It reports false where the element is
// malformed, has no such parameter, has it twice, or has one that does not fit.
func forwardedParam(element []byte, name string, scratch []byte) (value []byte, ok bool) {
	for len(element) > 0 {
		var pair []byte
		pair, element = firstPair(element)
		key, text, found := bytes.Cut(pair, []byte{'='})
		if !found {
			return nil, false
		}
		if !bytes.EqualFold(bytes.TrimSpace(key), []byte(name)) {
			continue
		}
		if ok {
			return nil, false // RFC 7239, 4: not more than once
		}
		if value, ok = unquote(text, scratch); !ok {
			return nil, false
		}
	}
	return value, ok
}

// firstPair cuts the first parameter off an element, without whitespace around it.
func firstPair(element []byte) (pair, rest []byte) {
	open := false
	for i := 0; i < len(element); i++ {
		switch c := element[i]; {
		case c == '\\' && open:
			i++
		case c == '"':
			open = !open
		case c == ';' && !open:
			return bytes.Trim(element[:i], " \t"), element[i+1:]
		}
	}
	return bytes.Trim(element, " \t"), nil
}

// unquote is the value of a token or a quoted string, in dst if it has to be
// changed.
func unquote(p, dst []byte) ([]byte, bool) {
	p = bytes.Trim(p, " \t")
	if len(p) == 0 || p[0] != '"' {
		return p, bytes.IndexByte(p, '"') < 0
	}
	if len(p) < 2 || p[len(p)-1] != '"' || escaped(p, len(p)-1) {
		return nil, false
	}
	p = p[1 : len(p)-1]
	if bytes.IndexByte(p, '\\') < 0 {
		return p, bytes.IndexByte(p, '"') < 0
	}
	if len(p) > cap(dst) {
		return nil, false
	}
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '"':
			return nil, false
		case '\\':
			i++
		}
		dst = append(dst, p[i])
	}
	return dst, true
}
