package engine

import (
	"sync"

	"turbine/engine/packet"
	"turbine/internal/fifo"
	"turbine/pool"
	"turbine/wsframe"
)

// keyIndex finds the messages of an outbox by their SendOptions.Key. An outbox has
// one only while a message with a key waits in it, or has since it was last empty.
// It is guarded as the outbox is.
type keyIndex struct {
	items keyedQueue // of outbox.items
	held  keyedQueue // of outbox.held
}

var keyIndexes = sync.Pool{New: func() any {
	return &keyIndex{keyedQueue{places: map[string]*keyed{}}, keyedQueue{places: map[string]*keyed{}}}
}}

// keyedQueue is the messages with a key in one queue of an outbox.
type keyedQueue struct {
	first  uint64             // the number of the packet in front of the queue
	places map[string]*keyed  // the last of each key
	order  fifo.Queue[*keyed] // all of them
	most   int                // the greatest length of order: a map does not shrink
}

// keyed is the place of a message with a key.
type keyed struct {
	key    string
	number uint64 // of the packet, counted from the first one that the index has seen
	change uint64 // how often another message has taken the place

	// Of a message that is held:
	walks uint64                              // publishQueue.walks when it came
	merge func(waiting, next Message) Message // for what waits when it is let go
}

// add notes that the packet behind the other waiting-1 has the key.
func (q *keyedQueue) add(k *keyed, waiting int) {
	k.number = q.first + uint64(waiting) - 1 // #nosec G115 -- a length
	q.places[k.key] = k
	q.order.Push(k)
	q.most = max(q.most, q.order.Len())
}

// drop notes that n packets have left the front of the queue.
func (q *keyedQueue) drop(n int) {
	q.first += uint64(n) // #nosec G115 -- a length
	for q.order.Len() > 0 {
		k := *q.order.First()
		if k.number >= q.first {
			return
		}
		if q.places[k.key] == k {
			delete(q.places, k.key)
		}
		q.order.Pop()
	}
}

// at is the index in the queue of the packet at k.
func (q *keyedQueue) at(k *keyed) int { return int(k.number - q.first) } // #nosec G115 -- a length

func (q *keyedQueue) reset() {
	clear(q.places)
	q.order.Drop(q.order.Len())
	q.order.Trim(maxKeptItems)
	q.first, q.most = 0, 0
}

// index is the outbox's, made when first wanted.
func (b *outbox) index() *keyIndex {
	if b.keys == nil {
		b.keys = keyIndexes.Get().(*keyIndex)
	}
	return b.keys
}

// waitsWithKeys reports whether a message with a key waits, or has since the outbox
// was last empty.
func (s *Session) waitsWithKeys() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outbox != nil && s.outbox.keys != nil
}

// forgetKeys gives the index back.
func (b *outbox) forgetKeys() {
	k := b.keys
	b.keys = nil
	if k == nil || !k.small() {
		return
	}
	k.items.reset()
	k.held.reset()
	keyIndexes.Put(k)
}

// small reports whether the index takes so little room that it may be kept.
func (k *keyIndex) small() bool { return max(k.items.most, k.held.most) <= maxKeptItems }

// message borrows what is at k, and is called under the session's mu.
func (o *outgoing) message() Message { return Message{Data: o.packet().Data, Binary: o.binary} }

// waiting finds the message with that key whose place a new one takes: among what
// is held, if a new one has to wait for entries, or else among what may be taken. It
// is nil where the new one has to have a place of its own. s.mu is held.
//
// A message that is held for walks keeps its place only until the next walk: what
// that brings is newer, and may have the same key.
func (s *Session) waiting(key string, hold bool) *keyed {
	switch b := s.outbox; {
	case b == nil || b.keys == nil:
		return nil
	case !hold:
		return b.keys.items.places[key]
	default:
		k := b.keys.held.places[key]
		if k != nil && k.walks != s.server.shard(s.loop).publishes.walks.Load() {
			return nil
		}
		return k
	}
}

// sendKeyed borrows m, or shares p if it is not nil, and queues it with its key. It
// calls with.Merge without a lock, so the message that waits may have left or been
// replaced meanwhile: then it looks again.
func (s *Session) sendKeyed(m Message, p *Prepared, with SendOptions, inTurn bool) error {
	var merged Message
	var of *keyed // what merged was made of, when it had this change
	var change uint64
	for try := 0; ; try++ {
		s.mu.Lock()
		if s.over(inTurn) {
			s.mu.Unlock()
			return ErrClosed
		}
		hold := !inTurn && s.mustWait()
		k := s.waiting(with.Key, hold)
		mergeable := k != nil && with.Merge != nil
		if mergeable && k == of && k.change == change {
			m, p, mergeable = merged, nil, false
		} else if mergeable && try == maxMergeTries {
			k, mergeable = nil, false
		}
		if !mergeable {
			run, err := s.putKeyed(m, p, with, k, hold)
			s.mu.Unlock()
			if run {
				s.post()
			}
			return err
		}
		of, change = k, k.change
		waiting := s.outbox.at(k, hold).message()
		waiting.Data = append([]byte(nil), waiting.Data...)
		s.mu.Unlock()
		merged = s.merged(with.Merge, waiting, m, inTurn)
		if !merged.checked() && !wsframe.ValidText(merged.Data) {
			if !inTurn {
				return ErrNotUTF8
			}
			of, try = nil, maxMergeTries-1 // there is no caller to tell: it gets a place of its own
		}
	}
}

// merged calls merge. On the loop the watchdog sees it, and a panic closes the
// session; elsewhere a panic is the caller's own.
func (s *Session) merged(merge func(waiting, next Message) Message, waiting, next Message, onLoop bool) Message {
	if onLoop {
		s.enter(callMerge)
		defer s.server.shard(s.loop).mark.leave()
	}
	return merge(waiting, next)
}

// at borrows the packet at k.
func (b *outbox) at(k *keyed, held bool) *outgoing {
	if held {
		return &b.held.All()[b.keys.held.at(k)]
	}
	return &b.items.All()[b.keys.items.at(k)]
}

// putKeyed borrows m, or shares p, and puts it at k, or behind all where k is nil. It
// reports whether a run has to be posted. s.mu is held.
func (s *Session) putKeyed(m Message, p *Prepared, with SendOptions, k *keyed, hold bool) (run bool, err error) {
	o := outgoing{prepared: p, kind: packet.Message, binary: m.Binary, plain: with.NoCompress, sent: with.Sent}
	if p == nil {
		o.data = pool.Frames.Get(len(m.Data))
		o.data.Append(m.Data)
	}
	before, walks := 0, s.server.shard(s.loop).publishes.walks.Load() // before it has its entry: none of these walks is behind it
	if k == nil {
		err = s.put(o, hold)
	} else {
		before = s.outbox.bytes
		err = s.replace(k, o, hold)
	}
	switch {
	case err != nil:
		o.release()
	case k != nil && hold:
		if k.merge != nil { // without, what is held is to replace what waits, whatever was merged with it since
			k.merge = with.Merge
		}
	case k != nil:
		if s.crosses(before, s.outbox.bytes) {
			return s.needsRun(), nil
		}
	case hold:
		s.outbox.index().held.add(&keyed{key: with.Key, walks: walks, merge: with.Merge}, s.outbox.held.Len())
	default:
		s.outbox.index().items.add(&keyed{key: with.Key}, s.outbox.items.Len())
	}
	if err == nil && (hold || k != nil) || err != nil && !s.sealed() {
		return false, err // its entry, or the run of what it has replaced, is to come; or it was dropped
	}
	return s.needsRun(), err
}

// replace takes o in the place of the packet at k, unless it returns an error as
// book does. s.mu is held.
func (s *Session) replace(k *keyed, o outgoing, held bool) error {
	old := s.outbox.at(k, held)
	if err := s.refusesMore(o.size()-old.size(), s.adds(&o, old)); err != nil {
		s.countRefused(err, 0)
		if s.server.options.Queue.Overflow != OverflowDrop {
			s.overflow(err)
		}
		return err
	}
	s.exchange(k, o, held)
	return nil
}

// adds is what the loop's budget has more with o in the place of old, in bytes.
func (s *Session) adds(o, old *outgoing) int64 {
	sh := s.server.shard(s.loop)
	n := int64(o.size() - o.shared() - old.size() + old.shared())
	if o.prepared == old.prepared {
		return n
	}
	if o.prepared != nil {
		n += sh.firstShare(o.prepared)
	}
	if old.prepared != nil && sh.heldPlaces(old.prepared).Load() == 1 {
		n -= old.prepared.weight()
	}
	return n
}

// exchange puts o, which is not counted yet, in the place of the packet at k, which
// counts no more and is released. Its SendOptions.Sent is not called. s.mu is held.
func (s *Session) exchange(k *keyed, o outgoing, held bool) {
	b, sh := s.outbox, s.server.shard(s.loop)
	old := b.at(k, held)
	own := b.own()
	b.bytes += o.size() - old.size()
	b.shared += o.shared() - old.shared()
	s.charge(b.own() - own)
	if o.prepared != nil {
		sh.share(o.prepared)
	}
	if old.prepared != nil {
		sh.unshare(old.prepared)
	}
	o.joined = old.joined
	old.release()
	*old = o
	k.change++
}

// letGo lets the first packet that is held be taken, behind those that may be, and
// those that are joined to it. One with a key takes the place of what waits with
// it. It is called on the loop.
func (s *Session) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for first := true; s.outbox != nil && s.outbox.held.Len() > 0; first = false {
		if b := s.outbox; !first && !b.held.First().joined {
			return
		}
		for try := 0; !s.letGoFirst(try < maxMergeTries); try++ { // it was replaced meanwhile
		}
	}
}

// maxMergeTries is how often a message is merged anew because the one that waits has
// changed meanwhile. Then it has a place of its own: a Merge that sends messages of
// its own key must not hold up its loop.
const maxMergeTries = 8

// letGoFirst lets the first packet that is held go, unless it was replaced while it
// was merged; without mayMerge it has a place of its own instead. s.mu is held,
// except during the call of Merge.
func (s *Session) letGoFirst(mayMerge bool) (gone bool) {
	b := s.outbox
	var k, waiting *keyed
	if b.keys != nil {
		if order := &b.keys.held.order; order.Len() > 0 && (*order.First()).number == b.keys.held.first {
			k = *order.First()
			waiting = b.keys.items.places[k.key]
		}
	}
	var merged *outgoing
	if waiting != nil && k.merge != nil && !mayMerge {
		waiting = nil
	}
	if waiting != nil && k.merge != nil {
		changes := [2]uint64{k.change, waiting.change}
		m, ok := s.mergeHeld(k, waiting)
		switch {
		case s.outbox != b || b.keys == nil: // the session has ended
			return true
		case changes != [2]uint64{k.change, waiting.change}:
			return false
		case ok:
			merged = s.mergedPacket(m, k, waiting)
		}
		if merged == nil {
			waiting = nil // each has a place of its own
		}
	}
	o := b.held.Pop()
	if b.keys != nil {
		b.keys.held.drop(1)
	}
	own := b.own()
	b.bytes -= o.size()
	b.shared -= o.shared()
	b.packets -= o.packets()
	switch {
	case waiting == nil:
		b.push(o)
		if k != nil {
			b.keys.items.add(&keyed{key: k.key}, b.items.Len())
		}
		return true
	case merged != nil:
		s.uncount(&o)
		o = *merged
	case o.prepared != nil: // exchange counts it once more
		defer s.server.shard(s.loop).unshare(o.prepared)
	}
	s.charge(b.own() - own)
	s.exchange(waiting, o, false)
	return true
}

// uncount releases what has left the outbox.
func (s *Session) uncount(o *outgoing) {
	if o.prepared != nil {
		s.server.shard(s.loop).unshare(o.prepared)
	}
	o.release()
}

// mergeHeld merges what is held at k with what waits, without the lock. It reports
// whether the result can be sent.
func (s *Session) mergeHeld(k, waiting *keyed) (m Message, ok bool) {
	old, next, merge := s.outbox.at(waiting, false).message(), s.outbox.at(k, true).message(), k.merge
	old.Data, next.Data = append([]byte(nil), old.Data...), append([]byte(nil), next.Data...)
	s.mu.Unlock()
	defer s.mu.Lock()
	returned := false
	defer s.rescue(&returned)
	m = s.merged(merge, old, next, true)
	returned = true
	return m, m.checked() || wsframe.ValidText(m.Data)
}

// mergedPacket copies m into a packet for the place of what waits, or returns nil
// if there is no room for what it has more than both. s.mu is held.
func (s *Session) mergedPacket(m Message, k, waiting *keyed) *outgoing {
	o, held := &outgoing{kind: packet.Message, binary: m.Binary}, s.outbox.at(k, true)
	o.plain, o.sent = held.plain, held.sent
	o.data = pool.Frames.Get(len(m.Data))
	o.data.Append(m.Data)
	more := o.size() - held.size() - s.outbox.at(waiting, false).size()
	if s.refusesMore(more, int64(more)) != nil {
		o.release()
		return nil
	}
	return o
}
