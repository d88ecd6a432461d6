package engine

import (
	"encoding/binary"
	"slices"

	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"
)

type poolBuf = pool.Buf

// The frames of a memLink: kind u8 | flags u8 | stream u32 | length u32 | body.
const (
	memArrive byte = iota + 1
	memBody
	memCancel
	memLost
	memAnswer
	memAbort
	memRelease
	memNoted
)

const (
	memMore  byte = 1 << iota // more pieces follow; of a loss, that it was for the budget
	memWhole                  // the body comes with the head
)

const memHead = 10

func memFrame(kind, flags byte, s Stream, body []byte) []byte {
	p := append(make([]byte, 0, memHead+len(body)), kind, flags)
	p = binary.LittleEndian.AppendUint32(p, uint32(s))
	p = binary.LittleEndian.AppendUint32(p, uint32(len(body)))
	return append(p, body...)
}

type memReceived struct {
	kind, flags byte
	stream      Stream
	body        []byte
}

// A memWay is one direction of a link: bytes on the way, bytes that have arrived, and
// pieces that wait for their turn, so that small frames pass large bodies.
type memWay struct {
	sent, got []byte
	waiting   []*memPieces
}

type memPieces struct {
	stream Stream
	frames [][]byte
}

func (w *memWay) busy() bool { return len(w.sent)+len(w.got)+len(w.waiting) > 0 }

func (w *memWay) write(frame []byte) { w.sent = append(w.sent, frame...) }

func (m *MemNodes) piece() int {
	if m.random.IntN(8) == 0 {
		return m.random.IntN(4)
	}
	return m.random.IntN(memPiece)
}

// pieces cuts p, which is borrowed, into frames.
func (w *memWay) pieces(m *MemNodes, kind byte, s Stream, p []byte) {
	all := &memPieces{stream: s}
	for {
		n, flags := min(len(p), 1+m.piece()), memMore
		if n == len(p) {
			flags = 0
		}
		all.frames = append(all.frames, memFrame(kind, flags, s, p[:n]))
		if p = p[n:]; flags == 0 {
			break
		}
	}
	w.waiting = append(w.waiting, all)
}

// behind writes a frame behind the pieces of its stream.
func (w *memWay) behind(s Stream, frame []byte) {
	for _, p := range w.waiting {
		if p.stream == s {
			p.frames = append(p.frames, frame)
			return
		}
	}
	w.write(frame)
}

// drop forgets the pieces of a stream.
func (w *memWay) drop(s Stream) {
	w.waiting = slices.DeleteFunc(w.waiting, func(p *memPieces) bool { return p.stream == s })
}

// arrive moves what the schedule lets through, and reports whether that was anything.
func (w *memWay) arrive(m *MemNodes) bool {
	for _, p := range w.waiting { // one piece a stream and turn
		w.write(p.frames[0])
		p.frames = p.frames[1:]
	}
	w.waiting = slices.DeleteFunc(w.waiting, func(p *memPieces) bool { return len(p.frames) == 0 })
	n := len(w.sent)
	if !m.calm && n > 0 && m.random.IntN(2) == 0 {
		n = m.random.IntN(n)
	}
	w.got = append(w.got, w.sent[:n]...)
	w.sent = w.sent[:copy(w.sent, w.sent[n:])]
	return n > 0
}

// read gives f the frames that have arrived whole.
func (w *memWay) read(f func(memReceived)) {
	for len(w.got) >= memHead {
		n := memHead + int(binary.LittleEndian.Uint32(w.got[6:]))
		if len(w.got) < n {
			return
		}
		frame := slices.Clone(w.got[:n])
		w.got = w.got[:copy(w.got, w.got[n:])]
		f(memReceived{frame[0], frame[1], Stream(binary.LittleEndian.Uint32(frame[2:])), frame[memHead:]})
	}
}

// notes are the frames of notes that have not left.
func (w *memWay) notes() (frames [][]byte) {
	for p := append(slices.Clone(w.got), w.sent...); len(p) >= memHead; {
		n := memHead + int(binary.LittleEndian.Uint32(p[6:]))
		if p[0] == memNoted {
			frames = append(frames, slices.Clone(p[:n]))
		}
		p = p[n:]
	}
	return frames
}

// A memRelay is the connection of a client that is served by another node: the handler of
// the connection at the edge, and the far end of the one at home.
type memRelay struct {
	all      *MemNodes
	from, to *MemNode
	on       *loop.Loop
	conn     *loop.Conn
	peer     *looptest.Peer // at home; nil before
	hello    []byte
	refusal  []byte
	farewell []byte
	there    []byte // the client's bytes on their way
	eof      bool   // the client sends nothing more
	told     bool   // home knows that
	closed   bool   // the connection at the edge is over
	refused  bool
	ended    bool // home has ended its direction, and the edge knows
}

func (n *MemNode) Relay(c *loop.Conn, to NodeID, r Relay) {
	m := n.all
	h := &memRelay{
		all: m, from: n, to: m.find(to), on: c.Loop(), conn: c, hello: slices.Clone(r.Hello),
		refusal: slices.Clone(r.Refusal), farewell: slices.Clone(r.Farewell), there: slices.Clone(r.First),
	}
	m.counts["relayed"]++
	c.SetHandler(h)
	m.relays = append(m.relays, h)
}

// Data borrows p.
func (r *memRelay) Data(p []byte) { r.there = append(r.there, p...) }
func (r *memRelay) Drained()      {}
func (r *memRelay) EOF()          { r.eof = true }
func (r *memRelay) Closed(error)  { r.closed = true }

func (r *memRelay) busy() bool {
	return !r.over() && !r.refused && (r.peer == nil || len(r.there) > 0 || r.peer.Buffered() > 0 || r.eof != r.told || r.closed || r.peer.EOF() != r.ended)
}

func (r *memRelay) over() bool { return r.closed && (r.peer == nil || r.peer.Closed()) }

// cut breaks the connection between the nodes.
func (r *memRelay) cut() {
	if r.peer != nil {
		r.peer.Reset()
	}
	_ = r.on.Post(loop.Func(r.conn.Abort))
}

func (r *memRelay) deliver() {
	m := r.all
	if r.peer == nil {
		switch {
		case r.closed || r.refused:
			return
		case r.to.diedAt != 0 || m.fault("relay refused", m.faults.Refused):
			r.refused = true
			_ = r.on.Post(loop.Func(func() {
				r.conn.Write(r.refusal)
				r.conn.Close()
			}))
			return
		}
		r.peer = r.to.World.DialTo(m.random.IntN(len(r.to.World.Loops())), func(c *loop.Conn) loop.Handler {
			h, err := r.to.home.Relay(c, r.hello)
			if err != nil {
				m.t.Errorf("Home.Relay: %v", err)
			}
			return h
		})
	}
	if m.fault("relay cut", m.faults.CutRelay) {
		r.cut()
		return
	}
	n := len(r.there)
	if !m.calm && n > 0 && m.random.IntN(2) == 0 {
		n = m.random.IntN(n)
	}
	r.peer.Write(r.there[:n])
	r.there = r.there[n:]
	if r.closed && !r.peer.Closed() {
		r.peer.Reset()
		return
	}
	if r.eof && !r.told && len(r.there) == 0 {
		r.told = true
		r.peer.CloseWrite()
	}
	if n := r.peer.Buffered(); n > 0 {
		if !m.calm && m.random.IntN(2) == 0 {
			n = 1 + m.random.IntN(n)
		}
		p := slices.Clone(r.peer.ReadN(n))
		_ = r.on.Post(loop.Func(func() { r.conn.Write(p) }))
	}
	if r.peer.EOF() && r.peer.Buffered() == 0 && !r.ended {
		r.ended = true
		_ = r.on.Post(loop.Func(func() {
			if r.peer.Broken() {
				r.conn.Abort()
				return
			}
			r.conn.Close()
		}))
	}
}
