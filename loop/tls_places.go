package loop

import (
	"net/netip"
	"sync"

	"turbine/internal/peers"
)

// shareOfPlaces is which part of all places an address may hold before its
// handshakes are the first to go.
const shareOfPlaces = 16

// places are the handshakes under way, of all loops. When they are as many as
// they may be, one that waits for its client makes room for the next: the oldest
// of the address that holds most, where one holds more than its share, otherwise
// the oldest of all.
type places struct {
	mu           sync.Mutex
	limit, share int                         // guarded by mu
	exempt       peers.Networks              // guarded by mu
	held         int                         // guarded by mu
	all          line                        // guarded by mu
	holders      map[peers.Key]*placesHolder // guarded by mu; addresses that are not exempt
	large        []*placesHolder             // guarded by mu; those above their share, fewer than shareOfPlaces+1
}

// placesHolder is an address.
type placesHolder struct {
	key  peers.Key
	held int
	line line // of its handshakes
}

// place is what a handshake holds of places. It is guarded by places.mu.
type place struct {
	holder  *placesHolder // nil for an exempt address
	inAll   links
	inOwn   links
	held    bool
	stalled bool // waits for its client
}

func newPlaces(limit int, exempt peers.Networks) *places {
	p := &places{holders: map[peers.Key]*placesHolder{}}
	p.all.of = func(h *handshake) *links { return &h.place.inAll }
	p.set(limit, exempt)
	return p
}

// set replaces the limit, and the networks whose addresses are not counted, for
// handshakes that enter from now on.
func (p *places) set(limit int, exempt peers.Networks) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit, p.share, p.exempt = limit, max(1, limit/shareOfPlaces), exempt
	clear(p.large)
	p.large = p.large[:0]
	for _, o := range p.holders {
		if o.held > p.share {
			p.large = append(p.large, o)
		}
	}
}

// enter takes a place for h, whose client has the address. Where there was none
// left, cut is the handshake that h has it from, for its loop to end; ok is false
// if there is no such either, because none waits for its client.
func (p *places) enter(h *handshake, address netip.Addr) (cut *handshake, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held >= p.limit {
		if cut = p.stalled(); cut == nil {
			return nil, false
		}
		p.remove(cut)
	}
	p.held++
	h.place.held = true
	p.all.append(h)
	if p.exempt.Contain(address) {
		return cut, true
	}
	key := peers.KeyOf(address)
	o := p.holders[key]
	if o == nil {
		o = &placesHolder{key: key}
		o.line.of = func(h *handshake) *links { return &h.place.inOwn }
		p.holders[key] = o
	}
	h.place.holder = o
	o.line.append(h)
	if o.held++; o.held == p.share+1 {
		p.large = append(p.large, o)
	}
	return cut, true
}

// leave gives the place of h back, unless another has it already.
func (p *places) leave(h *handshake) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.place.held {
		p.remove(h)
	}
}

// wait says whether h waits for its client.
func (p *places) wait(h *handshake, stalled bool) {
	p.mu.Lock()
	h.place.stalled = stalled
	p.mu.Unlock()
}

// count is how many are held.
func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// stalled is the handshake to make room; p.mu is held.
func (p *places) stalled() (h *handshake) {
	most := 0
	for _, o := range p.large {
		if o.held > most {
			if first := o.line.stalled(); first != nil {
				h, most = first, o.held
			}
		}
	}
	if h == nil {
		h = p.all.stalled()
	}
	return h
}

// remove takes the place of h; p.mu is held.
func (p *places) remove(h *handshake) {
	p.held--
	h.place.held = false
	p.all.remove(h)
	o := h.place.holder
	if o == nil {
		return
	}
	h.place.holder = nil
	o.line.remove(h)
	if o.held--; o.held == p.share {
		for i := range p.large {
			if p.large[i] == o {
				p.large[i] = p.large[len(p.large)-1]
				p.large[len(p.large)-1] = nil
				p.large = p.large[:len(p.large)-1]
				break
			}
		}
	}
	if o.held == 0 {
		delete(p.holders, o.key)
	}
}

// line is handshakes in the order in which they began. Bytes of a client do not
// put it back: a client could send one now and then, and always be the youngest.
type line struct {
	first, last *handshake
	of          func(*handshake) *links
}

type links struct{ before, behind *handshake }

func (l *line) append(h *handshake) {
	at := l.of(h)
	at.before = l.last
	if l.last != nil {
		l.of(l.last).behind = h
	} else {
		l.first = h
	}
	l.last = h
}

func (l *line) remove(h *handshake) {
	at := l.of(h)
	if at.before != nil {
		l.of(at.before).behind = at.behind
	} else {
		l.first = at.behind
	}
	if at.behind != nil {
		l.of(at.behind).before = at.before
	} else {
		l.last = at.before
	}
	*at = links{}
}

// stalled is the first that waits for its client. Those before it compute, or
// wait for the application, so they are few, or the application is slow.
func (l *line) stalled() *handshake {
	for h := l.first; h != nil; h = l.of(h).behind {
		if h.place.stalled {
			return h
		}
	}
	return nil
}

// cutTask is a handshake as the Task that ends it for another.
type cutTask handshake

func (t *cutTask) Run() {
	h := (*handshake)(t)
	c := h.filter.conn
	if h.dead || h.filter.shake != h { // it is over, or done
		return
	}
	h.tls.met(c.Loop(), TLSHandshakes)
	h.over()
	c.end(ErrTLSTooMany)
}
