package packet

import "encoding/base64"

const (
	stray   = 0xff // no base64 character
	padding = 0xfe
)

// sextets maps a character to its six bits, in the standard and in the
// URL-safe alphabet.
var sextets = func() (table [256]byte) {
	for i := range table {
		table[i] = stray
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	for i := range len(letters) {
		table[letters[i]] = byte(i)
	}
	table['+'], table['-'] = 62, 62
	table['/'], table['_'] = 63, 63
	table['='] = padding
	return table
}()

// decodeBase64 decodes p in place and returns the part of p that holds the
// result. It is as lenient as the decoder of the reference server, so it
// cannot fail: it takes both alphabets, skips stray characters, stops at the
// first padding and drops a last lone sextet. encoding/base64 knows neither
// the leniency nor overlapping slices.
func decodeBase64(p []byte) []byte {
	n, i := 0, 0
	for {
		for ; i+4 <= len(p); i, n = i+4, n+3 {
			a, b, c, d := sextets[p[i]], sextets[p[i+1]], sextets[p[i+2]], sextets[p[i+3]] // #nosec G602 -- the loop's condition
			if a|b|c|d > 63 {
				break
			}
			// n+2 < i+4: the output never overtakes the input.
			p[n], p[n+1], p[n+2] = a<<2|b>>4, b<<4|c>>2, c<<6|d // #nosec G602 -- see above
		}
		group, filled := uint32(0), 0
		for ; filled < 4 && i < len(p); i++ {
			s := sextets[p[i]]
			if s == padding {
				i = len(p)
				break
			}
			if s != stray {
				group, filled = group<<6|uint32(s), filled+1
			}
		}
		switch filled {
		case 4:
			p[n], p[n+1], p[n+2] = byte(group>>16), byte(group>>8), byte(group)
			n += 3
			continue
		case 3:
			p[n], p[n+1] = byte(group>>10), byte(group>>2)
			n += 2
		case 2:
			p[n] = byte(group >> 4)
			n++
		}
		return p[:n]
	}
}

// appendBase64 appends p in the standard alphabet, with padding.
func appendBase64(dst, p []byte) []byte { return base64.StdEncoding.AppendEncode(dst, p) }

// base64Len is the length of the base64 of n bytes.
func base64Len(n int) int { return base64.StdEncoding.EncodedLen(n) }
