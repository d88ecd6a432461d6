package peers

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// parts is how many locks share the keys.
const parts = 32

// Counts counts what each peer holds at present, up to a limit. An entry lives
// as long as its peer holds anything. Its methods are safe from any goroutine.
type Counts struct {
	limit atomic.Int64 // negative for none
	seed  maphash.Seed // or a client could choose addresses that share a lock
	parts [parts]counts
}

type counts struct {
	mu   sync.Mutex
	held map[Key]uint32 // guarded by mu; nil when nobody holds anything
	peak int            // guarded by mu; the most entries since then
}

// keptEntries is the size of an empty map that is kept for the next peer. A
// larger one has seen a crowd, and a Go map does not shrink.
const keptEntries = 64

// NewCounts makes a Counts that lets each peer hold limit at a time. If limit is
// negative there is none, and nobody is counted.
func NewCounts(limit int) *Counts {
	c := &Counts{seed: maphash.MakeSeed()}
	c.Set(limit)
	return c
}

// Set changes the limit, for what is added from now on.
func (c *Counts) Set(limit int) { c.limit.Store(int64(limit)) }

func (c *Counts) part(k Key) *counts { return &c.parts[maphash.Comparable(c.seed, k)%parts] }

// Add counts one more of k's. ok is false if k holds as many as it may. held says that
// the one more counts until Remove: while there is no limit it does not.
func (c *Counts) Add(k Key) (held, ok bool) {
	limit := c.limit.Load()
	if limit < 0 {
		return false, true
	}
	p := c.part(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.held[k]
	if int64(n) >= limit {
		return false, false
	}
	if p.held == nil {
		p.held = map[Key]uint32{}
	}
	p.held[k] = n + 1
	p.peak = max(p.peak, len(p.held))
	return true, true
}

// Full reports whether k holds as many as it may.
func (c *Counts) Full(k Key) bool {
	limit := c.limit.Load()
	if limit < 0 {
		return false
	}
	p := c.part(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(p.held[k]) >= limit
}

// Remove takes back one Add that counts.
func (c *Counts) Remove(k Key) {
	p := c.part(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	if held := p.held[k]; held > 1 {
		p.held[k] = held - 1
		return
	}
	delete(p.held, k)
	if len(p.held) == 0 && p.peak > keptEntries {
		p.held, p.peak = nil, 0
	}
}

// Len is the number of peers that hold anything.
func (c *Counts) Len() (n int) {
	for i := range c.parts {
		p := &c.parts[i]
		p.mu.Lock()
		n += len(p.held)
		p.mu.Unlock()
	}
	return n
}
