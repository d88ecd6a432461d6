package link

import "turbine/pool"

// DefaultGathered is how many bytes of answers the links of one loop gather at most.
const DefaultGathered = 64 << 20

// Gathered holds the beginnings of answers that come in pieces, of all Outs of one loop.
// Above its limit the largest one goes, whose stream fails. The zero value has
// DefaultGathered for its limit.
type Gathered struct {
	Limit int
	size  int
	begun map[gathering]*pool.Buf
}

type gathering struct {
	out    *Out
	stream uint32
}

// add takes a piece of an answer that is not the last.
func (g *Gathered) add(o *Out, stream uint32, piece []byte) {
	if g.begun == nil {
		g.begun = map[gathering]*pool.Buf{}
	}
	key := gathering{o, stream}
	b := g.begun[key]
	if b == nil {
		b = pool.Spills.Get(2 * MaxBody)
		g.begun[key] = b
	}
	b.Append(piece)
	g.size += len(piece)
	limit := g.Limit
	if limit == 0 {
		limit = DefaultGathered
	}
	if g.size > limit {
		largest := g.largest()
		largest.out.giveUp(largest.stream)
	}
}

// largest is the longest beginning. There is one.
func (g *Gathered) largest() (largest gathering) {
	most := -1
	for key, b := range g.begun {
		if b.Len() > most {
			largest, most = key, b.Len()
		}
	}
	return largest
}

// take returns what has come of an answer, nil if nothing has. The caller releases it.
func (g *Gathered) take(o *Out, stream uint32) *pool.Buf {
	if len(g.begun) == 0 {
		return nil
	}
	key := gathering{o, stream}
	b := g.begun[key]
	if b != nil {
		delete(g.begun, key)
		g.size -= b.Len()
	}
	return b
}

// Size is how many bytes wait for the rest of their answers.
func (g *Gathered) Size() int { return g.size }
