//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strings"

	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/klauspost/compress/flate"
)

// Hostile clients of a server that inflates. The same without compression sends
// as many bytes in frames of the same sizes.

const (
	inflatePiece = 64 << 10 // bytes of a write: what a server reads at once
	bombSize     = 500_000  // bytes that a bomb is when inflated
	blockCount   = 1_000    // empty blocks of a message
)

// deflated is text as permessage-deflate has it (RFC 7692, 7.2.1).
func deflated(text string) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		panic(fmt.Sprint("it writes into memory: ", err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}

// The payloads of messages.
func smallPackets() []byte { return deflated("4abc") } // about 8 bytes
func bombs() []byte        { return deflated("4" + strings.Repeat("x", bombSize)) }

// emptyBlocks is a message of one letter behind blocks with nothing in them but
// the tables of their codes, for which a reader has to make tables of its own.
func emptyBlocks() []byte {
	var b bits
	for range blockCount {
		b.emptyBlock()
	}
	return append(b.bytes, deflated("4a")...)
}

// bits collects bits, the lowest of each byte first (RFC 1951, 3.1.1).
type bits struct {
	bytes []byte
	count int
}

func (b *bits) add(value, count int) {
	for i := range count {
		if b.count%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.count/8] |= byte(value>>i&1) << (b.count % 8)
		b.count++
	}
}

// emptyBlock adds a block of dynamic codes (RFC 1951, 3.2.7): a code of one bit
// for the end of the block, none for a literal or a distance. It has 92 bits.
func (b *bits) emptyBlock() {
	b.add(0, 1) // not the last
	b.add(2, 2) // dynamic
	b.add(0, 5) // 257 codes of literals and lengths
	b.add(0, 5) // 1 of distances
	// The lengths of the codes of lengths, in the order of the RFC: one bit for
	// 18, a run of zeros, two for 0 and for 1.
	b.add(14, 4) // 18 of them
	for _, symbol := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1} {
		b.add(map[int]int{18: 1, 0: 2, 1: 2}[symbol], 3)
	}
	b.add(0, 1)
	b.add(138-11, 7) // zeros
	b.add(0, 1)
	b.add(118-11, 7) // zeros
	b.add(0b11, 2)   // 1, of the end of the block
	b.add(0b01, 2)   // 0, of the distance: "10" with its first bit first
	b.add(0, 1)      // the end of the block
}

// inflating sends such messages at its pace, or as many bytes of text, and drops
// what comes back.
func inflating(compressed bool, payload func() []byte) hostile {
	return func(m *mob, n int) error {
		fields := "Sec-WebSocket-Extensions: permessage-deflate\r\n"
		content := payload()
		if !compressed {
			fields, content = "", append([]byte("4"), bytes.Repeat([]byte("x"), len(content)-1)...)
		}
		p, err := m.openWebSocket(n, fields)
		if err != nil {
			return err
		}
		defer p.shut()
		one := wsframe.AppendMaskedFrame(nil, ws.OpText, true, [4]byte{}, content)
		if compressed {
			one[0] |= 0x40 // RSV1: RFC 7692, 7.2.3.1
		}
		piece := string(bytes.Repeat(one, max(1, inflatePiece/len(one))))
		go discard(p)
		for wait := m.pace(); !m.over(); {
			if err := m.send(p, piece); err != nil {
				return err
			}
			wait(len(piece))
		}
		return nil
	}
}
