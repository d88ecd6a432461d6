package engine

import (
	"net/netip"
	"time"

	"turbine/engine/packet"
	"turbine/pool"
	"turbine/wsframe"
)

// Send borrows m and queues a copy for the client. Messages arrive in the order of
// the calls, once each, or the session is closed with a reason. A message that is
// sent after a Broadcast or Publish of the same caller arrives after it. Send does
// not wait for the client. It returns ErrClosed when the session is closing or
// closed, ErrNotUTF8 for a text that is not UTF-8, ErrQueueFull above
// Options.Queue.MaxBytes or MaxPackets, and ErrBudget above Queue.Budget;
// Queue.Overflow says what becomes of the session then. Safe from any goroutine.
func (s *Session) Send(m Message) error { return s.SendWith(m, SendOptions{}) }

// SendOptions say how a message is sent. The zero value is Send.
type SendOptions struct {
	// NoCompress sends the message uncompressed, where compression is on.
	NoCompress bool
	// Sent is called, as the session's other callbacks are, when the message has been
	// given to the operating system (WebSocket) or to the connection of the poll that it
	// answers, in the order of the messages. It is never called if the session ends
	// before. Without Options.Executor it runs on the session's loop and must not block.
	Sent func()

	// Key, if it is not empty, lets the message take the place of a message with the
	// same key that waits for the session's client. The client then gets the newest
	// value of each key, and its queue is bounded by the number of keys. It is for
	// prices, positions and states, of which only the last matters.
	//
	// The new message has the place of the one that it replaces, so it may arrive ahead
	// of messages that were sent between the two. A message that was given to the
	// transport is not replaced: both arrive, in order. While a Broadcast or Publish is
	// under way, a message replaces only one that was sent after the last of these
	// calls; older messages of the key are replaced as soon as the walks have passed.
	//
	// The limits count the difference in size. A message that is no larger than the one
	// that it replaces is refused only by Queue.Budget, and only if one of the two is a
	// Prepared: a Prepared counts once for all sessions that it waits for, so replacing
	// it for one of them frees nothing. Sent of a replaced message is never called.
	// The key is kept while the message waits, and does not count for the limits.
	// (It is a string, since comparing strings allocates nothing.)
	Key string
	// Merge, if it is not nil, makes one message of the waiting message and of next, the
	// new one, both of the same Key: it is for changes to a state, which have to be
	// added up. Its result takes the place of the waiting message, with the options of
	// the new one. Merge is not called without a waiting message, nor without Key.
	//
	// It runs on the goroutine that sends, or on the session's loop if the message is
	// one of a Broadcast or Publish, or had to wait for one. No lock is held meanwhile,
	// so it may call any method of the Session. If the waiting message has left or
	// changed in the meantime, the result is dropped, and Merge is called again if
	// another message waits: therefore it must have no other effects. After 8 changes
	// both messages are sent. Messages that had to wait for a Broadcast or Publish are
	// merged with one another first, and their result with what waits: Merge has to be
	// associative.
	//
	// It borrows both messages and must not change them. The result may be one of them,
	// and is copied. If the result is text and not UTF-8, SendWith returns ErrNotUTF8;
	// on the loop both messages are sent instead. A panic reaches the caller, and
	// nothing is sent; on the loop it closes the session, as a panic of any callback.
	Merge func(waiting, next Message) Message
}

// SendWith is Send with options. Safe from any goroutine.
func (s *Session) SendWith(m Message, o SendOptions) error {
	if s.sealed() {
		return ErrClosed
	}
	if !m.checked() && !wsframe.ValidText(m.Data) {
		return ErrNotUTF8
	}
	s.tellMessageCreate(m.Binary, m.Data, &o, false) // it may panic: nothing is on loan yet
	if o.Key != "" {
		return s.sendKeyed(m, nil, o, false)
	}
	if o.Sent == nil && s.takesFrames(len(m.Data)) && !s.mustWait() {
		return s.queueFrame(m)
	}
	data := pool.Frames.Get(len(m.Data))
	data.Append(m.Data)
	err := s.queue(outgoing{data: data, kind: packet.Message, binary: m.Binary, plain: o.NoCompress, sent: o.Sent}, false)
	if err != nil {
		data.Release()
	}
	return err
}

// SendPrepared is Send for a message that many sessions get. It copies nothing. Safe
// from any goroutine.
func (s *Session) SendPrepared(p *Prepared) error {
	if p == nil {
		return ErrNotUTF8
	}
	return s.sendPrepared(p, false)
}

// sendPrepared is SendPrepared; inTurn is as for queue.
func (s *Session) sendPrepared(p *Prepared, inTurn bool) error {
	s.tellMessageCreate(p.binary, p.data, &p.with().SendOptions, inTurn)
	if p.with().Key != "" {
		return s.sendKeyed(Message{Data: p.data, Binary: p.binary}, p.root(), p.with().SendOptions, inTurn)
	}
	o := outgoing{prepared: p.root(), kind: packet.Message, binary: p.binary, plain: p.with().NoCompress, sent: p.with().Sent}
	return s.queue(o, inTurn)
}

// takesFrames reports whether a message of that many bytes can be encoded when it is
// sent. Once on WebSocket a session stays there, and what the answer depends on was
// set before Transport said so. A message that will be compressed cannot: compressing
// is the loop's work.
func (s *Session) takesFrames(bytes int) bool {
	return s.Transport() == WebSocket && !s.base64 && (!s.websocket.deflate.Accepted || bytes < s.server.deflateThreshold)
}

// queueFrame borrows m and queues it as a frame: a function of its own, since this
// is what most messages are.
func (s *Session) queueFrame(m Message) error {
	frame := frameSize(m, s.revision)
	s.mu.Lock()
	if s.sealed() {
		s.mu.Unlock()
		return ErrClosed
	}
	size := packetSize + frame
	err := s.book(size, size, 0, false)
	if err == nil {
		s.outbox.pushFrame(m, s.revision, frame)
	} else if !s.sealed() { // it was dropped
		s.mu.Unlock()
		return err
	}
	run := s.needsRun()
	s.mu.Unlock()
	if run {
		s.post()
	}
	return err
}

// queue takes o, unless it returns an error. inTurn says that its turn among what
// is published has come; without, it may have to wait for that.
func (s *Session) queue(o outgoing, inTurn bool) error {
	s.mu.Lock()
	if s.over(inTurn) {
		s.mu.Unlock()
		return ErrClosed
	}
	hold := !inTurn && s.mustWait()
	err := s.put(o, hold)
	if err == nil && hold || err != nil && !s.sealed() { // its entry is to come, or it was dropped
		s.mu.Unlock()
		return err
	}
	run := s.needsRun()
	s.mu.Unlock()
	if run {
		s.post()
	}
	return err
}

// needsRun notes that a run is to come, and reports whether the caller has to post
// it once it has unlocked: another one may be on its way. s.mu is held.
func (s *Session) needsRun() bool {
	wanted := !s.scheduled
	s.scheduled = true
	return wanted
}

// control queues a packet of the protocol's own, also while closing. One that
// waits already stands for all of its kind: only the last of many pings needs an
// answer. It does not wait for messages that are being compressed.
func (s *Session) control(kind packet.Type) error {
	if s.waits(kind) {
		return nil
	}
	s.tellOwnPacket(packet.Packet{Type: kind})
	if s.state == sessionClosed { // by a panic
		return ErrClosed
	}
	s.mu.Lock()
	if s.ends().drops() { // the run that closes the session is to come
		s.mu.Unlock()
		return ErrClosed
	}
	if s.packs() && s.websocket.conn.Ready() {
		s.mu.Unlock()
		s.deliver(append(s.server.shard(s.loop).batch[:0], outgoing{kind: kind}))
		return nil
	}
	err := s.put(outgoing{kind: kind}, false)
	run := s.ends().drops() && s.needsRun()
	s.mu.Unlock()
	if run {
		s.post()
	}
	return err
}

// waits reports whether a packet of the protocol's own is queued already.
func (s *Session) waits(kind packet.Type) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outbox != nil && s.outbox.ours&(1<<kind) != 0
}

// runTask is a Session as the Task that runs it.
type runTask Session

func (t *runTask) Run() { (*Session)(t).run() }

// post asks for a run. A loop that was stopped has closed the session already,
// or is about to.
func (s *Session) post() { _ = s.loop.Post((*runTask)(s)) }

// begin holds back the output until run: what callbacks send leaves at once.
func (s *Session) begin() {
	s.mu.Lock()
	s.scheduled = true
	s.behind = s.blocked()
	s.mu.Unlock()
}

// beginMessages is begin for what a client has sent, until endMessages. For the
// watchdog all of one read or post is one call of Events.Message: it holds up the loop
// together.
func (s *Session) beginMessages() {
	s.begin()
	if s.server.events.Message != nil && s.server.dispatch == nil {
		s.server.shard(s.loop).mark.begin(s)
	}
}

// endMessages runs the session behind its messages. (A function around both would be
// given a closure for each read, which costs more than the pair.)
func (s *Session) endMessages() {
	sh := s.server.shard(s.loop)
	sh.mark.end()
	s.runOn(sh)
}

// blocked reports whether the session's WebSocket takes nothing at present.
func (s *Session) blocked() bool { return s.websocket.conn != nil && s.websocket.conn.Blocked() }

// run gives the transport what it takes, and closes when that is all.
func (s *Session) run() { s.runOn(s.server.shard(s.loop)) }

// runOn is run on the session's loop, whose shard is sh.
func (s *Session) runOn(sh *shard) {
	var batch []outgoing
	more := true
	ready := s.state != sessionClosed && s.transport.ready()
	s.mu.Lock()
	s.scheduled = false
	ends := s.ends()
	if ready && !ends.drops() {
		batch, more = s.take(sh)
	}
	s.mu.Unlock()
	if ends.drops() {
		reason, cause := s.why()
		if reason == ReasonOverflow {
			s.server.meter.tell(s.server.options.Logger, s.loop.Clock(), netip.Addr{})
		}
		s.close(reason, cause)
		return
	}
	if s.state == sessionOpen && s.over(true) {
		s.become(sessionClosing)
		s.closing = uint32(s.loop.Now() / time.Millisecond)
		s.traceChange(TraceRecord{Event: TraceClosing})
		s.arm()
	}
	s.flushFrom(batch, more)
}

// flush hands over batches as long as the transport takes them.
func (s *Session) flush() { s.flushFrom(nil, true) }

// flushFrom is flush that begins with batch; more says whether more may wait.
func (s *Session) flushFrom(batch []outgoing, more bool) {
	if s.state == sessionClosed {
		return
	}
	if len(batch) > 0 {
		s.deliver(batch)
	}
	for more && s.state != sessionClosed && s.transport.ready() {
		if batch, more = s.takeBatch(); len(batch) > 0 {
			s.deliver(batch)
		}
	}
	if s.state == sessionClosed { // the batch was the last one
		return
	}
	left := 0
	if more {
		left = s.left()
	}
	s.tellWater(left)
	if s.state == sessionClosed { // by a panic
		return
	}
	if left > 0 {
		s.stalled = true
		return
	}
	if s.stalled {
		s.stalled = false
		s.tellDrain()
	}
	if s.state == sessionClosing && s.Buffered() == 0 {
		s.transport.end()
	}
}

// left is Buffered, and notes whether the client falls behind.
func (s *Session) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = s.blocked()
	if s.outbox == nil {
		return 0
	}
	if s.outbox.since == 0 {
		s.outbox.since = s.loop.Now()
	}
	return s.outbox.bytes
}

// deliver takes a batch, which is in the shard's room, and gives it to the
// transport.
func (s *Session) deliver(batch []outgoing) {
	shard := s.server.shard(s.loop)
	shard.batch = nil // callbacks may lead to another session's batch
	if d := s.server.debug.socket.Load(); d != nil {
		d.Debug("flushing", "session", s.PublicID(), "packets", countPackets(batch), "transport", s.Transport().String())
	}
	if s.server.events.Flush != nil && s.state != sessionClosed { // by a panic in PacketCreate
		s.tellFlush(countPackets(batch))
	}
	if s.state == sessionClosed { // by a panic
		for i := range batch {
			batch[i].release()
		}
		return
	}
	public := s.public.Load()
	if public&publicTraced != 0 {
		s.traceBatch(batch)
	}
	shard.tally.countSent(Transport(public), batch)
	s.transport.send(batch)
	clear(batch)
	shard.batch = batch[:0]
	if s.state != sessionClosed { // the batch may have been the last one
		s.tellFlushed()
	}
}

// takeBatch takes what the transport takes at a time, reports whether more
// waits, and notes whether the client falls behind. What is sent from then on
// asks for a run of its own, or one is to come.
func (s *Session) takeBatch() (batch []outgoing, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(s.server.shard(s.loop))
}

// take is takeBatch; sh is the session's shard. s.mu is held.
func (s *Session) take(sh *shard) (batch []outgoing, more bool) {
	bytes, packets := s.transport.limits()
	s.behind = s.blocked()
	if s.outbox == nil {
		return nil, false
	}
	before, own := s.outbox.bytes, s.outbox.own()
	batch = s.outbox.take(sh.batch[:0], bytes, packets, s.cost)
	sh.queued.Add(int64(s.outbox.own() - own))
	for i := range batch {
		if p := batch[i].prepared; p != nil {
			sh.unshare(p)
		}
	}
	if s.outbox.empty() {
		s.outbox.recycle()
		s.outbox = nil
		return batch, false
	}
	s.outbox.grow(s.loop.Now(), before)
	return batch, !s.outbox.idle()
}

// cost is the bound of what o takes in a payload, in bytes.
func (s *Session) cost(o *outgoing) int {
	if o.frames > 0 {
		return o.data.Len()
	}
	return s.revision.PayloadCost(o.packet(), s.base64)
}
