package wsframe

import "bytes"

var comma = []byte(",")

// validKey checks the form of base64 for 16 bytes, as the reference server
// does: the 4 bits that 22 digits have to spare may be anything.
func validKey(p []byte) bool {
	if len(p) != keySize || p[22] != '=' || p[23] != '=' {
		return false
	}
	for _, c := range p[:22] {
		if !isAlphanumeric(c) && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// validProtocols: RFC 6455, 4.1 item 10: one or more tokens, all different.
func validProtocols(p []byte) bool {
	var seen [maxProtocols][]byte
	p = skipEmpty(p)
	for n := 0; n < maxProtocols; n++ {
		token, rest := cutToken(p)
		if len(token) == 0 {
			return false
		}
		for _, other := range seen[:n] {
			if bytes.Equal(token, other) {
				return false
			}
		}
		seen[n] = token
		rest = skipSpace(rest)
		if len(rest) > 0 && rest[0] != ',' {
			return false
		}
		if p = skipEmpty(rest); len(p) == 0 {
			return true
		}
	}
	return false
}

// validExtensions: RFC 6455, 9.1: a list of token *( ";" token [ "=" value ] ),
// or of nothing.
func validExtensions(p []byte) bool {
	name := true // an extension is due, not a parameter
	for {
		if name {
			if p = skipEmpty(p); len(p) == 0 {
				return true
			}
		}
		token, rest := cutToken(skipSpace(p))
		if len(token) == 0 {
			return false
		}
		if !name && len(rest) > 0 && rest[0] == '=' {
			var ok bool
			if rest, ok = skipValue(rest[1:]); !ok {
				return false
			}
		}
		rest = skipSpace(rest)
		if len(rest) == 0 {
			return true
		}
		if rest[0] != ',' && rest[0] != ';' {
			return false
		}
		name = rest[0] == ','
		p = rest[1:]
	}
}

// skipValue skips the value of a parameter: a token, or a quoted string that
// is one with its quotes and backslashes taken off.
func skipValue(p []byte) (rest []byte, ok bool) {
	if len(p) == 0 || p[0] != '"' {
		token, rest := cutToken(p)
		return rest, len(token) > 0
	}
	length := 0
	for i := 1; i < len(p); i++ {
		switch c := p[i]; {
		case c == '"':
			return p[i+1:], length > 0
		case c == '\\' && i+1 < len(p) && isToken(p[i+1]):
			i++
			length++
		case isToken(c):
			length++
		default:
			return nil, false
		}
	}
	return nil, false
}

// cutToken splits p behind the token at its front, which may be empty.
func cutToken(p []byte) (token, rest []byte) {
	n := 0
	for n < len(p) && isToken(p[n]) {
		n++
	}
	return p[:n], p[n:]
}

// skipSpace drops the optional whitespace of HTTP lists.
func skipSpace(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		p = p[1:]
	}
	return p
}

// skipEmpty drops the empty elements at the front of a list, and the whitespace.
func skipEmpty(p []byte) []byte {
	for p = skipSpace(p); len(p) > 0 && p[0] == ','; {
		p = skipSpace(p[1:])
	}
	return p
}

// isToken: RFC 9110, 5.6.2.
func isToken(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return isAlphanumeric(c)
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
