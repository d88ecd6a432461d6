package sim

import "time"

// garbage is an application that allocates at a steady rate and forgets, so
// that the collector has a reason to run.
type garbage struct {
	rate  float64 // bytes a second
	owed  float64
	keeps [64][]byte // what is kept for a moment
	next  int
}

// garbageSize is the size in bytes of one allocation.
const garbageSize = 1024

func newGarbage(rate int) *garbage {
	if rate <= 0 {
		return nil
	}
	return &garbage{rate: float64(rate)}
}

func (g *garbage) make(elapsed time.Duration) {
	for g.owed += elapsed.Seconds() * g.rate; g.owed >= garbageSize; g.owed -= garbageSize {
		g.keeps[g.next] = make([]byte, garbageSize)
		g.next = (g.next + 1) % len(g.keeps)
	}
}
