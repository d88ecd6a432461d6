package wsframe

import (
	"bufio"
	"io"

	"turbine/internal/invariants"

	"github.com/klauspost/compress/flate"
)

const (
	// RFC 7692, 7.1.2: the base-2 logarithms of a window's size in bytes.
	minBits = 8
	maxBits = 15

	// windowSize is how far back in bytes a deflate stream refers: RFC 1951, 3.2.5.
	windowSize = 1 << maxBits

	// messageEnd goes behind a message: the marker that the sender took off,
	// and an empty final block, which makes the inflater say that it is at the
	// end rather than that bytes are missing.
	messageEnd = syncMarker + "\x01\x00\x00\xff\xff"

	// maxStreams is the number of deflate streams in one message. Each costs
	// a reset of the inflater, up to 32 KB of copying for two bytes received;
	// senders that end a stream (RFC 7692, 7.2.3.4) do so once a message.
	maxStreams = 16

	// maxInflated is the capacity in bytes above which a Decompressor does not
	// keep its buffer.
	maxInflated = 64 << 10

	inputBuffer = 4 << 10 // bytes, between the message and the inflater's one at a time
)

// A Decompressor inflates messages for the connections of one loop. The zero
// value is ready; from the first message on it holds about 50 KB, and a buffer
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
// 1007 for data that cannot be inflated. An inflated text is not checked for
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
		d.inflater = newInflater()
	}
	f := d.inflater
	f.limit = limit
	if limit <= 0 {
		f.limit = DefaultMessage
	}
	err := f.message(p, w)
	f.rest, f.end = nil, "" // p is borrowed
	if err != nil {
		d.Done()
		return nil, err
	}
	return f.out, nil
}

// inflater is a flate reader between two slices. klauspost's has a fast path
// for a bufio.Reader.
type inflater struct {
	reader interface {
		io.WriterTo
		flate.Resetter
	}
	input *bufio.Reader
	rest  []byte // of the message, not yet in input
	end   string // of messageEnd, likewise
	out   []byte
	limit int
}

func newInflater() *inflater {
	f := new(inflater)
	f.input = bufio.NewReaderSize(f, inputBuffer)
	f.reader = flate.NewReader(f.input).(interface {
		io.WriterTo
		flate.Resetter
	})
	return f
}

// message inflates p behind w into out.
func (f *inflater) message(p []byte, w *window) error {
	f.rest, f.end = p, messageEnd
	f.input.Reset(f)
	for range maxStreams {
		start := len(f.out)
		dictionary := f.out[max(0, start-windowSize):]
		if w != nil {
			dictionary = w.bytes
		}
		// The error is of an interface that others implement; this one has none.
		_ = f.reader.Reset(f.input, dictionary)
		if _, err := f.reader.WriteTo(f); err == errTooBig {
			return errTooBig
		} else if err != nil {
			return errDeflate
		}
		if w != nil {
			w.slide(f.out[start:])
		}
		// RFC 7692, 7.2.3.4: a sender may end the stream itself. It goes on
		// behind the final block, at a byte, with the same window.
		if f.input.Buffered()+len(f.rest)+len(f.end) <= len(messageEnd) {
			return nil
		}
	}
	return errDeflate
}

// Read is for input.
func (f *inflater) Read(p []byte) (n int, err error) {
	n = copy(p, f.rest)
	f.rest = f.rest[n:]
	if n < len(p) {
		m := copy(p[n:], f.end)
		f.end = f.end[m:]
		n += m
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write is for reader, whose pieces have at most 32 KB. It is where the limit
// is kept, before anything is allocated.
func (f *inflater) Write(p []byte) (int, error) {
	n := len(f.out) + len(p)
	if n > f.limit {
		return 0, errTooBig
	}
	if n > cap(f.out) {
		grown := make([]byte, len(f.out), min(max(n, 2*cap(f.out)), f.limit))
		copy(grown, f.out)
		f.out = grown
	}
	f.out = append(f.out, p...)
	return len(p), nil
}
