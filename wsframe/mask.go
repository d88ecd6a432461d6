package wsframe

import (
	"encoding/binary"
	"math/bits"
)

// Mask masks or unmasks p in place (RFC 6455, 5.3). pos is the distance in
// bytes of p[0] from the start of the payload, for payloads that come in parts;
// only its two low bits matter.
func Mask(p []byte, key [4]byte, pos int) {
	// Turning the key once makes every word start at the same place of it.
	// Little endian on any machine: the words are read the same way.
	word := bits.RotateLeft32(binary.LittleEndian.Uint32(key[:]), -8*(pos&3))
	wide := uint64(word)<<32 | uint64(word)

	// Four words a round share one bounds check; from 1 KB on this takes
	// about half the time of one word a round.
	for len(p) >= 32 {
		q := p[:32:32]
		binary.LittleEndian.PutUint64(q, binary.LittleEndian.Uint64(q)^wide)
		binary.LittleEndian.PutUint64(q[8:], binary.LittleEndian.Uint64(q[8:])^wide)
		binary.LittleEndian.PutUint64(q[16:], binary.LittleEndian.Uint64(q[16:])^wide)
		binary.LittleEndian.PutUint64(q[24:], binary.LittleEndian.Uint64(q[24:])^wide)
		p = p[32:]
	}
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= byte(wide)
		wide >>= 8
	}
}
