package engine

import (
	"errors"

	"turbine/httpparse"
	"turbine/loop"
	"turbine/pool"
)

// Home is a Server as other nodes see it: what they bring to its sessions.
type Home struct{ server *Server }

var errNoNode = errors.New("engine: a server without Options.Node is no home for other nodes")

// Home is for package cluster, which brings the requests of other nodes. It starts the
// loops, where they do not run yet: a node may have sessions to ask for before it
// listens. After the server's end it returns ErrServerClosed. Safe from any goroutine.
func (s *Server) Home() (Home, error) {
	if s.options.Node == nil {
		return Home{}, errNoNode
	}
	s.mu.Lock()
	driven := s.shards != nil && s.reactor == nil // by a Driver
	s.mu.Unlock()
	if driven {
		return Home{s}, nil
	}
	if _, err := s.start(func(*loop.Reactor) error { return nil }); err != nil {
		return Home{}, err
	}
	return Home{s}, nil
}

// Loops are the server's, on which links are. Safe from any goroutine.
func (h Home) Loops() []*loop.Loop {
	shards := h.server.allShards()
	loops := make([]*loop.Loop, len(shards))
	for i, sh := range shards {
		loops[i] = sh.loop
	}
	return loops
}

// A Guest is a request of a client whose connection is at another node, while it is at
// the node of its session. Its methods are called on the loop of Home.Arrive, in the order
// in which Peers was called, and do nothing after its end.
//
//	| state    | event                                  | next     | does
//	| -        | Arrive, GET                            | arrived  | exchange.arrive
//	| -        | Arrive, POST, its body comes with it   | expected | -
//	| -        | Arrive, POST                           | arrived  | exchange.arrive
//	| -        | Arrive, no such session here           | over     | Back.Answer, code 1
//	| expected | Body, last                             | complete | exchange.arrive with the body
//	| expected | Body, not last; Cancel, Lost           | arrived  | exchange.arrive, then as there
//	| arrived  | Body                                   | arrived  | gather
//	| arrived  | Body, last                             | complete | exchange.complete
//	| arrived  | Body over MaxPayload, BodyBudget       | complete | exchange.cancel
//	| arrived  | Cancel                                 | complete | exchange.cancel
//	| arrived, complete | Cancel(0)                     | same     | a waiting poll is given up: Back.Abort
//	| any      | answered, aborted                      | over     | Back.Answer, Back.Abort
//	| any      | Lost                                   | over     | exchange.lost
type Guest struct {
	exchange exchange // its home's, from arrived on
	server   *Server
	on       *loop.Loop
	back     Back
	body     *pool.Buf // gathered; nil without
	state    guestState
}

type guestState uint8

const (
	guestExpected guestState = iota + 1
	guestArrived
	guestComplete // there is no body to come
	guestOver
)

// Arrive takes a request that Peers.Arrive began at another node, and whose head it
// borrows. Its body comes by Guest.Body, at once if it came with the head. back may be
// called before Arrive returns. on is the loop of the link, one of Loops, on which Arrive
// is called. An error says that head is malformed: the link is to be closed.
func (h Home) Arrive(on *loop.Loop, head []byte, back Back) (*Guest, error) {
	a, err := parseArrival(head)
	if err != nil {
		return nil, err
	}
	s := h.server
	g := &Guest{server: s, on: on, back: back, state: guestArrived}
	x := &g.exchange
	*x = exchange{
		from: g, binding: a.binding, method: a.method, encoding: a.encoding, minor: 1, keepAlive: true, octets: a.octets, secure: a.secure,
		query: query{revision: a.revision, transport: a.transport, hasSID: true, base64: a.base64, jsonp: a.jsonp},
	}
	if x.query.sid, x.query.known = s.sidOf(a.id); x.query.known {
		x.home, _ = s.homeOf(&x.query.sid)
	}
	switch {
	case x.home == nil: // also an id of yet another node: a request goes from node to node once
		g.reject(refusedSID, "", "", "")
	case a.method == methodPOST && a.whole:
		g.state = guestExpected
	default:
		g.arrive()
	}
	return g, nil
}

// arrive brings the request to its session, ahead of its body.
func (g *Guest) arrive() {
	g.state = guestArrived
	g.exchange.arrive(nil, false)
}

// Body brings the next piece of a POST's body, and says whether it is the last. It
// borrows p, and may change it.
func (g *Guest) Body(p []byte, last bool) {
	x := &g.exchange
	if x.method != methodPOST || g.state > guestArrived {
		return
	}
	if g.state == guestExpected {
		if last && len(p) <= g.server.options.MaxPayload && (x.home == g.on || len(p) <= sparedMessage || g.affords(len(p))) {
			g.state = guestComplete
			x.arrive(p, true)
			return
		}
		if g.arrive(); g.state == guestOver {
			return
		}
	}
	switch size := g.gathered() + len(p); {
	case size > g.server.options.MaxPayload:
		g.fail(httpparse.ErrBodyBytes)
	case size > sparedMessage && !g.affords(len(p)):
		g.fail(errBodyBudget)
	case last:
		g.gather(p)
		g.state = guestComplete
		body := g.takeBody()
		x.complete(body)
		body.Release()
	default:
		g.gather(p)
	}
}

func (g *Guest) gathered() int {
	if g.body == nil {
		return 0
	}
	return g.body.Len()
}

// gather copies p, which counts for Options.Limits.BodyBudget.
func (g *Guest) gather(p []byte) {
	if g.body == nil {
		g.body = pool.Spills.Get(len(p))
	}
	g.body.Append(p)
	g.server.shard(g.on).bodies += int64(len(p))
}

func (g *Guest) takeBody() *pool.Buf {
	body := g.body
	g.body = nil
	g.server.shard(g.on).bodies -= int64(body.Len())
	return body
}

func (g *Guest) dropBody() {
	if g.body != nil {
		g.takeBody().Release()
	}
}

func (g *Guest) affords(n int) bool { return g.server.affords(g.on, g.exchange.home, n) }

// fail ends a body that cannot be used, as httpConn.failBody does.
func (g *Guest) fail(err *httpparse.Error) {
	if limit, ok := limitOf(err); ok {
		g.server.met(limit, g.on)
	}
	g.cancel(err)
}

func (g *Guest) cancel(err *httpparse.Error) {
	g.state = guestComplete
	g.dropBody()
	g.exchange.cancel(err)
}

// Cancel says that the body will not come, and with which status the client is to be
// answered, or, by status 0, that the client sends nothing more: a poll that waits is
// given up.
func (g *Guest) Cancel(status int) {
	if g.state == guestExpected {
		g.arrive()
	}
	switch {
	case g.state == guestOver:
	case status == 0:
		g.tellEnd()
	case g.state == guestArrived && g.exchange.method == methodPOST:
		g.cancel(bodyError(status))
	}
}

// bodyError is what ended a body at the node of the client, by its status. Only these
// mean more than their status.
func bodyError(status int) *httpparse.Error {
	for _, known := range [...]*httpparse.Error{httpparse.ErrBodyBytes, errBodyBudget, errTimeout} {
		if known.Status == status {
			return known
		}
	}
	return &httpparse.Error{Status: 400, Reason: "body cut off"}
}

// tellEnd is httpConn.tellEnd for a guest.
func (g *Guest) tellEnd() {
	x := &g.exchange
	if x.home == g.on {
		if x.giveUp() {
			g.aborted()
		}
		return
	}
	_ = x.home.Post(requestTask{g, func() { // a stopped loop has closed the session
		if x.giveUp() {
			_ = g.on.Post(loop.Func(g.aborted)) // a stopped loop has ended the link
		}
	}})
}

// Lost says that the client's connection is gone, or the link: nothing goes back any more.
func (g *Guest) Lost(overBudget bool) {
	if g.state == guestOver {
		return
	}
	expected := g.state == guestExpected
	g.end()
	if expected { // the session is to know that it has lost a body
		g.exchange.arrive(nil, false)
	}
	g.exchange.cut = overBudget
	g.exchange.lost()
}

// Release answers a poll that waits with a noop, since the client's node drains: the next
// poll of the client may come by another node.
func (g *Guest) Release() {
	x := &g.exchange
	switch {
	case g.state == guestOver || x.method != methodGET:
	case x.home == g.on:
		x.release()
	default:
		_ = x.home.Post(requestTask{g, x.release}) // a stopped loop has closed the session
	}
}

// release is called on the home loop.
func (x *exchange) release() {
	if s := x.session; s != nil {
		if p := s.transport.(*polling); p.poll == x {
			p.release()
		}
	}
}

// end is the only way to guestOver.
func (g *Guest) end() {
	g.state = guestOver
	g.dropBody()
}

// The way back, as the exchange of a Guest sees it.

func (g *Guest) engine() *Server { return g.server }

func (g *Guest) current() *exchange { return &g.exchange }

func (g *Guest) loop() *loop.Loop { return g.on }

// responseHead begins an answer: the client's node makes the head of it.
func (g *Guest) responseHead(_ *loop.Loop, status int, contentType string, length int) *pool.Buf {
	x := &g.exchange
	return newAnswer(&homeAnswer{status: status, contentType: contentType, farewell: x.farewell, okay: x.okay, headers: x.headers}, length)
}

// reject sends the refusal to the client's node, which counts it and tells its
// application.
func (g *Guest) reject(refused *refusal, name, detail, previous string) {
	on := g.exchange.home
	if on == nil {
		on = g.on
	}
	g.exchange.send(on, newAnswer(&homeAnswer{refused: refused, name: name, detail: detail, previous: previous}, 0))
}

func (g *Guest) answered(response *pool.Buf) (taken bool) {
	if g.state == guestOver {
		return false
	}
	g.end()
	g.back.Answer(response)
	return true
}

func (g *Guest) aborted() {
	if g.state != guestOver {
		g.end()
		g.back.Abort()
	}
}

func (g *Guest) abandon() { _ = g.on.Post(loop.Func(g.aborted)) } // a stopped loop has ended the link

// Note takes what Peers.Note was given at another node, about a session here. It borrows
// p. on is as for Arrive. An error says that p is malformed: the link is to be closed.
func (h Home) Note(on *loop.Loop, p []byte) error {
	kind, text, err := parseNote(p)
	if err != nil || kind != noteGone && kind != noteRetire {
		return err // nothing, for a kind of a later version
	}
	s := h.server
	id, ok := s.sidOf(text)
	if !ok {
		return nil
	}
	home, _ := s.homeOf(&id)
	switch home {
	case nil:
	case on:
		s.noted(home, id, kind)
	default:
		_ = home.Post(loop.Func(func() { s.noted(home, id, kind) })) // a stopped loop has closed it
	}
	return nil
}

// noted is called on the home loop.
func (s *Server) noted(home *loop.Loop, id sid, kind noteKind) {
	session := s.lookup(home, id)
	switch {
	case session == nil:
	case kind == noteRetire && session.Transport() == WebSocket:
		session.end(endingDrain)
	case kind == noteRetire:
		if u := session.upgrade; u != nil {
			u.abandon(UpgradeLost)
		}
	case session.Transport() == Polling:
		session.fail(ErrPollLost)
	}
}
