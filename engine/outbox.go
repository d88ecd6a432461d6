package engine

import (
	"sync"
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
	frames   int16 // of a run; 0 otherwise
	heads    int16 // of a run: bytes of its frames' heads
}

// packetSize is about what a packet takes in addition to its data, in bytes: a client
// that takes nothing must not have empty packets queued without bound.
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

// dataLen is how many bytes its messages have for the application.
func (o *outgoing) dataLen() int {
	switch {
	case o.prepared != nil:
		return len(o.prepared.data)
	case o.data != nil:
		return o.data.Len() - int(o.heads)
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

// firstRun is what the first message of a run takes at least, in bytes: a few small
// messages more have room there.
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
	run.heads += int16(size - len(m.Data))
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
// message has a buffer of its own size; with the second one it moves to a buffer that
// has room for others, so that all of them are one piece to write.
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

// take moves packets from the front to batch: at least one, then more while their
// cost fits in limit bytes and their number in room. A run is never split, so the
// last one may exceed room.
func (b *outbox) take(batch []outgoing, limit, room int, cost func(*outgoing) int) []outgoing {
	before := len(batch)
	for total := 0; !b.idle() && room > 0; {
		o := b.items.First()
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
		b.items.Pop()
	}
	if b.keys != nil {
		b.keys.items.drop(len(batch) - before)
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
	b.held.Trim(0)
	b.bytes, b.shared, b.packets, b.since, b.ours = 0, 0, 0, 0, 0
	outboxes.Put(b)
}
