package wsframe

import "turbine/internal/invariants"

// packStep is how many bytes of a message are given to the compressor at a time. It
// looks for matches in 64 KB at once, which is about 0.3 ms, and 32 KB where the
// window is smaller.
const packStep = 16 << 10

// A Packing compresses one message in steps, for a caller that has other work
// meanwhile. The zero value is ready. While a message is under way it holds a
// compressor, which comes from those that connections have left.
type Packing struct {
	deflater *deflater
	bits     int    // of the window of a deflater that goes back; 0 for one of a Takeover
	rest     []byte // of the message
}

// Begin begins with p, a message of at least one byte for a client of whose parameters
// to is the outcome. p is borrowed until Step has returned true, or End was called.
// takeover is nil where to has no ServerTakeover; else no other message may be
// compressed with it meanwhile, and what was begun must be sent.
func (k *Packing) Begin(to DeflateParams, takeover *Takeover, p []byte) {
	invariants.Check(k.deflater == nil && len(p) > 0, "a message was begun, or there is none")
	k.rest = p
	if to.ServerTakeover {
		k.deflater, k.bits = takeover.compressor(), 0
		return
	}
	k.bits = maxBits
	if !to.Fits(len(p)) {
		k.bits = to.bits()
	}
	k.deflater = getDeflater(k.bits)
}

// Step appends the next piece of the compressed message to dst, and reports whether it
// was the last one. The result of all steps is that of Compressor.CompressFor, or of
// Takeover.Compress.
func (k *Packing) Step(dst []byte) (_ []byte, done bool) {
	f := k.deflater
	if n := min(len(k.rest), packStep); n > 0 {
		dst = f.write(dst, k.rest[:n])
		k.rest = k.rest[n:]
		return dst, false
	}
	dst = f.flush(dst)
	k.End()
	return dst, true
}

// End gives up what was begun, if anything was.
func (k *Packing) End() {
	if k.bits != 0 {
		deflaters[k.bits-minBits].Put(k.deflater)
	}
	*k = Packing{}
}
