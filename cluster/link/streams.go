package link

// A stream's number is a place in the table of one Out, from 1, and how many streams the
// place had before, modulo 256, in the upper 8 bits: a frame of an earlier one is dropped.
const (
	// MaxStreams is how many streams of one Out may be open.
	MaxStreams = 1 << 16
	// restingStreams is how many places that were lost rest before the first of them is
	// used again. An answer of the home says that it has nothing more for a place; a
	// stream that was lost has none. So the generations of one place do not come round
	// while frames of it are under way, unless 262,144 requests are lost at once.
	restingStreams = 1 << 10

	placeBits = 24
	chunkSize = 256
)

// placeOf is the place of a stream, 0 for none.
func placeOf(stream uint32) uint32 { return stream & (1<<placeBits - 1) }

// streams is the table of an Out.
//
//	| state | event                                             | next                  | does
//	| free  | Arrive                                            | open                  | -
//	| open  | Answer whole, Abort                               | free                  | Reply.Answer, Reply.Abort
//	| open  | link ended, dial refused, 3 s without a link, node dead, largest of too much gathered | free | Reply.Failed
//	| open  | Lost                                              | free, next generation | Lost; frames of the old generation are dropped
//
// A place takes 19 bytes. Its zero value is ready.
type streams struct {
	chunks  [MaxStreams / chunkSize]*streamChunk
	used    int      // places that have been open
	open    int      // that are
	free    []uint16 // places less 1, the last one is used first
	resting []uint16 // a ring of those that were lost, once there are any
	oldest  int      // in resting
	rests   int
}

type streamChunk struct {
	reply      [chunkSize]Reply
	generation [chunkSize]uint8
}

// take opens a stream. There is room for one.
func (t *streams) take(r Reply) uint32 {
	var i int
	switch {
	case len(t.free) > 0:
		i = int(t.free[len(t.free)-1])
		t.free = t.free[:len(t.free)-1]
	case t.rests > restingStreams || t.used == MaxStreams:
		i = int(t.resting[t.oldest])
		t.oldest = (t.oldest + 1) % len(t.resting)
		t.rests--
	default:
		i = t.used
		t.used++
		if t.chunks[i/chunkSize] == nil {
			t.chunks[i/chunkSize] = new(streamChunk)
		}
	}
	t.open++
	c := t.chunks[i/chunkSize]
	c.reply[i%chunkSize] = r
	return uint32(c.generation[i%chunkSize])<<placeBits | uint32(i+1) // #nosec G115 -- a place
}

// get returns what is at the end of a stream, nil if the stream is not open.
func (t *streams) get(stream uint32) Reply {
	i := int(placeOf(stream)) - 1
	if i < 0 || i >= t.used {
		return nil
	}
	c := t.chunks[i/chunkSize]
	if c.generation[i%chunkSize] != uint8(stream>>placeBits) {
		return nil
	}
	return c.reply[i%chunkSize]
}

// known reports whether a stream has that place now, or had before.
func (t *streams) known(stream uint32) bool {
	place := placeOf(stream)
	return place > 0 && int(place) <= t.used
}

// end frees the place of an open stream. rest says that frames of it may be under way.
func (t *streams) end(stream uint32, rest bool) {
	i := int(placeOf(stream)) - 1
	c := t.chunks[i/chunkSize]
	c.reply[i%chunkSize] = nil
	c.generation[i%chunkSize]++
	t.open--
	if !rest {
		t.free = append(t.free, uint16(i)) // #nosec G115 -- a place
		return
	}
	if t.rests == len(t.resting) {
		t.growResting()
	}
	t.resting[(t.oldest+t.rests)%len(t.resting)] = uint16(i) // #nosec G115 -- a place
	t.rests++
}

func (t *streams) growResting() {
	larger := make([]uint16, max(64, 2*len(t.resting)))
	for i := range t.rests {
		larger[i] = t.resting[(t.oldest+i)%len(t.resting)]
	}
	t.resting, t.oldest = larger, 0
}

// full reports whether there is no room.
func (t *streams) full() bool { return t.open == MaxStreams }

// next returns the first open stream at a place behind after, 0 if there is none, and its
// place.
func (t *streams) next(after int) (stream uint32, place int) {
	for i := after; i < t.used; i++ {
		if c := t.chunks[i/chunkSize]; c.reply[i%chunkSize] != nil {
			return uint32(c.generation[i%chunkSize])<<placeBits | uint32(i+1), i + 1 // #nosec G115 -- a place
		}
	}
	return 0, t.used
}
