package engine

import (
	"time"

	"turbine/internal/fifo"
	"turbine/pool"
	"turbine/wsframe"
)

const (
	// packAtOnce is the size in bytes up to which a message is compressed at once: one
	// batch. A larger one is alone in its batch, and is compressed in portions.
	packAtOnce = batchBytes
	// packShare is how long a loop may compress large messages, of all connections
	// together, until other work has had its turn, and one step of wsframe.Packing
	// more. It is as long as the loop's own portions.
	packShare = 200 * time.Microsecond
	// messageCredit is what a message costs of a client's credit in addition to its bytes.
	messageCredit = 64
)

// A packing is a large message that is compressed in portions, between which others
// have their turn. A loop has one at a time. Meanwhile its session is given no other
// message, and is not read from: what it has asked for would pile up, since inflating
// is quicker than this. The message does not count for the session any more, and does
// not wait for the client yet.
//
// Others whose next message is a large one wait in line for their turn, with the
// message in their outbox, and are not read from either.
//
// A client that is always sent large messages has to be heard nevertheless: each message
// that is whole is a credit of packAtOnce bytes that are read meanwhile, so no more large
// messages come in than go out.
type packing struct {
	spent   time.Duration        // since the task has run
	session *Session             // whose message is under way; nil when none is
	waiting fifo.Queue[*Session] // sessions with packWaits, and those that have closed since
	turn    *Session             // that was the first of these, and may begin
	posted  bool                 // a packTask is to come: always where session or waiting are
	hurry   bool                 // a connection says goodbye: nothing of it waits

	prepared *Prepared // the message, where it is compressed for all
	plain    *pool.Buf // where it is not
	out      *pool.Buf // what plain has become so far
	binary   bool
	work     wsframe.Packing
	sent     func() // SendOptions.Sent
}

// isLarge reports whether o, which is to be compressed, takes portions.
func (t *websocket) isLarge(o *outgoing) bool {
	return o.dataLen() > packAtOnce && !(t.sharesDeflated(o) && o.prepared.isDeflated(t.session.revision))
}

// mayPack reports whether the session's next message may be given to its compressed
// connection. If that is a large message, and it is not its turn, the session stands
// in line, and is flushed once it is.
func (s *Session) mayPack() bool {
	sh := s.server.shard(s.loop)
	p := &sh.packing
	switch {
	case p.session == s && !p.hurry:
		return false
	case p.hurry, p.session == nil && p.spent < packShare && (p.waiting.Len() == 0 || p.turn == s):
		return true
	case !s.nextIsLarge():
		return true
	}
	if e := s.rare(); !e.packWaits {
		e.packWaits = true
		p.waiting.Push(s)
		sh.postPacking()
	}
	return false
}

// nextIsLarge reports whether the next message takes portions.
func (s *Session) nextIsLarge() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outbox == nil || s.outbox.idle() {
		return false
	}
	o := s.outbox.items.First()
	return o.frames == 0 && s.compresses(o) && s.websocket.isLarge(o)
}

// packs reports whether a large message of the session is compressed, or waits for
// that.
func (s *Session) packs() bool {
	return s.server.shard(s.loop).packing.session == s || s.extra != nil && s.extra.packWaits
}

// mayReadOn reports whether the client has credit left.
func (s *Session) mayReadOn() bool { return s.extra != nil && s.extra.unread.credit > 0 }

// useCredit counts a message of size bytes that was read.
func (s *Session) useCredit(size int) {
	if s.mayReadOn() {
		s.extra.unread.credit -= size + messageCredit
	}
}

// pack begins with o, which is borrowed, and reports false where another message is
// under way: it was sent between mayPack and now.
func (t *websocket) pack(o *outgoing) bool {
	s := t.session
	sh := s.server.shard(s.loop)
	p := &sh.packing
	if p.session != nil || p.hurry {
		return false
	}
	p.session = s
	if o.sent != nil { // send has noted it as one that waits for the connection
		e := s.rare()
		last := len(e.sent) - 1
		p.sent, e.sent = e.sent[last], e.sent[:last]
	}
	if t.sharesDeflated(o) {
		p.prepared = o.prepared
	} else {
		p.plain, p.binary = s.frameContent(o)
		p.out = pool.Frames.Get(p.plain.Len() + p.plain.Len()/512) // in most cases it is enough
		p.work.Begin(t.deflate, s.takeover(), p.plain.Bytes())
	}
	if !sh.packOn() {
		sh.postPacking()
	}
	return true
}

// packOn continues with the message for what is left of the share, and gives it to
// its connection once it is whole, which it reports.
func (sh *shard) packOn() (whole bool) {
	p := &sh.packing
	for begun := sh.loop.Look(); ; {
		whole = p.step()
		now := sh.loop.Look()
		p.spent += now - begun
		begun = now
		if whole {
			sh.packed()
			return true
		}
		if p.spent >= packShare {
			return false
		}
	}
}

func (p *packing) step() (whole bool) {
	if p.prepared != nil {
		return p.prepared.pack(p.session.revision)
	}
	out, whole := p.work.Step(p.out.Tail())
	p.out.SetTail(out)
	return whole
}

// packed gives the connection the message, which is whole.
func (sh *shard) packed() {
	p := &sh.packing
	s := p.session
	t := &s.websocket
	if p.sent != nil {
		s.rare().sent = append(s.rare().sent, p.sent)
		t.conn.WantDrained()
	}
	if p.prepared != nil {
		t.conn.WriteBuf(p.prepared.deflated(s.revision, &sh.compressor))
	} else {
		t.writeCompressed(p.out.Bytes(), p.binary)
	}
	sh.dropPacking(s)
	if s.extra != nil {
		s.extra.unread.credit = packAtOnce
	}
}

// dropPacking forgets the message that is under way, if it is one of s.
func (sh *shard) dropPacking(s *Session) {
	p := &sh.packing
	if p.session != s {
		return
	}
	p.work.End()
	if p.plain != nil {
		p.plain.Release()
		p.out.Release()
	}
	p.session, p.prepared, p.plain, p.out, p.sent = nil, nil, nil, nil, nil
}

// flushAll gives the connection, which is to end, all that it takes, and compresses
// it at once.
func (t *websocket) flushAll() {
	s := t.session
	if !t.deflate.Accepted {
		s.flush()
		return
	}
	sh := s.server.shard(s.loop)
	p := &sh.packing
	if p.session == s {
		for !p.step() {
		}
		sh.packed()
	}
	before := p.hurry
	p.hurry = true
	defer func() { p.hurry = before }() // also where a callback ends the goroutine
	s.flush()
}

// packTask is a shard as the Task that compresses large messages.
type packTask shard

func (t *packTask) Run() {
	sh := (*shard)(t)
	p := &sh.packing
	p.posted, p.spent = false, 0
	defer func() { // also where a callback ends the goroutine
		p.turn = nil
		if p.session != nil || p.waiting.Len() > 0 {
			sh.postPacking()
		}
	}()
	if s := p.session; s != nil && sh.packOn() {
		s.continueBehindPacking()
	}
	for p.waiting.Len() > 0 && p.session == nil && p.spent < packShare {
		s := p.waiting.Pop()
		s.extra.packWaits = false
		p.turn = s
		begun := sh.loop.Look()
		spent := p.spent
		s.continueBehindPacking()
		p.spent = max(p.spent, spent+sh.loop.Look()-begun) // with what callbacks take
	}
}

// postPacking has the loop compress once others had their turn.
func (sh *shard) postPacking() {
	if p := &sh.packing; !p.posted {
		p.posted = sh.loop.Post((*packTask)(sh)) == nil // a stopped loop has closed them
	}
}

// continueBehindPacking gives the client what waits for it, and reads on if no large
// message is among that, or the client has credit.
func (s *Session) continueBehindPacking() {
	if s.state == sessionClosed {
		return
	}
	s.askAnew() // a ping may have waited, too
	s.flush()
	t := &s.websocket
	switch {
	case s.state == sessionClosed || t.conn == nil || s.has(publicPaused) || s.packs() && !s.mayReadOn():
	case s.posts(): // in front of what is unread: goOn is to come
	case s.unread():
		s.server.shard(s.loop).stand(s)
	case s.extra != nil && s.extra.unread.over:
		t.EOF() // which waits where a large message is compressed
	}
}
