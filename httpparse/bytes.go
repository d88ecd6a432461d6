package httpparse

import "encoding/binary"

// The classes of bytes in a head, as bits of class.
const (
	isToken uint8 = 1 << iota // RFC 9110, 5.6.2: tchar
	isValue                   // RFC 9110, 5.5: VCHAR, obs-text, SP, HTAB
	isLine                    // in a request line: VCHAR and SP
	isHost                    // RFC 3986, 3.2.2: unreserved and sub-delims of a reg-name
	isHex
	isDigit
)

var class = makeClass()

func makeClass() (t [256]uint8) {
	for i := range t {
		c := byte(i)
		letter := 'a' <= lower[c] && lower[c] <= 'z'
		digit := '0' <= c && c <= '9'
		if letter || digit {
			t[i] |= isToken | isHost
		}
		if digit {
			t[i] |= isDigit
		}
		if digit || 'a' <= lower[c] && lower[c] <= 'f' {
			t[i] |= isHex
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			t[i] |= isValue
		}
		if ' ' <= c && c < 0x7f {
			t[i] |= isLine
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] |= isToken
	}
	for _, c := range []byte("-._~!$&'()*+,;=") {
		t[c] |= isHost
	}
	return t
}

// lower maps ASCII letters to lower case and leaves every other byte alone.
var lower = makeLower()

func makeLower() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	return t
}

// all reports whether every byte of p is of the class. p may be empty.
func all(p []byte, kind uint8) bool {
	for _, c := range p {
		if class[c]&kind == 0 {
			return false
		}
	}
	return true
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// below is not 0 if some byte of the eight in x is less than n, n <= 128.
func below(x uint64, n uint64) uint64 { return (x - ones*n) & ^x & highs }

// valueBytes is all(p, isValue), eight bytes at a time, because values are most
// of a head. The last eight overlap the ones before.
func valueBytes(p []byte) bool {
	if len(p) < 8 {
		return all(p, isValue)
	}
	for i := 0; ; i = min(i+8, len(p)-8) {
		x := binary.LittleEndian.Uint64(p[i:])
		if below(x, ' ')|below(x^0x7f*ones, 1) != 0 && !all(p[i:i+8], isValue) { // an HTAB comes here and passes
			return false
		}
		if i == len(p)-8 {
			return true
		}
	}
}

// lineBytes is all(p, isLine), in the same way.
func lineBytes(p []byte) bool {
	if len(p) < 8 {
		return all(p, isLine)
	}
	for i := 0; ; i = min(i+8, len(p)-8) {
		x := binary.LittleEndian.Uint64(p[i:])
		if below(x, ' ')|below(x^0x7f*ones, 1)|x&highs != 0 {
			return false
		}
		if i == len(p)-8 {
			return true
		}
	}
}

// trimOWS cuts optional whitespace, RFC 9110, 5.6.3, off both ends.
func trimOWS(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		p = p[1:]
	}
	for len(p) > 0 && (p[len(p)-1] == ' ' || p[len(p)-1] == '\t') {
		p = p[:len(p)-1]
	}
	return p
}

// equalFold compares without regard to the case of ASCII letters.
func equalFold(p []byte, s string) bool {
	if len(p) != len(s) {
		return false
	}
	for i, c := range p {
		if lower[c] != lower[s[i]] {
			return false
		}
	}
	return true
}
