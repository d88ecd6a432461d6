package httpparse

import "bytes"

// NextParam takes one name=value pair from the front of a query and returns
// what is behind it. Pairs are separated by '&' only; empty pieces are skipped.
// All three borrow query and are raw: decode key and value with Unescape.
// value is nil when the piece has no '='. rest is empty after the last pair;
// key is nil when there was none. WHATWG URL, 5.1.
//
//	for len(query) > 0 {
//		key, value, query = httpparse.NextParam(query)
//	}
func NextParam(query []byte) (key, value, rest []byte) {
	query = trimAmpersands(query)
	if len(query) == 0 {
		return nil, nil, nil
	}
	key = query
	if end := bytes.IndexByte(query, '&'); end >= 0 {
		key, rest = query[:end], trimAmpersands(query[end+1:])
	}
	if sign := bytes.IndexByte(key, '='); sign >= 0 {
		key, value = key[:sign], key[sign+1:]
	}
	return key, value, rest
}

func trimAmpersands(p []byte) []byte {
	for len(p) > 0 && p[0] == '&' {
		p = p[1:]
	}
	return p
}

// Unescape decodes application/x-www-form-urlencoded bytes in place: '+' is a
// space, %XX a byte, and a '%' without two hex digits stands for itself. It
// writes into p and returns its decoded front, which borrows p; where there is
// nothing to decode it writes nothing and returns p. It cannot fail, and what
// it returns may hold any byte. Decoding twice is a mistake. WHATWG URL, 5.1.
func Unescape(p []byte) []byte {
	in := 0
	for in < len(p) && p[in] != '+' && p[in] != '%' {
		in++
	}
	out := in
	for ; in < len(p); in++ {
		c := p[in]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && in+2 < len(p) && class[p[in+1]]&class[p[in+2]]&isHex != 0:
			c = hexValue(p[in+1])<<4 | hexValue(p[in+2])
			in += 2
		}
		p[out] = c
		out++
	}
	return p[:out]
}

// hexValue returns the value of a byte of class isHex.
func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return lower[c] - 'a' + 10
}
