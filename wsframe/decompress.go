package wsframe

import "turbine/internal/invariants"

const (
	// RFC 7692, 7.1.2: the base-2 logarithms of a window's size in bytes.
	minBits = 8
	maxBits = 15

	// windowSize is how far back in bytes a deflate stream refers: RFC 1951, 3.2.5.
	windowSize = 1 << maxBits

	// maxInflated is the capacity in bytes above which a Decompressor does not
	// keep its buffer.
	maxInflated = 64 << 10
)

// A Decompressor inflates messages for the connections of one loop. The zero
// value is ready; from the first message on it holds about 10 KB, and a buffer
// of at most 64 KB between two messages.
type Decompressor struct {
	inflater *inflater
}

// Decompress inflates the payload of a compressed message whose sender keeps
// no context (RFC 7692, 7.2.2). It borrows p. The result is borrowed from d and
// valid until the next call of Decompress or Done. limit is the most bytes that
// it may have, zero means DefaultMessage; no more than that is ever allocated,
// whatever p would become.
//
// The error is a *CloseError: 1009 as soon as the message exceeds the limit,
// 1007 for data that cannot be inflated, 1008 for data that costs more than it
// yields: blocks that hold little or nothing. An inflated text is not checked for
// UTF-8: see CheckText.
func (d *Decompressor) Decompress(p []byte, limit int) ([]byte, error) {
	return d.inflate(p, limit, nil)
}

// Done gives up what Decompress lent. Calling it is optional: the next
// Decompress does the same, but until then a large buffer would be kept.
func (d *Decompressor) Done() {
	f := d.inflater
	if f == nil {
		return
	}
	if invariants.Enabled {
		for i := range f.out[:cap(f.out)] {
			f.out[:cap(f.out)][i] = 0xdb // a late reader sees it
		}
	}
	if cap(f.out) > maxInflated || invariants.Enabled {
		f.out = nil
	}
	f.out = f.out[:0]
}

// CheckText returns the *CloseError for a text that is not UTF-8, code 1007,
// for messages that were inflated (RFC 6455, 8.1).
func CheckText(p []byte) error {
	if !ValidText(p) {
		return errText
	}
	return nil
}

// inflate is Decompress with the window of a client that keeps its context, or
// nil.
func (d *Decompressor) inflate(p []byte, limit int, w *window) ([]byte, error) {
	d.Done()
	if d.inflater == nil {
		d.inflater = new(inflater)
	}
	f := d.inflater
	f.limit = limit
	if limit <= 0 {
		f.limit = DefaultMessage
	}
	var history []byte
	if w != nil {
		history = w.bytes
	}
	err := f.message(p, history)
	f.in, f.history = nil, nil // they are borrowed
	if err != nil {
		d.Done()
		return nil, err
	}
	if w != nil {
		w.slide(f.out)
	}
	return f.out, nil
}
