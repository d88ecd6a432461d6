package packet

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// utf16Len is the number of UTF-16 code units of the UTF-8 text p: two for a
// code point above U+FFFF, one for any other. Revision 3 measures the packets
// of a text payload in them. Invalid bytes count as the U+FFFD that a browser
// or Node.js decodes them to: one for each maximal part of a truncated
// sequence, one for each other byte.
func utf16Len(p []byte) int {
	units := 0
	for len(p) > 0 {
		n := asciiPrefix(p)
		units += n
		for p = p[n:]; len(p) > 0 && p[0] >= utf8.RuneSelf; {
			size, u, _ := codePoint(p)
			units += u
			p = p[size:]
		}
	}
	return units
}

// cutUTF16 returns the number of bytes of the first n code units of p. ok is
// false when p has fewer, or when the cut would split a code point.
func cutUTF16(p []byte, n int) (size int, ok bool) {
	for n > 0 {
		ascii := asciiPrefix(p[size:min(len(p), size+n)])
		size, n = size+ascii, n-ascii
		for n > 0 {
			if size == len(p) {
				return 0, false
			}
			if p[size] < utf8.RuneSelf {
				break
			}
			bytes, units, _ := codePoint(p[size:])
			if units > n {
				return 0, false
			}
			size, n = size+bytes, n-units
		}
	}
	return size, true
}

// appendReplaced appends p with every invalid part replaced by U+FFFD, as
// utf16Len counts them.
func appendReplaced(dst, p []byte) []byte {
	for len(p) > 0 {
		size, _, valid := codePoint(p)
		if valid {
			dst = append(dst, p[:size]...)
		} else {
			dst = append(dst, "\uFFFD"...)
		}
		p = p[size:]
	}
	return dst
}

// asciiPrefix is the number of ASCII bytes in front of p.
func asciiPrefix(p []byte) int {
	const high = 0x8080808080808080
	n := 0
	for ; n+8 <= len(p); n += 8 {
		if v := binary.LittleEndian.Uint64(p[n:]) & high; v != 0 {
			return n + bits.TrailingZeros64(v)/8
		}
	}
	for n < len(p) && p[n] < utf8.RuneSelf {
		n++
	}
	return n
}

// codePoint measures the first code point of p, which is not empty, in bytes
// and in UTF-16 code units.
func codePoint(p []byte) (size, units int, valid bool) {
	r, size := utf8.DecodeRune(p)
	switch {
	case r == utf8.RuneError && size == 1:
		return maximalPart(p), 1, false
	case r > 0xffff:
		return size, 2, true
	}
	return size, 1, true
}

// maximalPart is the length of the invalid sequence in front of p that decodes
// to one U+FFFD. The Unicode Standard, 3.9: a maximal subpart is the longest
// prefix of a well-formed sequence, or one byte.
func maximalPart(p []byte) int {
	low, high, length := byte(0x80), byte(0xbf), 0
	switch c := p[0]; {
	case c >= 0xe0 && c <= 0xef:
		length = 3
	case c >= 0xf0 && c <= 0xf4:
		length = 4
	default: // a two-byte sequence has no prefix longer than its first byte
		return 1
	}
	switch p[0] {
	case 0xe0: // overlong below
		low = 0xa0
	case 0xed: // surrogates above
		high = 0x9f
	case 0xf0: // overlong below
		low = 0x90
	case 0xf4: // no character above
		high = 0x8f
	}
	n := 1
	for n < min(length, len(p)) && p[n] >= low && p[n] <= high {
		n, low, high = n+1, 0x80, 0xbf
	}
	return n
}
