package peers

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Burst is how much of its rate a peer that was quiet may use up at once.
const Burst = 10 * time.Second

// maxEntries bounds the entries of a Rates, of 16 bytes each. Above
// it the address that came longest ago is forgotten first. Against an attack from more addresses a
// limit for each of them is no help.
const maxEntries = 128 << 10

// Rates bounds how often each peer comes: a bucket of tokens for each that
// holds Burst's worth. A bucket is kept as the moment at which it will be full,
// so a full one needs no entry. Its methods are safe from any goroutine.
type Rates struct {
	token atomic.Int64 // how long one takes to come, in nanoseconds; 0 for no limit
	seed  maphash.Seed
	parts [parts]rates
}

// rates has two generations. After Burst the elder one, in which nobody was
// entered for that long, is dropped: all its buckets are full.
type rates struct {
	mu    sync.Mutex
	young map[Key]time.Duration // guarded by mu, as the others
	old   map[Key]time.Duration
	until time.Duration // when young is to become old
}

// NewRates makes a Rates that lets each peer come perSecond times a second. If
// perSecond is negative there is no limit, and nobody is counted.
func NewRates(perSecond int) *Rates {
	r := &Rates{seed: maphash.MakeSeed()}
	r.Set(perSecond)
	return r
}

// Set changes the rate. A peer's bucket is full at the moment at which it was going to
// be: of a quick rate a peer has used up less in tokens of a slow one.
func (r *Rates) Set(perSecond int) {
	if perSecond < 0 {
		r.token.Store(0)
		return
	}
	r.token.Store(max(int64(time.Second)/int64(perSecond), 1))
}

// Take takes a token of k's, if there is one, or says how long the next one
// takes to come. now is the time since some fixed moment.
func (r *Rates) Take(k Key, now time.Duration) (wait time.Duration, ok bool) {
	token := time.Duration(r.token.Load())
	if token == 0 {
		return 0, true
	}
	p := &r.parts[maphash.Comparable(r.seed, k)%parts]
	p.mu.Lock()
	defer p.mu.Unlock()
	full, found := p.young[k]
	if !found {
		full = p.old[k]
	}
	full = max(full, now) + token
	if wait = full - now - Burst; wait > 0 {
		return wait, false
	}
	if now >= p.until || (!found && len(p.young) >= maxEntries/2/parts) {
		p.age(now)
	}
	p.young[k] = full
	return 0, true
}

// age begins a generation.
func (p *rates) age(now time.Duration) {
	p.young, p.old = p.old, p.young
	if p.young == nil {
		p.young = map[Key]time.Duration{}
	}
	clear(p.young)
	p.until = now + Burst
}

// Len is the number of entries.
func (r *Rates) Len() (n int) {
	for i := range r.parts {
		p := &r.parts[i]
		p.mu.Lock()
		n += len(p.young) + len(p.old)
		p.mu.Unlock()
	}
	return n
}
