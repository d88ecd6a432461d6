package wsframe

import (
	"encoding/binary"
	"unicode/utf8"
)

// ValidText is utf8.Valid, faster for what most texts are: all or nearly all
// ASCII, 32 bytes of which take one branch here.
func ValidText(p []byte) bool {
	const high = 0x8080808080808080
	for len(p) >= 32 {
		q := p[:32:32]
		if (binary.LittleEndian.Uint64(q)|binary.LittleEndian.Uint64(q[8:])|
			binary.LittleEndian.Uint64(q[16:])|binary.LittleEndian.Uint64(q[24:]))&high != 0 {
			break
		}
		p = p[32:]
	}
	return utf8.Valid(p)
}

// completeRunes returns how many bytes at the front of p are whole, valid
// code points; at most 3 bytes are left, the beginning of one that is cut off.
// ok is false as soon as p cannot become valid UTF-8, whatever follows:
// RFC 6455, 8.1, and early, so that a peer learns of it before it has sent the
// rest of a long message.
func completeRunes(p []byte) (n int, ok bool) {
	n = len(p)
	for i := n - 1; i >= max(0, n-(utf8.UTFMax-1)); i-- {
		if !utf8.RuneStart(p[i]) {
			continue
		}
		// FullRune takes a beginning that nothing can complete, such as
		// ED A0 or F4 90, for full; Valid then refuses it.
		if !utf8.FullRune(p[i:]) {
			n = i
		}
		break
	}
	return n, ValidText(p[:n])
}
