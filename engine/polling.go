package engine

import (
	"net/netip"
	"time"

	"turbine/engine/packet"
	"turbine/pool"
)

// polling is the HTTP long-polling transport: two independent slots.
//
//	| slot | state     | event                                  | next   | does
//	| poll | idle      | GET                                    | waiting | flush at once if packets wait
//	| poll | waiting   | packets to send                        | idle   | 200, whole packets up to MaxPayload, at least one
//	| poll | waiting   | candidate probed, noopPace since the last noop | idle | 200 noop
//	| poll | waiting   | client's close packet                  | idle   | 200 noop
//	| poll | waiting   | session closes                         | idle   | 200 close packet
//	| poll | idle      | GET, more than MaxPolls wait           | closed | 503; transport error
//	| poll | waiting   | second GET                             | closed | first: 200 close packet, second: 400; transport error
//	| data | idle      | POST head                              | receiving | -
//	| data | receiving | body complete                          | idle   | decode, deliver in order, 200 "ok"
//	| data | receiving | body complete, the application is behind | held | decode, deliver in order
//	| data | held      | the application has caught up, session closes | idle | 200 "ok"
//	| data | receiving, held | second POST                      | closed | first: connection aborted, second: 400; transport error
//	| data | receiving | undecodable, too many packets / close packet inside | closed | 400, parse error / 200, transport close
//	| both | waiting, receiving, held | connection lost         | closed | transport error
//
// A session that closes without a waiting poll tells the next one: noop and
// close, or what was queued and close.
type polling struct {
	session *Session
	poll    *exchange // the waiting GET
	data    *exchange // the POST being received
	ending  bool      // the next poll is the last
	held    bool      // data was received, and is answered when the application has caught up
	hurried bool      // a POST was answered although the application had not; see hurries
	jsonp   []byte    // the index of the client's callback; nil without JSONP
	remote  netip.AddrPort
	heardBy time.Duration // when the client has to be heard of again after its handshake; 0 once it was
}

func (p *polling) kind() Transport { return Polling }

func (p *polling) ready() bool { return p.poll != nil }

// park makes x the waiting poll.
func (p *polling) park(x *exchange) {
	p.poll = x
	p.session.server.shard(p.session.loop).tally.polls.Add(1)
}

// unpark takes the waiting poll.
func (p *polling) unpark() *exchange {
	x := p.poll
	p.poll = nil
	p.session.server.shard(p.session.loop).tally.polls.Add(-1)
	return x
}

// maxPollPackets bounds the packets in one response, for the client's sake.
const maxPollPackets = 16_384

func (p *polling) limits() (bytes, packets int) {
	return p.session.server.options.MaxPayload, maxPollPackets
}

// send answers the waiting poll with the batch.
func (p *polling) send(batch []outgoing) {
	s := p.session
	shard := s.server.shard(s.loop)
	packets := shard.packets[:0]
	for i := range batch {
		packets = append(packets, batch[i].packet())
	}
	last := p.ending
	if last {
		packets = append(packets, packet.Packet{Type: packet.Close})
		s.traceOwn(closePayload...)
	}
	p.respond(packets, worthPacking(batch))
	clear(packets)
	shard.packets = packets[:0]
	for i := range batch {
		batch[i].release()
	}
	for i := range batch {
		if f := batch[i].sent; f != nil && s.state != sessionClosed {
			s.tellSent(f)
		}
	}
	if last {
		s.ended()
	}
}

// worthPacking reports whether a packet of the batch may be compressed.
func worthPacking(batch []outgoing) bool {
	for i := range batch {
		if !batch[i].plain {
			return true
		}
	}
	return false
}

// respond answers the waiting poll with a payload, compressed where the client
// and the options allow. It borrows packets.
func (p *polling) respond(packets []packet.Packet, compress bool) {
	s, x := p.session, p.unpark()
	x.farewell = packets[len(packets)-1].Type == packet.Close
	contentType := typeText
	if p.jsonp == nil && s.revision.BinaryPayload(packets, s.base64) {
		contentType = typeOctets
	}
	size := s.revision.PayloadSize(packets, s.base64 || p.jsonp != nil)
	compress = compress && x.encoding != encodingNone && size >= s.server.options.CompressionThreshold
	if p.jsonp == nil && !compress {
		b := x.from.responseHead(s.loop, 200, contentType, size)
		b.SetTail(s.revision.AppendPayload(b.Tail(), packets, s.base64))
		x.send(s.loop, b)
		return
	}
	p.respondWrapped(x, contentType, packets, compress)
}

// answerOwn is respond for packets of the protocol's own.
func (p *polling) answerOwn(packets []packet.Packet) {
	p.session.traceOwn(packets...)
	p.respond(packets, false)
}

// respondWrapped is respond for a body that has to be made before its length
// is known.
func (p *polling) respondWrapped(x *exchange, contentType string, packets []packet.Packet, compress bool) {
	s := p.session
	shard := s.server.shard(s.loop)
	body := s.revision.AppendPayload(shard.scratch[:0], packets, s.base64 || p.jsonp != nil)
	shard.scratch = body[:0]
	if p.jsonp != nil {
		wrapped := pool.Payloads.Get(len(body) + len(body)/4)
		defer wrapped.Release()
		wrapped.SetTail(packet.AppendJSONP(wrapped.Tail(), p.jsonp, body))
		body = wrapped.Bytes()
	}
	if compress {
		packed := pool.Payloads.Get(len(body))
		defer packed.Release()
		packed.SetTail(shard.encoder.encode(x.encoding, packed.Tail(), body))
		body = packed.Bytes()
		x.okay = append(x.okay, "Content-Encoding: "+x.encoding.String()+"\r\n"...)
	}
	b := x.from.responseHead(s.loop, 200, contentType, len(body))
	b.SetTail(append(b.Tail(), body...))
	x.send(s.loop, b)
	if cap(shard.scratch) > maxScratch {
		shard.scratch = nil
	}
}

// maxScratch is the size in bytes of the scratch that a loop keeps.
const maxScratch = 64 << 10

// Fixed payloads.
var (
	noopPayload      = []packet.Packet{{Type: packet.Noop}}
	closePayload     = []packet.Packet{{Type: packet.Close}}
	noopClosePayload = []packet.Packet{{Type: packet.Noop}, {Type: packet.Close}}
)

// noopPace is the least time between two noops that free a client for an upgrade. A
// client polls again at once while its WebSocket's answer is held back somewhere, and
// would poll as fast as it is answered.
const noopPace = 100 * time.Millisecond

// holdsUp reports whether a poll waits that keeps the client from an upgrade.
func (p *polling) holdsUp() bool {
	u := p.session.upgrade
	return p.poll != nil && u != nil && u.state == upgradeProbed
}

// releaseInTurn is release as soon as noopPace lets it: at once, or by the alarm.
func (p *polling) releaseInTurn(now time.Duration) {
	switch u := p.session.upgrade; {
	case now < u.noopAt:
		p.session.arm()
	case p.poll != nil:
		u.noopAt = now + noopPace
		p.release()
	}
}

// release answers a waiting poll with a noop, to free the client for an
// upgrade. A noop that is lost on its way is no loss to the session.
func (p *polling) release() {
	if p.poll != nil {
		p.poll.session = nil
		p.answerOwn(noopPayload)
	}
}

// arrived handles a request with the session's id, and reports whether its body
// is waited for.
func (p *polling) arrived(x *exchange) (receiving bool) {
	p.heardBy = 0
	if d := p.session.server.debug.polling.Load(); d != nil {
		d.Debug("request", "session", p.session.PublicID(), "post", x.method == methodPOST)
	}
	if cookie := p.session.server.options.Cookie; cookie != nil && cookie.EveryResponse {
		x.okay = append(cookie.append(nil, []byte(p.session.ID()), x.secure), x.okay...)
	}
	switch x.method {
	case methodGET:
		p.get(x)
	case methodPOST:
		return p.post(x)
	default:
		x.answer(p.session.loop, 500, "", "")
	}
	return false
}

func (p *polling) get(x *exchange) {
	s := p.session
	if p.poll != nil {
		x.answer(s.loop, 400, "", "")
		s.fail(ErrPollOverlap)
		return
	}
	p.park(x)
	x.session = s
	s.forgive()
	s.flush()
	if p.holdsUp() {
		p.releaseInTurn(s.loop.Now())
	}
	switch {
	case p.poll == nil: // answered
	case s.server.shard(s.loop).tally.polls.Load() > s.server.shares.polls:
		s.server.met(LimitPolls, s.loop)
		p.unpark()
		x.headers = s.server.appendRetryAfter(x.headers)
		x.answer(s.loop, 503, "", "")
		s.fail(ErrTooManyPolls)
	}
}

func (p *polling) post(x *exchange) (receiving bool) {
	s := p.session
	switch {
	case p.data != nil:
		x.answer(s.loop, 400, "", "")
		s.fail(ErrDataOverlap)
	case x.octets && s.revision != Revision3:
		x.answer(s.loop, 400, "", "")
		s.fail(ErrContentType)
	default:
		p.data, x.session = x, s
		return true
	}
	return false
}

// received handles the body of the running POST. It borrows body and may
// change it.
func (p *polling) received(x *exchange, body []byte) {
	s := p.session
	p.data, x.session = nil, nil
	if p.jsonp != nil {
		payload, ok := packet.JSONPBody(body)
		if !ok { // a form without its one field is ignored, as the reference server does
			x.answer(s.loop, 200, typeHTML, "ok")
			return
		}
		body = payload
	}
	if s.posts() {
		s.follow(body, x.octets)
		p.decoded(x, nil)
		return
	}
	s.beginMessages()
	p.decoded(x, s.decode(body, x.octets, 0))
	s.endMessages()
}

// decoded answers the POST, unless the client has to wait: for the application, or
// for another turn. x is nil where it was answered already.
func (p *polling) decoded(x *exchange, err error) {
	s := p.session
	switch {
	case err != nil:
		if x != nil {
			x.answer(s.loop, 400, "", "")
		}
		s.flush()
		s.fail(err)
	case x == nil:
	case s.state != sessionClosed && (s.has(publicPaused) || s.lags()) && !p.hurries():
		p.data, x.session, p.held = x, s, true
	default:
		x.answer(s.loop, 200, typeHTML, "ok")
	}
}

// takeHeld takes the POST whose answer is held back; nil if there is none.
func (p *polling) takeHeld() (x *exchange) {
	if p.held {
		x = p.data
		p.data, p.held, x.session = nil, false, nil
	}
	return x
}

// letGo continues with what was posted. Once all of it was taken, it answers the POST
// that was held: the client may send the next one.
func (p *polling) letGo() {
	if p.session.posts() {
		p.session.decodeOn()
		return
	}
	if x := p.takeHeld(); x != nil {
		x.answer(p.session.loop, 200, typeHTML, "ok")
	}
}

// hurries reports whether a POST is answered although the client should wait: a client
// that upgrades has closed its poll and waits for the answer, so that it can neither
// be pinged nor go on. One POST of a session is: official clients try to upgrade once,
// and one that tries again and again must not get past the limits of what waits.
func (p *polling) hurries() bool {
	if u := p.session.upgrade; u == nil || u.state != upgradeProbed || p.hurried {
		return false
	}
	p.hurried = true
	return true
}

// hurry answers a POST that is held back from a client whose probe was answered.
func (p *polling) hurry() {
	if p.held && p.hurries() {
		p.takeHeld().answer(p.session.loop, 200, typeHTML, "ok")
	}
}

// decode delivers the packets of a payload in order, of which n are done, until
// one is malformed or above the limit, the session is over, or its turn is. What
// is left then waits for another turn.
func (s *Session) decode(body []byte, octets bool, n int) error {
	next := s.revision.Next
	if octets {
		next = s.revision.NextBinary
	}
	turn := beginTurn(s.loop)
	for rest := body; ; n++ {
		if n == s.server.options.Limits.MaxPayloadPackets {
			s.server.met(LimitPayloadPackets, s.loop)
			return ErrTooManyPackets
		}
		var pk packet.Packet
		var err error
		if pk, rest, err = next(rest); err != nil {
			return err
		}
		if pk.Type == packet.Close && !pk.Binary {
			s.traceIn(s.Transport(), pk)
			if p, ok := s.transport.(*polling); ok {
				s.flush()
				p.release()
			}
			s.close(ReasonTransportClose, nil)
			return nil
		}
		s.packet(pk)
		if rest == nil || s.state == sessionClosed {
			return nil
		}
		if turn.over(s.server.shard(s.loop)) {
			s.setAside(rest, octets, n+1)
			return nil
		}
	}
}

// end tells the client at the waiting poll, or at the next one.
func (p *polling) end() {
	if p.poll == nil {
		p.ending = true
		return
	}
	if p.ending {
		p.answerOwn(noopClosePayload)
	} else {
		p.answerOwn(closePayload)
	}
	p.session.ended()
}

func (p *polling) closed(Reason) {
	if p.poll != nil {
		p.answerOwn(closePayload)
	}
	if x := p.takeHeld(); x != nil { // what it brought was taken, or waits in the session
		x.answer(p.session.loop, 200, typeHTML, "ok")
	}
	if p.data != nil {
		p.data.abort(p.session.loop)
		p.data = nil
	}
}

// lost handles the loss of a connection that a request was waiting on.
func (p *polling) lost(x *exchange) {
	err := ErrPollLost
	switch x {
	case p.poll:
		p.unpark()
	case p.data:
		p.data, p.held, err = nil, false, ErrDataLost
	default:
		return
	}
	if x.cut {
		err = ErrBudget
	}
	p.session.fail(err)
}

// exchangeLost is called on the home loop, for an exchange that the session
// holds.
func (s *Session) exchangeLost(x *exchange) {
	x.session = nil
	s.transport.(*polling).lost(x)
}
