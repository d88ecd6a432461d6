package wsframe

import (
	"encoding/binary"
	"math/bits"
)

const (
	maxLiterals   = 286 // codes of literals and lengths, in a block's tables
	maxDistances  = 30
	lengthSymbols = 19 // the lengths of codes, and how often
	maxCodeBits   = 15
	maxLengthBits = 7 + 7                              // of the length of a code, with its repetitions
	maxSymbolBits = maxCodeBits + 5 + maxCodeBits + 13 // of a match
	tableBits     = 9                                  // codes that are longer are rare
	tableSize     = 1 << tableBits
)

// An entry says what a code stands for: how many bits it has, how many follow,
// and what they are added to. 0 is no code, or one longer than the table's.
const (
	codeLength = 15 // mask
	entryExtra = 4  // shift of the number of extra bits
	isLiteral  = 1 << 8
	isMatch    = 1 << 9
	isEnd      = 1 << 10
	entryBase  = 16 // shift
)

// codes is a set of prefix codes (RFC 1951, 3.2.2).
type codes struct {
	mask    uint64 // of as many bits as table is for
	table   [tableSize]uint32
	counts  [maxCodeBits + 1]uint16 // of the codes of each length
	sorted  [maxLiterals + 2]uint16 // symbols, by code
	entries []uint32                // of the symbols, without lengths
}

// build makes the codes of the lengths given, of which 0 is none. It returns false
// where these are too many or too few: one code alone may leave the other half
// open, and none at all is no fault until one is needed, as zlib has it.
func (c *codes) build(lengths []uint8, entries []uint32) bool {
	c.entries = entries
	c.counts = [maxCodeBits + 1]uint16{}
	for i := nextUsed(lengths, 0); i < len(lengths); i = nextUsed(lengths, i+1) {
		c.counts[lengths[i]&maxCodeBits]++
	}
	var next [maxCodeBits + 1]uint16 // places in sorted
	space, longest, total := 1, 0, uint16(0)
	for n := 1; n <= maxCodeBits; n++ {
		next[n] = total
		total += c.counts[n]
		space = 2*space - int(c.counts[n])
		if space < 0 {
			return false
		}
		if c.counts[n] > 0 {
			longest = n
		}
	}
	if space > 0 && total > 0 && !(total == 1 && longest == 1) {
		return false
	}
	for i := nextUsed(lengths, 0); i < len(lengths); i = nextUsed(lengths, i+1) {
		at := &next[lengths[i]&maxCodeBits]
		c.sorted[*at] = uint16(i) // #nosec G115 -- a symbol, fewer than 2^9
		*at++
	}
	// Codes come with their first bit lowest, so each table is twice the one
	// for codes of one bit less, and what is new.
	width := max(1, min(longest, tableBits))
	c.mask = 1<<width - 1
	c.table[0], c.table[1] = 0, 0
	code, symbols := 0, c.sorted[:total]
	for n := 1; n <= width; n++ {
		if n > 1 {
			copy(c.table[1<<(n-1):1<<n], c.table[:1<<(n-1)])
		}
		for range c.counts[n] {
			c.table[bits.Reverse16(uint16(code))>>(16-n)&(tableSize-1)] = entries[symbols[0]] | uint32(n)
			symbols = symbols[1:]
			code++
		}
		code *= 2
	}
	return true
}

// nextUsed returns the first symbol from i on that has a code, or len(lengths). Most
// have none.
func nextUsed(lengths []uint8, i int) int {
	for i < len(lengths) && lengths[i] == 0 {
		if i+8 <= len(lengths) && binary.LittleEndian.Uint64(lengths[i:]) == 0 {
			i += 7
		}
		i++
	}
	return i
}

// long returns the entry of a code that is not in the table, bit by bit, or 0.
func (c *codes) long(in uint64) uint32 {
	code, first, index := 0, 0, 0
	for n := 1; n <= maxCodeBits; n++ {
		code |= int(in & 1)
		in >>= 1
		count := int(c.counts[n])
		if code-first < count {
			return c.entries[c.sorted[index+code-first]] | uint32(n)
		}
		index += count
		first = 2 * (first + count)
		code *= 2
	}
	return 0
}

// The entries of symbols, without the lengths of their codes.
// The last two literals and distances exist in the fixed codes alone, and stand for nothing.
var (
	literalEntries  [maxLiterals + 2]uint32
	distanceEntries [maxDistances + 2]uint32
	lengthEntries   [lengthSymbols]uint32

	fixedLiterals, fixedDistances codes // RFC 1951, 3.2.6
)

func init() {
	for i := range 256 {
		literalEntries[i] = uint32(i)<<entryBase | isLiteral
	}
	literalEntries[256] = isEnd
	base := uint32(3)
	for i := range uint32(28) {
		extra := uint32(0)
		if i >= 8 {
			extra = i/4 - 1
		}
		literalEntries[257+i] = base<<entryBase | extra<<entryExtra | isMatch
		base += 1 << extra
	}
	literalEntries[285] = maxMatch<<entryBase | isMatch
	base = 1
	for i := range uint32(maxDistances) {
		extra := uint32(0)
		if i >= 4 {
			extra = i/2 - 1
		}
		distanceEntries[i] = base<<entryBase | extra<<entryExtra | isMatch
		base += 1 << extra
	}
	for i := range uint32(lengthSymbols) {
		lengthEntries[i] = i << entryBase
	}
	lengthEntries[16] |= 2 << entryExtra
	lengthEntries[17] |= 3 << entryExtra
	lengthEntries[18] |= 7 << entryExtra

	var sizes [maxLiterals + 2]uint8
	for i := range sizes {
		switch {
		case i < 144, i >= 280:
			sizes[i] = 8
		case i < 256:
			sizes[i] = 9
		default:
			sizes[i] = 7
		}
	}
	var distances [maxDistances + 2]uint8
	for i := range distances {
		distances[i] = 5
	}
	if !fixedLiterals.build(sizes[:], literalEntries[:]) || !fixedDistances.build(distances[:], distanceEntries[:]) {
		panic("the fixed codes are complete")
	}
}
