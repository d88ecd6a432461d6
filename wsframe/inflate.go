package wsframe

import (
	"encoding/binary"

	"turbine/internal/invariants"
	"turbine/pool"
)

// Readers of deflate streams that work for a pipe keep 32 KB of history in addition to
// what they return, clear it for each message, and tell nobody how many tables
// they make. A message lies whole in one slice and becomes one slice, which is
// the history. So a small one costs what its bytes cost.

const (
	// messageEnd goes behind a message: the marker that the sender took off,
	// and an empty final block, which says that the message is at its end rather
	// than that bytes are missing.
	messageEnd = syncMarker + "\x01\x00\x00\xff\xff"

	// A block costs time of its own, above all one with tables, and need not
	// yield anything. So blocks are paid for with bytes of the message that they
	// belong to: a debt of blockCredit and blockYield for each byte is allowed.
	// Senders that flush every byte make two blocks for it, without tables; the
	// least that any makes tables for are about 12 bytes, and all but those that
	// use Huffman codes alone do it for more than 100.
	blockCredit = 1 << 10
	blockYield  = 2  // for each byte of the inflated message
	tableDebt   = 16 // of a block with tables; any other has 1

	maxMatch = 258                   // bytes, that one symbol stands for
	firstOut = 4<<10 - pool.Headroom // bytes, as twice as much each time, fit a class of the pool

	// A step of inflating is about as much work as so many bytes, each a symbol
	// of its own, make: 10 to 35 us. A block costs as much as other bytes do.
	stepWork  = 8 << 10
	tableWork = 128 // of a block with tables
	blockWork = 16  // of any other
)

// inflater inflates one message at a time, in steps.
type inflater struct {
	bitReader
	buffer  *pool.Buf // has the room of out; nil when there is none
	out     []byte
	limit   int    // of out
	history []byte // what came before out, of a client that keeps its context
	debt    int    // of the blocks so far
	stop    int    // length of out at which the step is over
	final   bool   // the block at hand is the last
	inBlock bool   // the step before was over within a block, which has codes
	fixed   bool   // these are the fixed ones

	literals, distances, lengths codes
	sizes                        [maxLiterals + maxDistances]uint8 // of codes, while they are read
}

// message inflates p behind history into out.
func (f *inflater) message(p, history []byte) error {
	f.begin(p, history)
	for {
		if done, err := f.step(); done || err != nil {
			return err
		}
	}
}

// begin borrows p and history until the message is done.
func (f *inflater) begin(p, history []byte) {
	f.start(p)
	f.history, f.debt, f.final, f.inBlock = history, 0, false, false
}

// step inflates the next piece, and reports whether it was the last.
func (f *inflater) step() (done bool, err error) {
	for f.stop = len(f.out) + stepWork; len(f.out) < f.stop; {
		if f.inBlock {
			err = f.codes()
		} else {
			err = f.block()
		}
		if err != nil {
			return false, err
		}
		if f.inBlock || !f.final {
			continue
		}
		// RFC 7692, 7.2.3.4: a sender may end the stream itself. It continues
		// behind the final block, at a byte, with the same window.
		f.align()
		if f.at >= len(f.in) {
			return true, nil
		}
	}
	return false, nil
}

// block inflates one block (RFC 1951, 3.2.3), or its beginning.
func (f *inflater) block() error {
	head, ok := f.take(3)
	if !ok {
		return errDeflate
	}
	f.final = head&1 == 1
	kind := head >> 1
	f.debt++
	f.stop -= blockWork
	if kind == 2 {
		f.debt += tableDebt - 1
		f.stop -= tableWork - blockWork
	}
	if f.debt > blockCredit+blockYield*len(f.out) {
		return ErrManyBlocks
	}
	switch kind {
	case 0:
		return f.stored()
	case 1:
		f.fixed = true
	case 2:
		f.fixed = false
		if err := f.tables(); err != nil {
			return err
		}
	default:
		return errDeflate
	}
	return f.codes()
}

// codes inflates what follows the head of a block with codes, or the rest of it.
func (f *inflater) codes() error {
	if f.fixed {
		return f.symbols(&fixedLiterals, &fixedDistances)
	}
	return f.symbols(&f.literals, &f.distances)
}

// stored copies a block that is not compressed (RFC 1951, 3.2.4).
func (f *inflater) stored() error {
	f.align()
	head, ok := f.take(32)
	if !ok || head&0xffff != ^head>>16&0xffff {
		return errDeflate
	}
	f.align() // a byte of the next may have been loaded
	n := int(head & 0xffff)
	if err := f.grow(n); err != nil {
		return err
	}
	if f.at < len(f.in) {
		p := f.in[f.at:min(len(f.in), f.at+n)]
		f.out = append(f.out, p...)
		f.at += len(p)
		n -= len(p)
	}
	for ; n > 0; n-- { // the marker is data where the sender says so
		c, ok := f.take(8)
		if !ok {
			return errDeflate
		}
		f.out = append(f.out, byte(c)) // #nosec G115 -- a literal, below 256
	}
	return nil
}

// symbols inflates what follows the head of a block with codes (RFC 1951,
// 3.2.5), until the block or the step is over. It looks for the latter where it
// loads bits, which bring 7 KB at most.
func (f *inflater) symbols(literals, distances *codes) error {
	in, at, bits, n, out, stop := f.in, f.at, f.bits, f.n, f.out, f.stop
	f.inBlock = true
	for {
		if n < maxSymbolBits {
			if len(out) >= stop {
				f.at, f.bits, f.n, f.out = at, bits, n, out
				return nil
			}
			if at+word <= len(in) {
				bits |= binary.LittleEndian.Uint64(in[at:]) << (n & 63)
				at += (63 - n) >> 3
				n |= 56
			} else {
				f.at, f.bits, f.n = at, bits, n
				f.load()
				at, bits, n = f.at, f.bits, f.n
			}
		}
		e := literals.table[bits&literals.mask&(tableSize-1)]
		if e == 0 {
			e = literals.long(bits)
		}
		bits >>= e & codeLength
		n -= int(e & codeLength)
		if e&isLiteral != 0 && n >= 0 {
			if len(out) == cap(out) {
				f.out = out
				if err := f.grow(1); err != nil {
					return err
				}
				out = f.out
			}
			out = append(out, byte(e>>entryBase)) // #nosec G115 -- a literal, below 256
			continue
		}
		if e&isEnd != 0 && n >= 0 {
			f.at, f.bits, f.n, f.out = at, bits, n, out
			f.inBlock = false
			return nil
		}
		if e&isMatch == 0 {
			return errDeflate
		}
		extra := e >> entryExtra & 15
		length := int(e>>entryBase) + int(bits&(1<<extra-1)) // #nosec G115 -- 5 bits at most
		bits >>= extra
		n -= int(extra)

		e = distances.table[bits&distances.mask&(tableSize-1)]
		if e == 0 {
			e = distances.long(bits)
		}
		bits >>= e & codeLength
		extra = e >> entryExtra & 15
		distance := int(e>>entryBase) + int(bits&(1<<extra-1)) // #nosec G115 -- 13 bits at most
		bits >>= extra
		n -= int(e&codeLength + extra)
		start := len(out) - distance
		if e&isMatch == 0 || n < 0 || start < -len(f.history) {
			return errDeflate
		}
		if len(out)+length > cap(out) {
			f.out = out
			if err := f.grow(length); err != nil {
				return err
			}
			out = f.out
		}
		if start < 0 {
			p := f.history[len(f.history)+start:]
			p = p[:min(len(p), length)]
			out = append(out, p...)
			length -= len(p)
			start = 0
		}
		// A match may overlap with itself: what it has copied so far is where
		// it continues.
		for end := len(out) + length; len(out) < end; {
			p := out[start:]
			out = append(out, p[:min(len(p), end-len(out))]...)
		}
	}
}

// grow makes room for n bytes more. It is where the limit is kept, before
// anything is allocated.
func (f *inflater) grow(n int) error {
	n += len(f.out)
	if n > f.limit {
		return ErrTooBig
	}
	if n <= cap(f.out) {
		return nil
	}
	grown := pool.Spills.Get(min(max(n, 2*cap(f.out), firstOut), f.limit))
	room := grown.Bytes()
	out := append(room[:0:min(cap(room), f.limit)], f.out...)
	f.drop()
	f.buffer, f.out = grown, out
	return nil
}

// drop gives back the buffer of out.
func (f *inflater) drop() {
	if f.buffer != nil {
		f.buffer.Release()
	}
	f.buffer, f.out = nil, nil
}

// tables reads the codes of a block (RFC 1951, 3.2.7).
func (f *inflater) tables() error {
	head, ok := f.take(14)
	literals, distances, lengths := 257+int(head&31), 1+int(head>>5&31), 4+int(head>>10)
	if !ok || literals > maxLiterals || distances > maxDistances {
		return errDeflate
	}
	order := [lengthSymbols]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	var sizes [lengthSymbols]uint8
	for _, symbol := range order[:lengths] {
		size, ok := f.take(3)
		if !ok {
			return errDeflate
		}
		sizes[symbol] = uint8(size) // #nosec G115 -- a length of a code, 15 at most
	}
	if !f.lengths.build(sizes[:], lengthEntries[:]) {
		return errDeflate
	}
	clear(f.sizes[:])
	all := f.sizes[:literals+distances]
	for i := 0; i < len(all); {
		if f.n < maxLengthBits {
			f.load()
		}
		e := f.lengths.table[f.bits&f.lengths.mask&(tableSize-1)]
		f.bits >>= e & codeLength
		f.n -= int(e & codeLength)
		extra := e >> entryExtra & 15
		times := int(f.bits & (1<<extra - 1)) // #nosec G115 -- 7 bits at most
		f.bits >>= extra
		f.n -= int(extra)
		if e == 0 || f.n < 0 {
			return errDeflate
		}
		size := uint8(e >> entryBase) // #nosec G115 -- a length of a code, 15 at most
		switch size {
		case 16:
			if i == 0 {
				return errDeflate
			}
			size, times = all[i-1], times+3
		case 17:
			size, times = 0, times+3
		case 18:
			size, times = 0, times+11
		default:
			all[i] = size
			i++
			continue
		}
		if i+times > len(all) {
			return errDeflate
		}
		if size != 0 { // all are zero before
			run := all[i : i+times]
			for j := range run {
				run[j] = size
			}
		}
		i += times
	}
	// A block without a code for its end has none.
	if all[256] == 0 || !f.literals.build(all[:literals], literalEntries[:]) || !f.distances.build(all[literals:], distanceEntries[:]) {
		return errDeflate
	}
	return nil
}

// bitReader takes bits from a message, and messageEnd behind it, the lowest of
// each byte first.
type bitReader struct {
	in   []byte
	end  [word + len(messageEnd) + word]byte // the last word of in, messageEnd, and zeros
	at   int                                 // of the byte that is loaded next, len(in) is messageEnd's first
	bits uint64                              // loaded; above n there may be those that come next
	n    int                                 // of bits
}

const word = 8 // bytes that are loaded at once

func (r *bitReader) start(p []byte) {
	r.in, r.at, r.bits, r.n = p, 0, 0, 0
	copy(r.end[max(0, word-len(p)):], p[max(0, len(p)-word):])
	copy(r.end[word:], messageEnd)
}

// load loads 56 bits at least, or all that there are.
func (r *bitReader) load() {
	if r.n < 0 {
		return // more were taken than there are
	}
	room := (63 - r.n) >> 3
	if r.at+word <= len(r.in) {
		r.bits |= binary.LittleEndian.Uint64(r.in[r.at:]) << (r.n & 63)
	} else {
		at := r.at - len(r.in) + word
		r.bits |= binary.LittleEndian.Uint64(r.end[at:]) << (r.n & 63)
		room = min(room, word+len(messageEnd)-at)
	}
	r.at += room
	r.n += 8 * room
}

// take returns the next n bits, at most 32, and not ok where there are fewer.
func (r *bitReader) take(n int) (bits uint32, ok bool) {
	if r.n < n {
		r.load()
		if r.n < n {
			return 0, false
		}
	}
	bits = uint32(r.bits & (1<<n - 1)) // #nosec G115 -- 16 bits at most
	r.bits >>= n
	r.n -= n
	return bits, true
}

// align drops the rest of a byte that was begun, and unloads the others.
func (r *bitReader) align() {
	invariants.Check(r.n >= 0, "more bits taken than there are")
	r.at -= r.n >> 3
	r.bits, r.n = 0, 0
}
