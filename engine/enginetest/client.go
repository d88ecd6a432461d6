package enginetest

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"

	"turbine/engine"
	"turbine/engine/packet"
)

// A Client is one session, seen from its far end. World.Dial and Dial make one. Its
// methods belong to the goroutine of the test.
type Client struct {
	t       testing.TB
	network network
	options Options
	host    string
	path    string

	// Over sockets, goroutines of the client's own also come here.
	mu        sync.Mutex
	phase     phase
	transport engine.Transport
	open      packet.OpenData
	header    http.Header // of the response that began the session
	cookies   []string
	refusal   error  // why there is no session
	how       string // how the session ended, for Closed
	inbox     []engine.Message
	outbox    []packet.Packet // what waits for a post

	polls, posts, socket *link
	polling, posting     bool // a request is under way
	paused               bool
	held                 bool // for an upgrade: no poll begins
	probed               bool // the pong of an upgrade has come
	unping               func()
}

// phase is how far a client has come.
//
//	| phase   | event                        | next
//	| opening | open packet                  | open
//	| opening | any other response, fault    | over
//	| open    | Client.Close                 | leaving
//	| open    | the server ends it, Lose     | over
//	| leaving | the server has heard it      | over
type phase uint8

const (
	opening phase = iota
	open
	leaving
	over
)

// A network is what a client's connections go over: the memory of a World, or
// sockets.
type network interface {
	// connect opens a connection, whose bytes the link is given. The client's mu is
	// held.
	connect(l *link) (wire, error)
	// work lets the server do what there is to do now.
	work()
	// wait lets the server work until done, which is called with the client's mu
	// held, and reports whether that came in time.
	wait(c *Client, done func() bool) bool
	// each calls f each time that c's ping interval has passed, with mu held, until stop
	// is called, which is also done with mu held.
	each(c *Client, f func()) (stop func())
	// hint says what may be the matter when nothing comes.
	hint() string
}

// newClient makes a client, which has no session yet.
func newClient(t testing.TB, n network, host, path string, o Options) *Client {
	t.Helper()
	o, err := o.withDefaults()
	if err != nil {
		t.Fatalf("enginetest: Options: %v", err)
	}
	c := &Client{t: t, network: n, options: o, host: host, path: path}
	for _, l := range []**link{&c.polls, &c.posts, &c.socket} {
		*l = &link{c: c}
	}
	return c
}

// dial opens the session.
func (c *Client) dial() error {
	c.t.Helper()
	c.mu.Lock()
	c.begin()
	c.mu.Unlock()
	answered := c.network.wait(c, func() bool { return c.phase != opening })
	if !answered {
		c.t.Fatalf("enginetest: Dial: expected an answer to the handshake (transport %v, revision %d), nothing came within %v. %s",
			c.options.Transport, c.options.Revision, patience, c.network.hint())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusal
}

// dialled is what Dial makes of an error of dial.
func (c *Client) dialled(err error) *Client {
	c.t.Helper()
	if err != nil {
		hint := "Does a server listen there?"
		if _, refused := errors.AsType[*Refused](err); refused {
			hint = "Events.Admit, Access.Origins and Access.Bind of the server's options refuse clients; use TryDial where a refusal is what you test"
		}
		c.t.Fatalf("enginetest: Dial: expected a session, got: %v. %s", err, hint)
	}
	return c
}

// ID is the session's id, as engine.Session.ID tells it.
func (c *Client) ID() string { return c.open.SID }

// OpenData is what the server has told the client of the session.
func (c *Client) OpenData() packet.OpenData { return c.open }

// ResponseHeader is the header of the response that began the session, with what
// Events.Admit, InitialHeaders, CORS and Cookie have added.
func (c *Client) ResponseHeader() http.Header { return c.header }

// Transport is what the session is on now.
func (c *Client) Transport() engine.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.transport
}

// Send sends a message. In a World the server has it when Send returns, over
// sockets it is on its way. m.Data is borrowed.
func (c *Client) Send(m engine.Message) {
	c.t.Helper()
	c.mu.Lock()
	ended := c.phase != open
	if !ended {
		c.write(packet.Packet{Type: packet.Message, Binary: m.Binary, Data: slices.Clone(m.Data)})
	}
	c.mu.Unlock()
	c.network.work()
	if ended {
		c.t.Fatalf("enginetest: Send: expected an open session, but %s", c.state())
	}
}

// Next is the next message, in the order in which they came. Its Data is the
// caller's. It fails the test when none comes: in a World, 5 seconds are for
// goroutines that the World does not know of.
func (c *Client) Next() engine.Message {
	c.t.Helper()
	return c.next("Next")
}

// NextText is the text of the next message, which must not be binary.
func (c *Client) NextText() string {
	c.t.Helper()
	m := c.next("NextText")
	if m.Binary {
		c.t.Fatalf("enginetest: NextText: expected text, came %s. Take bytes by Next", show(m))
	}
	return string(m.Data)
}

func (c *Client) next(method string) (m engine.Message) {
	c.t.Helper()
	c.network.wait(c, func() bool { return len(c.inbox) > 0 || c.phase == over })
	c.mu.Lock()
	came := len(c.inbox) > 0
	if came {
		m, c.inbox = c.inbox[0], c.inbox[1:]
	}
	c.mu.Unlock()
	if !came {
		c.t.Fatalf("enginetest: %s: expected a message, none came, and %s. %s", method, c.state(), c.network.hint())
	}
	return m
}

// None fails the test when a message is there. In a World it waits until the server
// has nothing left to do, as World.Settle does. Over sockets it knows only of what
// has come already.
func (c *Client) None() {
	c.t.Helper()
	if w, ok := c.network.(*World); ok {
		w.Settle()
	}
	c.mu.Lock()
	waiting := c.inbox
	c.mu.Unlock()
	if len(waiting) > 0 {
		c.t.Fatalf("enginetest: None: expected no message, came %s, and %d more. Take those that you expect by Next", show(waiting[0]), len(waiting)-1)
	}
}

// Upgrade moves the session from polling to WebSocket, as clients do: it probes,
// waits for the end of the poll and of posts under way, and switches. It fails the
// test when the server does not take part.
func (c *Client) Upgrade() {
	c.t.Helper()
	c.mu.Lock()
	wrong, refused := "", ""
	switch {
	case c.phase != open:
		wrong = "an open session"
	case c.transport != engine.Polling:
		wrong = "a session on polling"
	case !slices.Contains(c.open.Upgrades, engine.WebSocket.String()):
		wrong = "an open packet that offers websocket (Options.Transports and NoUpgrades of the server decide)"
	default:
		c.probe(&refused)
	}
	c.mu.Unlock()
	if wrong == "" {
		c.network.wait(c, func() bool { return c.probed || refused != "" || c.phase == over })
		c.network.wait(c, func() bool { return c.switchOver() || refused != "" || c.phase == over })
	}
	switch {
	case wrong != "":
		c.t.Fatalf("enginetest: Upgrade: expected %s, but %s", wrong, c.state())
	case refused != "":
		c.t.Fatalf("enginetest: Upgrade: expected a WebSocket and the pong to a probe, came %s", refused)
	case c.Transport() != engine.WebSocket:
		c.t.Fatalf("enginetest: Upgrade: expected the pong to a probe and the end of the poll, but %s. %s", c.state(), c.network.hint())
	}
}

// Pause makes the client one that reads nothing: what the server sends waits there,
// and meets the limits of engine.Options. A poll that waits already takes what comes
// next: Options.Paused begins without one. While it is paused the client answers no
// ping on WebSocket, and gets none on polling.
func (c *Client) Pause() { c.setPaused(true) }

// Resume ends Pause.
func (c *Client) Resume() { c.setPaused(false) }

func (c *Client) setPaused(on bool) {
	c.t.Helper()
	c.mu.Lock()
	c.pause(on)
	c.mu.Unlock()
	c.network.work()
}

// Close says goodbye and waits until the server has heard it, which ends the session
// with engine.ReasonTransportClose. For a session that has ended it does nothing.
func (c *Client) Close() {
	c.t.Helper()
	if !c.goodbye() {
		c.t.Fatalf("enginetest: Close: expected an answer to the client's goodbye, nothing came within %v. %s", patience, c.network.hint())
	}
}

// goodbye leaves and waits.
func (c *Client) goodbye() bool {
	c.mu.Lock()
	c.leave()
	c.mu.Unlock()
	return c.network.wait(c, func() bool { return c.phase == over })
}

// Lose drops the client's connections without a word, as a crash of the client does.
// A session on polling whose poll waits ends at once, as does a session on WebSocket;
// any other session ends by its ping timeout.
func (c *Client) Lose() {
	c.t.Helper()
	c.mu.Lock()
	c.lose("lost by the client")
	c.mu.Unlock()
	c.network.work()
}

// Closed waits until the session has ended and says how, as the client sees it:
//
//	close packet                                  polling: the server has ended it
//	close frame, close frame 1009: too big        WebSocket: the same, with its status and reason
//	status 400, code 1: Session ID unknown        polling: the response to a poll or post
//	connection lost                               the connection ended without a word
//	closed by the client, lost by the client      Close, Lose
//
// It fails the test when the session stays open.
func (c *Client) Closed() string {
	c.t.Helper()
	if !c.network.wait(c, func() bool { return c.phase == over }) {
		c.t.Fatalf("enginetest: Closed: expected the end of the session, but %s. %s", c.state(), c.network.hint())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.how
}

// state says in a message of a failed test where the client is.
func (c *Client) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.phase == over:
		return "the session has ended: " + c.how
	case c.paused:
		return "the session is open on " + c.transport.String() + ", and paused"
	}
	return "the session is open on " + c.transport.String()
}
