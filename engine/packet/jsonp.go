package packet

import (
	"bytes"
	"unicode/utf8"
)

// JSONP is polling by script elements, for browsers that know no other way
// across origins. A response is a call of a function of the page; a request is
// a form.

// AppendJSONP appends a response to a JSONP poll: the call ___eio[index](text);
// with payload as a string of JavaScript. Of index, the query's parameter j,
// only the digits are written. payload is text; invalid UTF-8 in it becomes
// U+FFFD. The string is that of JSON.stringify, except for U+2028 and U+2029, which
// older JavaScript takes for line ends. It borrows index and payload.
func AppendJSONP(dst, index, payload []byte) []byte {
	dst = JSONPIndex(append(dst, "___eio["...), index)
	dst = appendJSString(append(dst, "]("...), payload)
	return append(dst, ");"...)
}

// JSONPIndex appends the digits of value, the query's parameter j, which a
// session keeps from its handshake. Nothing else of what a client sends may
// come to stand outside the string of a response. It borrows value.
func JSONPIndex(dst, value []byte) []byte {
	for _, c := range value {
		if '0' <= c && c <= '9' {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendJSString appends p in quotes.
func appendJSString(dst, p []byte) []byte {
	dst = append(dst, '"')
	done := 0 // p[:done] is appended
	for i := 0; i < len(p); {
		if c := p[i]; c < utf8.RuneSelf && jsonEscapes[c] == "" {
			i++
			continue
		}
		size, escape := escaped(p[i:])
		if escape != "" {
			dst = append(dst, p[done:i]...)
			dst = append(dst, escape...)
			done = i + size
		}
		i += size
	}
	dst = append(dst, p[done:]...)
	return append(dst, '"')
}

// escaped is the size of the first character of p, which is not empty, and what
// is written in its place, "" for itself.
func escaped(p []byte) (size int, escape string) {
	if p[0] < utf8.RuneSelf {
		return 1, jsonEscapes[p[0]]
	}
	size, _, valid := codePoint(p)
	switch {
	case !valid:
		return size, "\uFFFD"
	case string(p[:size]) == "\u2028":
		return size, `\u2028`
	case string(p[:size]) == "\u2029":
		return size, `\u2029`
	}
	return size, ""
}

// JSONPBody takes the payload out of the body of a JSONP post, a form in
// application/x-www-form-urlencoded: its field d. ok is false when there is none
// or more than one; such a post is answered as any and says nothing. payload
// borrows form, which it overwrites; it may hold any byte.
//
// Forms turn line ends into CR LF, so the client writes a newline as backslash
// and n, and where these two stand in the text, it puts a backslash in front.
func JSONPBody(form []byte) (payload []byte, ok bool) {
	for rest := form; len(rest) > 0; {
		var pair []byte
		pair, rest, _ = bytes.Cut(rest, []byte{'&'})
		key, value, _ := bytes.Cut(pair, []byte{'='})
		switch string(key) {
		case "d", "%64":
			if ok {
				return nil, false
			}
			payload, ok = value, true
		}
	}
	return unescapeNewlines(unescapeForm(payload)), ok
}

// unescapeForm decodes p in place and returns its front: '+' is a space, %XX a
// byte, and a '%' without two hex digits stands for itself. WHATWG URL, 5.1.
func unescapeForm(p []byte) []byte {
	out := 0
	for in := 0; in < len(p); in++ {
		c := p[in]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && in+2 < len(p):
			high, low := hexValue(p[in+1]), hexValue(p[in+2])
			if high|low < 16 {
				c = high<<4 | low
				in += 2
			}
		}
		p[out] = c
		out++
	}
	return p[:out]
}

// hexValue is at least 16 for what is no hex digit.
func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return (c | 0x20) - 'a' + 10
	}
	return 0xff
}

// unescapeNewlines takes one backslash from those in front of an n, in place,
// and makes a newline of an n that had only that one.
func unescapeNewlines(p []byte) []byte {
	out, slashes := 0, 0
	for _, c := range p {
		switch {
		case c == '\\':
			slashes++
		case c == 'n' && slashes == 1:
			out--
			c, slashes = '\n', 0
		case c == 'n' && slashes > 1:
			out--
			slashes = 0
		default:
			slashes = 0
		}
		p[out] = c
		out++
	}
	return p[:out]
}
