package loop

import "sync/atomic"

// residentWeight is how many connections one resident weighs when connections
// are dealt. A session sends, receives and keeps queues; most connections wait.
const residentWeight = 3

// AddResidents adds n to what the loop is home to in addition to its connections: a
// session, which outlives each of its connections. New connections are dealt by
// the sum, because they bring new residents. Safe from any goroutine.
func (l *Loop) AddResidents(n int) { l.residents.Add(int64(n)) }

// Residents is the sum of what AddResidents was told. Safe from any goroutine.
func (l *Loop) Residents() int { return int(l.residents.Load()) }

// load is what the loop has. A connection that is on its way to the loop, new or
// from another loop, also counts for a resident: a loop that is busy just now opens
// none, and would look empty to a crowd that comes meanwhile. Safe from any goroutine.
func (l *Loop) load() int64 {
	return l.count.Load() + residentWeight*(l.residents.Load()+l.arriving.Load())
}

// expect counts a connection that open, reject or unexpect will be called for.
// Safe from any goroutine.
func (l *Loop) expect() {
	l.count.Add(1)
	l.arriving.Add(1)
}

// unexpect takes expect back. Safe from any goroutine.
func (l *Loop) unexpect() {
	l.arriving.Add(-1)
	l.count.Add(-1)
}

// A Dealer chooses the loop of each new connection.
type Dealer struct {
	loops []*Loop
	dealt atomic.Uint32
}

// NewDealer makes a Dealer for loops, of which there is at least one.
func NewDealer(loops []*Loop) *Dealer { return &Dealer{loops: loops} }

// Deal returns the loop that has least. Safe from any goroutine.
func (d *Dealer) Deal() *Loop {
	// Where the search begins decides between equal loops. It changes without a
	// pattern: clients that come one after another have one, of two or three
	// connections each, and in step with it their first ones, which bring the
	// sessions, would all meet the same loops.
	start := int(scatter(d.dealt.Add(1)) % uint32(len(d.loops)))
	best := d.loops[start]
	least := best.load()
	for i := 1; i < len(d.loops); i++ {
		l := d.loops[(start+i)%len(d.loops)]
		if load := l.load(); load < least {
			best, least = l, load
		}
	}
	return best
}

// spareLoad is how much more than the least a loop may have before connections
// move from it, in addition to an eighth: a move costs two turns, and loads change.
const spareLoad = 64

// Lighter returns the loop that has least if on has a good deal more, else nil:
// for a caller whose connection on that loop is about to bring a new resident. A
// connection that is kept, as those of proxies are, brings residents without end,
// and is dealt once. Safe from any goroutine.
func (d *Dealer) Lighter(on *Loop) *Loop {
	own := on.load()
	if own <= spareLoad {
		return nil
	}
	best := d.Deal()
	if least := best.load(); own <= least+least/8+spareLoad {
		return nil
	}
	return best
}

// scatter is a bijection whose results have no visible order (the finalizer of
// MurmurHash3).
func scatter(n uint32) uint32 {
	n ^= n >> 16
	n *= 0x85ebca6b
	n ^= n >> 13
	n *= 0xc2b2ae35
	return n ^ n>>16
}
