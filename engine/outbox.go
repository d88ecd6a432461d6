package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"turbine/engine/packet"
	"turbine/internal/fifo"
	"turbine/pool"
	"turbine/wsframe"
)

// outgoing is a packet on its way to the client: a payload of its own, or one
// prepared for many. On WebSocket it may be a run instead: messages that are
// frames already, one behind the other in one buffer.
type outgoing struct {
	data     *pool.Buf // nil when the packet has no data of its own
	prepared *Prepared
	sent     func() // SendOptions.Sent; nil for most
	kind     packet.Type
	binary   bool
	plain    bool  // not to be compressed
	joined   bool  // of what is held: it is let go with the one before it
	frames   int32 // of a run; 0 otherwise
}

// packetSize is what a packet takes beside its data, in bytes, about: a client that
// takes nothing must not have empty ones queued without bound.
const packetSize = 128

// size is what the packet counts for limits, in bytes.
func (o *outgoing) size() int {
	switch {
	case o.prepared != nil:
		return packetSize + len(o.prepared.data)
	case o.data != nil:
		return packetSize*o.packets() + o.data.Len()
	}
	return packetSize
}

// ours reports whether it is a packet of the protocol's own, a ping or pong.
func (o *outgoing) ours() bool { return o.kind != packet.Message }

// shared is how many of these bytes many sessions have together: they count once
// for all of a loop's sessions, see Prepared.
func (o *outgoing) shared() int {
	if o.prepared != nil {
		return len(o.prepared.data)
	}
	return 0
}

// packets is how many it stands for.
func (o *outgoing) packets() int { return max(int(o.frames), 1) }

func countPackets(batch []outgoing) (n int) {
	for i := range batch {
		n += batch[i].packets()
	}
	return n
}

// packet borrows the payload.
func (o *outgoing) packet() packet.Packet {
	p := packet.Packet{Type: o.kind, Binary: o.binary}
	switch {
	case o.prepared != nil:
		p.Data = o.prepared.data
	case o.data != nil:
		p.Data = o.data.Bytes()
	}
	return p
}

func (o *outgoing) release() {
	if o.data != nil {
		o.data.Release()
	}
}

// outbox is what a session has accepted and its transport has not taken, in
// order. It exists only while it holds something.
type outbox struct {
	items   fifo.Queue[outgoing]
	bytes   int // that the client has to take
	shared  int // of these, those that it has together with others
	packets int
	since   time.Duration        // about when what is in front came; 0 until the transport has left something
	ours    uint8                // packets of the protocol's own that wait, a bit for each type
	held    fifo.Queue[outgoing] // behind items: each waits for an entry of the publishQueue
	keys    *keyIndex            // nil as long as no message has a key
}

var outboxes = sync.Pool{New: func() any { return new(outbox) }}

// maxKeptItems bounds the room of an outbox that is kept for the next session.
const maxKeptItems = 1024

func (b *outbox) push(o outgoing) {
	b.items.Push(o)
	b.bytes += o.size()
	b.shared += o.shared()
	b.packets += o.packets()
	if o.ours() {
		b.ours |= 1 << o.kind
	}
}

// runSize is how much of a run goes into one buffer, in bytes: it fits a size
// class of the pool.
const runSize = 4<<10 - pool.Headroom

// firstRun is what the first message of a run takes at least: a few small ones
// have room there, too.
const firstRun = 256 - pool.Headroom

// pushFrame borrows m and adds the WebSocket frame that carries it, of size
// bytes: to the run behind, if it has room there.
func (b *outbox) pushFrame(m Message, r Revision, size int) {
	run := b.run(size)
	if run == nil {
		b.push(outgoing{data: pool.Frames.Get(max(size, firstRun)), kind: packet.Message})
		run = b.items.Back()
		b.bytes -= packetSize
		b.packets--
	}
	run.frames++
	b.packets++
	b.bytes += packetSize + size
	p := packet.Packet{Type: packet.Message, Binary: m.Binary}
	prefix, ok := r.FramePrefix(p)
	tail := run.data.Tail()
	if ok {
		tail = append(wsframe.AppendHeader(tail, opcode(m.Binary), len(m.Data)+1), prefix)
	} else {
		tail = wsframe.AppendHeader(tail, opcode(m.Binary), len(m.Data))
	}
	run.data.SetTail(append(tail, m.Data...))
}

// run is the run behind, when it has room for size bytes more, or nil. The first
// message has a buffer of its own size; with the second one it moves to where
// others have room, too, so that all of them are one piece to write.
func (b *outbox) run(size int) *outgoing {
	last := b.items.Back()
	if last == nil || last.frames == 0 || last.data.Len()+size > runSize {
		return nil
	}
	if last.data.Room() < size {
		old := last.data
		last.data = pool.Frames.Get(runSize)
		last.data.Append(old.Bytes())
		old.Release()
	}
	return last
}

// frameSize is the size in bytes of the frame that carries m.
func frameSize(m Message, r Revision) int {
	n := len(m.Data)
	if _, ok := r.FramePrefix(packet.Packet{Type: packet.Message, Binary: m.Binary}); ok {
		n++
	}
	return wsframe.HeaderSize(n) + n
}

// take appends to batch the packets in front: at least one, and as many as
// stay within limit bytes by cost and within room in number, but for the last
// run.
func (b *outbox) take(batch []outgoing, limit, room int, cost func(*outgoing) int) []outgoing {
	waiting := b.items.All()
	n, total := 0, 0
	for n < len(waiting) && room > 0 {
		o := &waiting[n]
		if total += cost(o); total > limit && len(batch) > 0 {
			break
		}
		batch = append(batch, *o)
		b.bytes -= o.size()
		b.shared -= o.shared()
		b.packets -= o.packets()
		room -= o.packets()
		if o.ours() {
			b.ours &^= 1 << o.kind
		}
		n++
	}
	b.items.Drop(n)
	if b.keys != nil {
		b.keys.items.drop(n)
	}
	return batch
}

// own is what the outbox counts for the budget by itself.
func (b *outbox) own() int { return b.bytes - b.shared }

// grow makes what waits younger by the part of it that was taken, of before bytes:
// so a client that lags and reads has a young queue, and one that does not an old one.
func (b *outbox) grow(now time.Duration, before int) {
	if b.since != 0 && before > 0 {
		b.since += time.Duration(float64(now-b.since) * float64(before-b.bytes) / float64(before))
	}
}

// hold adds o behind all, for letGo: it counts, but is not taken before.
func (b *outbox) hold(o outgoing) {
	b.held.Push(o)
	b.bytes += o.size()
	b.shared += o.shared()
	b.packets += o.packets()
}

// idle reports whether nothing may be taken now.
func (b *outbox) idle() bool { return b.items.Len() == 0 }

func (b *outbox) empty() bool { return b.idle() && b.held.Len() == 0 }

// free releases what is left, which counts in sh no more, and gives the outbox
// back.
func (b *outbox) free(sh *shard) {
	sh.queued.Add(-int64(b.own()))
	for _, q := range [...]*fifo.Queue[outgoing]{&b.items, &b.held} {
		for _, o := range q.All() {
			if o.prepared != nil {
				sh.unshare(o.prepared)
			}
			o.release()
		}
		q.Drop(q.Len())
	}
	b.recycle()
}

// recycle gives back the outbox, of which all was taken.
func (b *outbox) recycle() {
	if b.keys != nil {
		b.forgetKeys()
	}
	b.items.Trim(maxKeptItems)
	*b = outbox{items: b.items}
	outboxes.Put(b)
}

// Prepared is a message encoded once, to be sent to many sessions; compressed,
// too, by the first loop that needs it so. It does not change otherwise, and is
// left to the garbage collector. Safe from any goroutine.
type Prepared struct {
	binary bool
	data   []byte
	frame4 *pool.Buf // the whole WebSocket frame, revision 4
	frame3 *pool.Buf // the same, revision 3; frame4 itself for text

	with SendOptions
	base *Prepared // what it was made of, by With; nil for one of Prepare

	held atomic.Pointer[holdings] // nil until it waits for a client

	packing sync.Mutex
	packed4 *pool.Buf // the same, compressed; guarded by packing, made when first wanted
	packed3 *pool.Buf
}

// Prepare copies m and encodes it for all transports and revisions. Its error is
// ErrNotUTF8, with a nil *Prepared, which nobody is sent.
// Safe from any goroutine.
func Prepare(m Message) (*Prepared, error) {
	if !m.checked() && !wsframe.ValidText(m.Data) {
		return nil, ErrNotUTF8
	}
	p := &Prepared{binary: m.Binary}
	p.frame4 = preparedFrame(Revision4, m)
	p.frame3 = p.frame4
	if m.Binary {
		p.frame3 = preparedFrame(Revision3, m)
	}
	frame := p.frame4.Bytes()
	p.data = frame[len(frame)-len(m.Data):]
	return p, nil
}

// With returns p as a message that is sent with the options o, wherever it is given
// instead of p: to SendPrepared, Broadcast and Publish. It costs no copy: bytes that
// wait for clients count for the budget together with those of p. Sent is called for
// each session that it was sent to. With of nil is nil. Safe from any goroutine.
func (p *Prepared) With(o SendOptions) *Prepared {
	if p == nil {
		return nil
	}
	return &Prepared{binary: p.binary, data: p.data, frame4: p.frame4, frame3: p.frame3, with: o, base: p.root()}
}

// root is what counts, and is compressed, for all that With has made of it.
func (p *Prepared) root() *Prepared {
	if p.base != nil {
		return p.base
	}
	return p
}

func preparedFrame(r Revision, m Message) *pool.Buf {
	b := pool.New(len(m.Data))
	b.Append(m.Data)
	putPacketFrame(b, r, packet.Message, m.Binary)
	return b
}

func (p *Prepared) frame(r Revision) *pool.Buf {
	if r == Revision3 {
		return p.frame3
	}
	return p.frame4
}

// holdings counts, for each loop of a server, the places in outboxes that hold a
// Prepared. It counts for the budget of that loop as long as there are any, once.
type holdings struct {
	server *Server
	counts []atomic.Int64 // by loop
	next   *holdings      // of another server
}

// heldPlaces is the counter of the places that hold p in outboxes of sh. Safe from
// any goroutine.
func (sh *shard) heldPlaces(p *Prepared) *atomic.Int64 {
	for {
		first := p.held.Load()
		for h := first; h != nil; h = h.next {
			if h.server == sh.server {
				return &h.counts[sh.loop.Index()]
			}
		}
		h := &holdings{server: sh.server, counts: make([]atomic.Int64, len(sh.server.shards)), next: first}
		p.held.CompareAndSwap(first, h)
	}
}

// weight is what p counts for the budget, in bytes.
func (p *Prepared) weight() int64 {
	n := int64(p.frame4.Len())
	if p.frame3 != p.frame4 {
		n += int64(p.frame3.Len())
	}
	return n
}

// firstShare is what the next place that holds p adds to what is counted for the
// budget: its weight, if it is the first.
func (sh *shard) firstShare(p *Prepared) int64 {
	if sh.heldPlaces(p).Load() > 0 {
		return 0
	}
	return p.weight()
}

// share counts one place more that holds p. Safe from any goroutine.
func (sh *shard) share(p *Prepared) {
	if sh.heldPlaces(p).Add(1) == 1 {
		sh.queued.Add(p.weight())
	}
}

// unshare undoes share. Safe from any goroutine.
func (sh *shard) unshare(p *Prepared) {
	if sh.heldPlaces(p).Add(-1) == 0 {
		sh.queued.Add(-p.weight())
	}
}
