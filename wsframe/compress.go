package wsframe

import (
	"turbine/internal/invariants"

	"github.com/klauspost/compress/flate"
)

// syncMarker ends what a sync flush writes: the lengths of an empty stored
// block. The sender takes it off, the receiver puts it back (RFC 7692, 7.2.1
// and 7.2.2).
const syncMarker = "\x00\x00\xff\xff"

// A Compressor deflates messages for the connections of one loop that have no
// context takeover: nothing of one message is left for the next, which may
// belong to somebody else. The zero value is ready; from the first message on
// it holds about 0.8 MB, and 1 MB more for each size of window below 15 bits
// that a large message was compressed for.
type Compressor struct {
	deflater *deflater
	narrow   [maxBits - minBits]*deflater // by the bits of their window, less minBits
}

// Compress appends the payload of a compressed message (RFC 7692, 7.2.1). It
// borrows p. What does not compress grows by 5 bytes and 5 more for every 64 KB;
// the caller may send it uncompressed instead, without RSV1.
func (c *Compressor) Compress(dst, p []byte) []byte {
	return compressWith(&c.deflater, maxBits, dst, p)
}

// CompressFor is Compress for a client that may have asked for a smaller window
// (RFC 7692, 7.1.2.1): no reference goes further back than that.
func (c *Compressor) CompressFor(to DeflateParams, dst, p []byte) []byte {
	if to.Fits(len(p)) {
		return c.Compress(dst, p)
	}
	return compressWith(&c.narrow[to.bits()-minBits], to.bits(), dst, p)
}

// compressWith makes the deflater of that many bits when it is first needed.
func compressWith(at **deflater, bits int, dst, p []byte) []byte {
	if *at == nil {
		*at = newDeflater(bits)
	}
	(*at).reset()
	return (*at).append(dst, p)
}

// deflater is a flate.Writer that appends to a slice.
type deflater struct {
	writer *flate.Writer
	dst    []byte // while append runs
}

// newDeflater makes one with a window of that many bits, minBits to maxBits.
func newDeflater(bits int) *deflater {
	f := new(deflater)
	var err error
	if bits == maxBits {
		f.writer, err = flate.NewWriter(f, flate.BestSpeed)
	} else {
		f.writer, err = flate.NewWriterWindow(f, 1<<bits)
	}
	invariants.Check(err == nil, "level or window refused: %v", err)
	return f
}

// reset forgets all messages before.
func (f *deflater) reset() { f.writer.Reset(f) }

// append appends one message.
func (f *deflater) append(dst, p []byte) []byte {
	if len(p) == 0 {
		return append(dst, 0) // RFC 7692, 7.2.3.6: an empty stored block, less its lengths
	}
	return f.flush(f.write(dst, p))
}

// write appends what compressing p yields so far.
func (f *deflater) write(dst, p []byte) []byte {
	f.dst = dst
	_, _ = f.writer.Write(p) // fails only when Write of f does, which never does
	dst, f.dst = f.dst, nil
	return dst
}

// flush appends the rest of a message, without the marker.
func (f *deflater) flush(dst []byte) []byte {
	f.dst = dst
	_ = f.writer.Flush()
	dst, f.dst = f.dst, nil
	end := len(dst) - len(syncMarker)
	invariants.Check(end > 0 && string(dst[end:]) == syncMarker, "no sync marker behind a message")
	return dst[:end]
}

// Write is for the flate.Writer.
func (f *deflater) Write(p []byte) (int, error) {
	f.dst = append(f.dst, p...)
	return len(p), nil
}
