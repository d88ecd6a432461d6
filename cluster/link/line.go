package link

import (
	"time"

	"turbine/loop"
	"turbine/pool"
)

const (
	// onePiece is how long a body may be, in bytes, that goes out at once: what is longer
	// takes turns with others.
	onePiece = 16 << 10
	// window is how much of a link, in bytes, waits in the connection before a turn ends.
	window = MaxBody
	// shared is the length of a piece, in bytes, from which on it gets a buffer of its own.
	shared = 1 << 10
)

// An entry is a body that waits to be sent, whole or from where the last piece ended.
type entry struct {
	buf    *pool.Buf
	by     time.Duration // until then it waits for a link, if it is an Arrive or a Note
	sent   int
	stream uint32
	kind   Kind
	flags  uint8
}

// An owner says what became of the streams of a line.
type owner interface {
	live(stream uint32) bool // what waits of it is still to be sent
	sent(e *entry)           // all of it was
}

// line is the sending side of a link. What is short is written at once; longer bodies take
// turns, one piece each, as the kernel takes them, so that a short one waits behind one
// piece of each of them and not behind their ends.
type line struct {
	conn   *loop.Conn // nil: no link is up, and everything waits
	owner  owner
	counts *Counts
	queue  []entry // a ring
	first  int
	length int
	size   int // bytes of queue that are not sent
	header [HeaderLen + 2]byte
}

// unsent is how many bytes wait.
func (n *line) unsent() int {
	if n.conn == nil {
		return n.size
	}
	return n.size + n.conn.Unsent()
}

// write sends a frame at once. It borrows p and q, which together are the body.
func (n *line) write(kind Kind, flags uint8, stream uint32, p, q []byte) {
	h := AppendHeader(n.header[:0], Header{Length: uint32(len(p) + len(q)), Kind: kind, Flags: flags, Stream: stream}) // #nosec G115 -- MaxBody
	n.put(h, p, q)
}

// writeArrive sends an Arrive at once.
func (n *line) writeArrive(flags uint8, stream uint32, head, body []byte) {
	h := AppendHeader(n.header[:0], Header{Length: uint32(2 + len(head) + len(body)), Kind: Arrive, Flags: flags, Stream: stream}) // #nosec G115 -- MaxBody
	n.put(append(h, byte(len(head)), byte(len(head)>>8)), head, body)                                                              // #nosec G115 -- MaxHead
}

func (n *line) put(h, p, q []byte) {
	size := len(h) + len(p) + len(q)
	n.counts.sent(size)
	if size < shared {
		n.conn.Write(h)
		n.conn.Write(p)
		n.conn.Write(q)
		return
	}
	b := pool.Payloads.Get(size)
	b.Append(h)
	b.Append(p)
	b.Append(q)
	n.conn.WriteBuf(b)
	b.Release()
}

// push takes a hold of e.buf, and has e wait for its turn.
func (n *line) push(e entry) {
	if n.length == len(n.queue) {
		n.grow()
	}
	n.queue[(n.first+n.length)%len(n.queue)] = e
	n.length++
	n.size += e.buf.Len() - e.sent
}

func (n *line) grow() {
	larger := make([]entry, max(16, 2*len(n.queue)))
	for i := range n.length {
		larger[i] = n.queue[(n.first+i)%len(n.queue)]
	}
	n.queue, n.first = larger, 0
}

// pop takes the first entry out; its buf is the caller's.
func (n *line) pop() entry {
	e := n.queue[n.first]
	n.queue[n.first] = entry{}
	n.first = (n.first + 1) % len(n.queue)
	n.length--
	n.size -= e.buf.Len() - e.sent
	if n.length == 0 && len(n.queue) > chunkSize {
		n.queue, n.first = nil, 0 // a burst is over
	}
	return e
}

// pump lets those that wait have their turns, as long as the connection takes them.
func (n *line) pump() {
	for n.length > 0 && n.conn.Unsent() < window {
		e := n.pop()
		if e.stream != 0 && !n.owner.live(e.stream) {
			e.buf.Release()
			continue
		}
		piece := e.buf.Bytes()[e.sent:]
		flags := e.flags
		if len(piece) > MaxBody {
			piece, flags = piece[:MaxBody], flags|FlagMore
		}
		n.write(e.kind, flags, e.stream, piece, nil)
		if e.sent += len(piece); e.sent < e.buf.Len() {
			n.push(e)
			continue
		}
		n.owner.sent(&e)
		e.buf.Release()
	}
	if n.length > 0 {
		n.conn.WantDrained()
	}
}

// sweep takes out what keep refuses.
func (n *line) sweep(keep func(*entry) bool) {
	for range n.length {
		e := n.pop()
		if keep(&e) {
			n.push(e)
		} else {
			e.buf.Release()
		}
	}
}
