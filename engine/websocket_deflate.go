package engine

import (
	"turbine/engine/packet"
	"turbine/pool"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// defaultThreshold is the size in bytes from which on compression is worth its
// while.
const defaultThreshold = 1024

// PerMessageDeflate switches compression of WebSocket messages on (RFC 7692).
// The zero value is a good choice: each message is compressed by itself, with
// one compressor a loop, about 0.8 MB each, another one while a message above 64 KB
// is compressed, and 1 MB for each smaller size of window (of seven) that clients have
// asked for.
type PerMessageDeflate struct {
	// Threshold is the size in bytes from which on messages are compressed.
	// Zero means 1,024; 1 compresses all.
	Threshold int
	// ContextTakeover lets messages refer to those before them, which halves
	// small JSON once more, and costs about 0.8 MB for each connection.
	ContextTakeover bool
	// ClientContextTakeover allows clients the same, and costs 32 KB for each
	// connection.
	ClientContextTakeover bool
}

func (d *PerMessageDeflate) wire() *wsframe.Deflate {
	return &wsframe.Deflate{ContextTakeover: d.ContextTakeover, ClientContextTakeover: d.ClientContextTakeover}
}

// compresses reports whether o is to be compressed on a connection that takes
// it.
func (s *Session) compresses(o *outgoing) bool {
	return !o.plain && o.size()-packetSize >= s.server.deflateThreshold
}

// takeover is the compression context of the session's connection, nil
// without.
func (s *Session) takeover() *wsframe.Takeover {
	if s.extra == nil {
		return nil
	}
	return s.extra.takeover
}

// compress sets the link up with what the handshake has negotiated.
func (t *websocket) compress(p wsframe.DeflateParams) {
	t.deflate = p
	if p.ServerTakeover || p.ClientTakeover {
		t.session.rare().takeover = wsframe.NewTakeover(p)
	}
}

// sharesDeflated reports whether o is compressed for all that get it.
func (t *websocket) sharesDeflated(o *outgoing) bool {
	return o.prepared != nil && !t.deflate.ServerTakeover && !(o.binary && t.session.base64) && t.deflate.Fits(1+len(o.prepared.data))
}

// sendDeflated writes o as one compressed frame, or begins with that.
func (t *websocket) sendDeflated(o *outgoing) {
	s := t.session
	if t.isLarge(o) && t.pack(o) {
		return
	}
	if t.sharesDeflated(o) {
		t.conn.WriteBuf(o.prepared.deflated(s.revision, &s.server.shard(s.loop).compressor))
		return
	}
	shard := s.server.shard(s.loop)
	plain, binary := s.frameContent(o)
	scratch := shard.scratch[:0]
	if t.deflate.ServerTakeover {
		scratch = s.takeover().Compress(scratch, plain.Bytes())
	} else {
		scratch = shard.compressor.CompressFor(t.deflate, scratch, plain.Bytes())
	}
	plain.Release()
	t.writeCompressed(scratch, binary)
	if shard.scratch = scratch[:0]; cap(scratch) > maxScratch {
		shard.scratch = nil
	}
}

// writeCompressed borrows what a message has become, and writes a copy as a frame: it
// may wait for the client, and counts with its length.
func (t *websocket) writeCompressed(payload []byte, binary bool) {
	packed := pool.Frames.Get(len(payload))
	packed.Append(payload)
	wsframe.PutCompressedHeader(packed, opcode(binary))
	t.conn.WriteBuf(packed)
	packed.Release()
}

// frameContent is the payload of o's frame, and whether it is binary. The caller
// releases it. Where nobody else has o's data, that becomes the payload.
func (s *Session) frameContent(o *outgoing) (content *pool.Buf, binary bool) {
	if o.data != nil && o.data.Alone() && !(o.binary && s.base64) {
		if prefix, ok := s.revision.FramePrefix(packet.Packet{Type: o.kind, Binary: o.binary}); ok {
			o.data.Prepend(1)[0] = prefix
		}
		o.data.Retain()
		return o.data, o.binary
	}
	content = pool.Frames.Get(s.cost(o))
	message, binary := s.revision.AppendFrame(content.Tail(), o.packet(), s.base64)
	content.SetTail(message)
	return content, binary
}

// deflated is the whole compressed frame, made once for all receivers, with
// the compressor of whoever needs it first.
func (p *Prepared) deflated(r Revision, c *wsframe.Compressor) *pool.Buf {
	p.packing.Lock()
	defer p.packing.Unlock()
	f := p.form(r)
	if f.whole == nil {
		message := p.message(r)
		b := pool.New(len(message))
		b.SetTail(c.Compress(b.Tail(), message))
		wsframe.PutCompressedHeader(b, opcode(p.binary))
		f.finish(b)
	}
	return f.whole
}

// isDeflated reports whether deflated has nothing to do.
func (p *Prepared) isDeflated(r Revision) bool {
	p.packing.Lock()
	defer p.packing.Unlock()
	f := *p.packedAt(r)
	return f != nil && f.whole != nil
}

// pack does a step of what deflated does, and reports whether that has nothing to do
// any more. All loops whose sessions wait for the message work on it together.
func (p *Prepared) pack(r Revision) (whole bool) {
	p.packing.Lock()
	defer p.packing.Unlock()
	f := p.form(r)
	if f.whole != nil {
		return true
	}
	if f.begun == nil {
		f.begun = new(wsframe.Packing)
		f.begun.Begin(wsframe.DeflateParams{Accepted: true}, nil, p.message(r))
	}
	out, done := f.begun.Step(f.out)
	if f.out = out; !done {
		return false
	}
	b := pool.New(len(out))
	b.Append(out)
	wsframe.PutCompressedHeader(b, opcode(p.binary))
	f.finish(b)
	return true
}

// deflatedForm is one of the compressed forms of a Prepared, guarded by its packing.
type deflatedForm struct {
	whole *pool.Buf        // the frame; nil until it is made
	begun *wsframe.Packing // nil when no loop has begun to make it in portions
	out   []byte           // what that has made
}

func (f *deflatedForm) finish(whole *pool.Buf) {
	if f.begun != nil {
		f.begun.End()
	}
	*f = deflatedForm{whole: whole}
}

// form is that of a revision.
func (p *Prepared) form(r Revision) *deflatedForm {
	at := p.packedAt(r)
	if *at == nil {
		*at = new(deflatedForm)
	}
	return *at
}

func (p *Prepared) packedAt(r Revision) **deflatedForm {
	if r == Revision3 && p.binary {
		return &p.packed3
	}
	return &p.packed4
}

// message is the payload of p's frame.
func (p *Prepared) message(r Revision) []byte {
	message, _ := r.AppendFrame(nil, packet.Packet{Type: packet.Message, Binary: p.binary, Data: p.data}, false)
	return message
}

// beginInflate has d begin with m, bounded while it grows. takeover is nil without
// context takeover.
func beginInflate(m wsframe.Message, d *wsframe.Decompressor, takeover *wsframe.Takeover, limit int) {
	if takeover != nil {
		takeover.Begin(d, m.Payload, limit)
	} else {
		d.Begin(m.Payload, limit)
	}
}

// inflated is m with what its payload has become, or err.
func inflated(m wsframe.Message, payload []byte, err error) (wsframe.Message, error) {
	if err == nil && m.OpCode == ws.OpText {
		err = wsframe.CheckText(payload)
	}
	m.Payload, m.Compressed = payload, false
	return m, err
}

// inflate is all of it at once. The result is borrowed from d.
func inflate(m wsframe.Message, d *wsframe.Decompressor, takeover *wsframe.Takeover, limit int) (wsframe.Message, error) {
	beginInflate(m, d, takeover, limit)
	for {
		if payload, done, err := d.Step(); done || err != nil {
			return inflated(m, payload, err)
		}
	}
}
