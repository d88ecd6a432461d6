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
// one compressor a loop, about 0.8 MB each, and 1 MB for each smaller size of
// window (of seven) that clients have asked for.
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

// sendDeflated writes o as one compressed frame.
func (t *websocket) sendDeflated(o *outgoing) {
	s := t.session
	if o.prepared != nil && !t.deflate.ServerTakeover && !(o.binary && s.base64) && t.deflate.Fits(1+len(o.prepared.data)) {
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
	packed := pool.Frames.Get(len(scratch)) // it may wait for the client, and counts with its length
	packed.Append(scratch)
	if shard.scratch = scratch[:0]; cap(scratch) > maxScratch {
		shard.scratch = nil
	}
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
	at := &p.packed4
	if r == Revision3 && p.binary {
		at = &p.packed3
	}
	if *at == nil {
		message, _ := r.AppendFrame(nil, packet.Packet{Type: packet.Message, Binary: p.binary, Data: p.data}, false)
		b := pool.New(len(message))
		b.SetTail(c.Compress(b.Tail(), message))
		wsframe.PutCompressedHeader(b, opcode(p.binary))
		*at = b
	}
	return *at
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
