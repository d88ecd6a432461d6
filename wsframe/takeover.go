package wsframe

import (
	"sync"

	"turbine/internal/invariants"
)

// Takeover is the compression state of one connection that negotiated context
// takeover in at least one direction (RFC 7692, 7.1.1). Each direction gets its
// memory with its first compressed message: about 0.8 MB to compress (1 MB for a
// window below 15 bits), 32 KB to decompress.
type Takeover struct {
	params   DeflateParams
	deflater *deflater
	window   window
}

// deflaters recycles compressors, by the bits of their window less minBits: one
// is expensive to allocate, and a connection that ends, or a Packing, leaves it for the
// next.
var deflaters [maxBits - minBits + 1]sync.Pool

// NewTakeover returns the state for a connection with p. Whoever closes the
// connection calls Release.
func NewTakeover(p DeflateParams) *Takeover {
	invariants.Check(p.Accepted && (p.ServerTakeover || p.ClientTakeover), "Takeover without context takeover")
	return &Takeover{params: p}
}

// Compress is Compressor.Compress for a connection with ServerTakeover, and for
// no other. The result must be sent, in the order of the calls: the messages
// after it refer to it.
func (t *Takeover) Compress(dst, p []byte) []byte {
	return t.compressor().append(dst, p)
}

// compressor is the connection's, which gets it with its first message.
func (t *Takeover) compressor() *deflater {
	invariants.Check(t.params.ServerTakeover, "the client keeps no context of the server's messages")
	if t.deflater == nil {
		t.deflater = getDeflater(t.params.bits())
	}
	return t.deflater
}

// getDeflater returns one that knows of no message.
func getDeflater(bits int) *deflater {
	f, _ := deflaters[bits-minBits].Get().(*deflater)
	if f == nil {
		f = newDeflater(bits)
	}
	f.reset()
	return f
}

// Decompress is Decompressor.Decompress by the loop's d, for messages in the
// order they came. Without ClientTakeover it keeps nothing of them. After an
// error the connection cannot continue: its window is lost.
func (t *Takeover) Decompress(d *Decompressor, p []byte, limit int) ([]byte, error) {
	t.Begin(d, p, limit)
	return d.finish()
}

// Begin is Decompressor.Begin for such a connection, of whose messages no other may
// be begun until Step has returned this one.
func (t *Takeover) Begin(d *Decompressor, p []byte, limit int) {
	if t.params.ClientTakeover {
		d.begin(p, limit, &t.window)
	} else {
		d.begin(p, limit, nil)
	}
}

// Release gives back what t holds. It must not be used again, except for a second
// Release, which does nothing.
func (t *Takeover) Release() {
	if t.deflater != nil {
		deflaters[t.params.bits()-minBits].Put(t.deflater)
	}
	*t = Takeover{}
}

// window is the last 32 KB that a client sent, uncompressed.
type window struct {
	bytes []byte
}

// slide borrows p and makes it the newest part.
func (w *window) slide(p []byte) {
	if w.bytes == nil && len(p) > 0 {
		w.bytes = make([]byte, 0, windowSize)
	}
	p = p[max(0, len(p)-windowSize):]
	if over := len(w.bytes) + len(p) - windowSize; over > 0 {
		w.bytes = w.bytes[:copy(w.bytes, w.bytes[over:])]
	}
	w.bytes = append(w.bytes, p...)
}
