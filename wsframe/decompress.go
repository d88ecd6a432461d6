package wsframe

import "turbine/internal/invariants"

const (
	// RFC 7692, 7.1.2: the base-2 logarithms of a window's size in bytes.
	minBits = 8
	maxBits = 15

	// windowSize is how far back in bytes a deflate stream refers: RFC 1951, 3.2.5.
	windowSize = 1 << maxBits

	// maxInflated is the capacity in bytes above which Done does not keep the
	// buffer.
	maxInflated = 64 << 10
)

// A Decompressor inflates messages for the connections of one loop. The zero
// value is ready; from the first message on it holds about 10 KB, and the buffer
// of the last one, on loan from package pool, until Done.
type Decompressor struct {
	inflater *inflater
	window   *window // of the client that the message is from, if it keeps its context
}

// Decompress inflates the payload of a compressed message whose sender keeps
// no context (RFC 7692, 7.2.2). It borrows p. The result is borrowed from d and
// valid until the next call of Decompress, Begin or Done. limit is the most bytes
// that it may have, zero means DefaultMessage; a buffer for more than that, and a
// quarter, is never made, whatever p would become.
//
// The error is a *CloseError: 1009 as soon as the message exceeds the limit,
// 1007 for data that cannot be inflated, 1008 for data that costs more than it
// yields: blocks that hold little or nothing. An inflated text is not checked for
// UTF-8: see CheckText.
func (d *Decompressor) Decompress(p []byte, limit int) ([]byte, error) {
	d.Begin(p, limit)
	return d.finish()
}

// Begin is Decompress for a caller that has other work meanwhile: the message is
// inflated by Step. p is borrowed until Step has returned the message, or an error,
// or Done was called.
func (d *Decompressor) Begin(p []byte, limit int) { d.begin(p, limit, nil) }

// Moved says that the payload which Begin was given is in p from now on, which is
// borrowed instead.
func (d *Decompressor) Moved(p []byte) {
	invariants.Check(len(p) == len(d.inflater.in), "another payload than that which was begun")
	d.inflater.in = p
}

// Step does a piece of the work, of about 35 us at most where no buffer has to
// grow. Once the message is whole it
// returns it and true. The error is that of Decompress; then the message is over.
func (d *Decompressor) Step() (message []byte, done bool, err error) {
	f := d.inflater
	done, err = f.step()
	if !done && err == nil {
		return nil, false, nil
	}
	f.in, f.history = nil, nil // they are borrowed
	if err != nil {
		d.Done()
		return nil, false, err
	}
	if d.window != nil {
		d.window.slide(f.out)
		d.window = nil
	}
	return f.out, true, nil
}

// finish takes all steps.
func (d *Decompressor) finish() ([]byte, error) {
	for {
		if message, done, err := d.Step(); done || err != nil {
			return message, err
		}
	}
}

// Done gives up what was lent, a message that was begun, and a buffer of more than
// 64 KB. A caller with more messages at hand calls it behind the last of them: each
// takes the place of the one before.
func (d *Decompressor) Done() {
	f := d.inflater
	if f == nil {
		return
	}
	f.in, f.history, d.window = nil, nil, nil
	if f.out = f.out[:0]; invariants.Enabled || cap(f.out) > maxInflated {
		f.drop()
	}
}

// reuse has the next message written where the one before is, if limit allows it.
func (f *inflater) reuse(limit int) {
	f.limit = limit
	if invariants.Enabled {
		f.drop() // a late reader sees it
	}
	if f.buffer == nil {
		return
	}
	room := f.buffer.Bytes()
	f.out = room[:0:min(cap(room), limit)]
}

// CheckText returns the *CloseError for a text that is not UTF-8, code 1007,
// for messages that were inflated (RFC 6455, 8.1).
func CheckText(p []byte) error {
	if !ValidText(p) {
		return errText
	}
	return nil
}

// begin is Begin with the window of a client that keeps its context, or nil.
func (d *Decompressor) begin(p []byte, limit int, w *window) {
	if d.inflater == nil {
		d.inflater = new(inflater)
	}
	if limit <= 0 {
		limit = DefaultMessage
	}
	f := d.inflater
	f.reuse(limit)
	var history []byte
	if d.window = w; w != nil {
		history = w.bytes
	}
	f.begin(p, history)
}
