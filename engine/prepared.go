package engine

import (
	"sync"
	"sync/atomic"

	"turbine/engine/packet"
	"turbine/pool"
	"turbine/wsframe"
)

// Prepared is a message that is encoded once, to be sent to many sessions. It is also
// compressed once, by the loops that need it. It does not change
// otherwise, and is left to the garbage collector. Safe from any goroutine.
type Prepared struct {
	binary bool
	data   []byte
	frame4 *pool.Buf // the whole WebSocket frame, revision 4
	frame3 *pool.Buf // the same, revision 3; frame4 itself for text

	made *preparedWith // nil for one of Prepare

	held atomic.Pointer[holdings] // nil until it waits for a client

	packing sync.Mutex
	packed4 *deflatedForm // the same, compressed; guarded by packing, nil until it is wanted
	packed3 *deflatedForm
}

// preparedWith is what a Prepared has more that With has made.
type preparedWith struct {
	SendOptions
	base *Prepared // what it was made of
}

var withNothing preparedWith

// with is what p is sent with.
func (p *Prepared) with() *preparedWith {
	if p.made == nil {
		return &withNothing
	}
	return p.made
}

// Prepare copies m and encodes it for all transports and revisions. Its error is
// ErrNotUTF8, with a nil *Prepared: Broadcast and Publish send nothing for it,
// SendPrepared returns ErrNotUTF8. Safe from any goroutine.
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
	return &Prepared{binary: p.binary, data: p.data, frame4: p.frame4, frame3: p.frame3, made: &preparedWith{o, p.root()}}
}

// root is what counts, and is compressed, for all that With has made of it.
func (p *Prepared) root() *Prepared {
	if p.made != nil {
		return p.made.base
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
