package link

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

func TestHelloIsThatOfTheVersion(t *testing.T) {
	h := hello{oldest: 1, newest: 2, purpose: Relays, node: 0x01020304, cluster: []byte("c")}
	h.boot[0], h.options[0], h.nonce[31] = 5, 6, 7
	p := appendHello(nil, h)
	require.Equal(t, "01020201"+"04030201"+"05000000000000000000000000000000"+"0600000000000000"+
		"0000000000000000000000000000000000000000000000000000000000000007"+"63", hex.EncodeToString(p))
	got, err := parseHello(append(p, "of a later version"...))
	require.NoError(t, err)
	require.Equal(t, h, got)
	for cut := range p {
		_, err := parseHello(p[:cut])
		require.Equal(t, ErrGreeting, err)
	}
	sum := proof([]byte("key"), roleDialer, []byte("a"), []byte("b"), nil)
	require.Equal(t, "b378bcd5325a5e9fa8672395ec8ba61f30957ff590fd7d5a3fe129458885e881", hex.EncodeToString(sum[:]))
	for i, other := range [][proofLen]byte{
		proof([]byte("kex"), roleDialer, []byte("a"), []byte("b"), nil),
		proof([]byte("key"), roleAcceptor, []byte("a"), []byte("b"), nil),
		proof([]byte("key"), roleDialer, []byte("b"), []byte("a"), nil),
		proof([]byte("key"), roleDialer, []byte("ab"), nil, nil),
		proof([]byte("key"), roleDialer, []byte("a"), []byte("b"), []byte("c")),
	} {
		require.NotEqual(t, sum, other, i)
	}
}

func FuzzHello(f *testing.F) {
	f.Add(appendHello(nil, hello{oldest: 1, newest: 1, purpose: Requests, node: 1, cluster: []byte("tests")}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := parseHello(p)
		if err != nil {
			require.Equal(t, ErrGreeting, err)
			return
		}
		again := appendHello(nil, h)
		require.True(t, bytes.HasPrefix(p, again))
	})
}

func TestSelfIsChecked(t *testing.T) {
	require.NoError(t, selfOf(1).Check())
	for name, change := range map[string]func(*Self){
		"no node":      func(s *Self) { s.Node = 0 },
		"short key":    func(s *Self) { s.Key = s.Key[:31] },
		"long cluster": func(s *Self) { s.Cluster = string(make([]byte, 256)) },
		"versions":     func(s *Self) { s.Oldest, s.Newest = 3, 2 },
	} {
		s := selfOf(1)
		change(s)
		require.Error(t, s.Check(), name)
	}
}

// port is a Door in a World, and what became of its connections.
type port struct {
	world   *looptest.World
	door    *Door
	journal journal
}

func newPort(t *testing.T) *port {
	p := &port{world: looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, nil)}
	p.door = NewDoor(selfOf(2), func(c *loop.Conn, peer Peer) loop.Handler {
		p.journal.note("up: node %d, version %d, purpose %d", peer.Node, peer.Version, peer.Purpose)
		return &noting{journal: &p.journal}
	}, func(_ *loop.Conn, err error) { p.journal.note("%v", err) })
	t.Cleanup(func() {
		p.world.Close()
		require.Zero(t, p.world.Sockets())
		require.Zero(t, p.door.Unproven())
	})
	return p
}

func (p *port) far(t *testing.T) *far {
	return &far{t: t, peer: p.world.DialTo(0, p.door.Accept), run: p.world.Run}
}

// noting is a handler that notes what comes.
type noting struct{ journal *journal }

func (n *noting) Data(p []byte) { n.journal.note("data %s", brief(p)) }
func (n *noting) Drained()      {}
func (n *noting) EOF()          { n.journal.note("EOF") }
func (n *noting) Closed(error)  { n.journal.note("closed") }

// What the port does with whoever connects: it says nothing to a peer that has not greeted
// it, and proves nothing to one that has not proven the key.
func TestPort(t *testing.T) {
	self := selfOf(1)
	with := func(change func(*Self)) *Self {
		s := *self
		change(&s)
		return &s
	}
	for _, c := range []struct {
		name string
		do   func(f *far)
		want string // what has become of it
		sent string // what the peer has seen
		open bool
	}{
		{"right key", func(f *far) {
			f.hello(self, Requests)
			require.Equal(t, "hello", f.frames())
			f.proveDialer(testKey)
		}, "up: node 1, version 1, purpose 1", "proof", true},
		{"a relay, with bytes behind the proof", func(f *far) {
			f.hello(self, Relays)
			require.Equal(t, "hello", f.frames())
			p := proof(testKey, roleDialer, f.ours, f.them, nil)
			f.peer.Write(append(Append(nil, Proof, 0, 0, p[:]), bytes.Repeat([]byte("behind"), 1000)...))
			f.run()
		}, "up: node 1, version 1, purpose 2, data 6000 bytes", "proof", true},
		{"wrong key", func(f *far) {
			f.hello(self, Requests)
			f.frames()
			f.proveDialer(make([]byte, 32))
		}, ErrProof.Error(), "proof", false},
		{"proof of the other role", func(f *far) {
			f.hello(self, Requests)
			f.frames()
			f.prove(testKey)
		}, ErrProof.Error(), "proof", false},
		{"empty proof", func(f *far) {
			f.hello(self, Requests)
			f.frames()
			f.say(Proof, 0, 0, nil)
		}, ErrProof.Error(), "proof", false},
		{"purpose that is not known", func(f *far) { f.hello(self, 3) }, ErrGreeting.Error(), "hello", false},
		{"later versions", func(f *far) { f.hello(with(func(s *Self) { s.Oldest, s.Newest = 2, 3 }), Requests) }, ErrVersion.Error(), "hello", false},
		{"another cluster", func(f *far) { f.hello(with(func(s *Self) { s.Cluster = "other" }), Requests) }, ErrCluster.Error(), "hello", false},
		{"itself", func(f *far) { f.hello(selfOf(2), Requests) }, ErrSelf.Error(), "hello", false},
		{"node 0", func(f *far) { f.hello(with(func(s *Self) { s.Node = 0 }), Requests) }, ErrGreeting.Error(), "", false},
		{"proof first", func(f *far) { f.say(Proof, 0, 0, make([]byte, 32)) }, ErrGreeting.Error(), "", false},
		{"hello twice", func(f *far) { f.hello(self, Requests); f.frames(); f.hello(self, Requests) }, ErrGreeting.Error(), "", false},
		{"a request first", func(f *far) { f.say(Arrive, 0, 1, []byte{0, 0}) }, ErrGreeting.Error(), "", false},
		{"HTTP", func(f *far) { f.peer.Write([]byte("GET / HTTP/1.1\r\n\r\n")); f.run() }, ErrGreeting.Error(), "", false},
		{"garbage", func(f *far) { f.peer.Write(bytes.Repeat([]byte{0xa5}, 5000)); f.run() }, ErrGreeting.Error(), "", false},
		{"hello of 1 KiB", func(f *far) { f.say(Hello, 0, 0, make([]byte, maxGreeting)) }, ErrGreeting.Error(), "", false},
		{"many short frames", func(f *far) {
			f.hello(self, Requests)
			f.frames()
			f.say(Ping, 0, 0, make([]byte, 8))
		}, ErrGreeting.Error(), "", false},
		{"end", func(f *far) { f.hello(self, Requests); f.frames(); f.peer.CloseWrite(); f.run() }, ErrGreeting.Error(), "", false},
		{"reset", func(f *far) { f.peer.Reset(); f.run() }, "connection reset by peer", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPort(t)
			f := p.far(t)
			f.run()
			require.Equal(t, 1, p.door.Unproven())
			c.do(f)
			require.Equal(t, c.want, p.journal.take())
			require.Equal(t, c.sent, f.frames())
			require.Equal(t, !c.open, f.peer.Closed())
			require.Zero(t, p.door.Unproven())
		})
	}
}

// The greeting is the same, however its bytes come, and one that was heard on another
// connection proves nothing.
func TestPortHearsGreetingsInPieces(t *testing.T) {
	p := newPort(t)
	f := p.far(t)
	f.run()
	var heard []byte
	write := func(b []byte) {
		heard = append(heard, b...)
		for i := range b {
			f.peer.Write(b[i : i+1])
			f.run()
		}
	}
	s := selfOf(1)
	h := hello{oldest: 1, newest: 1, purpose: Requests, node: s.Node, boot: s.Boot, cluster: []byte(s.Cluster)}
	f.ours = appendHello(nil, h)
	write(Append(nil, Hello, 0, 0, f.ours))
	require.Equal(t, "hello", f.frames())
	sum := proof(testKey, roleDialer, f.ours, f.them, nil)
	write(Append(nil, Proof, 0, 0, sum[:]))
	require.Equal(t, "proof", f.frames())
	require.Equal(t, "up: node 1, version 1, purpose 1", p.journal.take())

	replayed := p.far(t)
	replayed.peer.Write(heard)
	replayed.run()
	require.Equal(t, ErrProof.Error(), p.journal.take())
}

// The port has few places for connections without a proof, each for 3 seconds.
func TestPortHasFewPlacesForTheUnproven(t *testing.T) {
	p := newPort(t)
	var silent []*far
	for range DoorPlaces {
		silent = append(silent, p.far(t))
	}
	p.world.Run()
	late := p.far(t)
	p.world.Run()
	require.True(t, late.peer.Closed())
	require.Equal(t, uint64(1), p.door.Refused())
	require.Empty(t, p.journal.take())
	p.world.Advance(greetingTime + 200*time.Millisecond)
	for _, f := range silent {
		require.True(t, f.peer.Closed())
		require.Empty(t, f.frames())
	}
	require.Equal(t, DoorPlaces, bytes.Count([]byte(p.journal.take()), []byte(ErrSlow.Error())))
	f := p.far(t)
	f.hello(selfOf(1), Requests)
	require.Equal(t, "hello", f.frames())
	f.proveDialer(testKey)
	require.Equal(t, "up: node 1, version 1, purpose 1", p.journal.take())
}

// What the end that dials does with whoever is at the address, and when it dials again.
func TestGreetingOfTheEndThatDials(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(f *far)
		want  string
		again time.Duration // when it is dialed again at the latest; 0: never
		pause time.Duration // not before
	}{
		{"another node", func(f *far) { f.hello(selfOf(3), Requests); f.prove(testKey) }, "r1 failed, event wrong node", mostRetry, 0},
		{"another cluster", func(f *far) { f.hello(&Self{Cluster: "other", Node: 2, Key: testKey}, Requests) }, "r1 failed, event wrong node", mostRetry, 0},
		{"itself", func(f *far) { f.hello(selfOf(1), Requests) }, "r1 failed, event wrong node", mostRetry, 0},
		{"its own words", func(f *far) { f.peer.Write(Append(nil, Hello, 0, 0, f.them)); f.run() }, "r1 failed, event wrong node", mostRetry, 0},
		{"wrong key", func(f *far) { f.hello(selfOf(2), Requests); f.prove(make([]byte, 32)) }, "r1 failed, event wrong key", wrongPause + time.Second, wrongPause - time.Second},
		{"our key is wrong", func(f *far) { f.hello(selfOf(2), Requests); f.say(Proof, 0, 0, nil) }, "r1 failed, event wrong key", wrongPause + time.Second, wrongPause - time.Second},
		{"its own proof", func(f *far) { f.hello(selfOf(2), Requests); f.proveDialer(testKey) }, "r1 failed, event wrong key", wrongPause + time.Second, wrongPause - time.Second},
		{"another purpose", func(f *far) { f.hello(selfOf(2), Relays) }, "r1 failed, event refused", mostRetry, 0},
		{"no common version", func(f *far) {
			f.hello(&Self{Cluster: "tests", Node: 2, Key: testKey, Oldest: 2, Newest: 3}, Requests)
		}, "r1 failed, event incompatible", 0, 0},
		{"HTTP", func(f *far) { f.peer.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); f.run() }, "r1 failed, event refused", mostRetry, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cell := newCell(t)
			cell.out.options.Keep = true
			cell.request(1)
			cell.connect()
			require.Equal(t, "dials, sent hello", cell.journal.take())
			cell.far.run = func() { cell.world.Run(); cell.far.frames() }
			c.do(cell.far)
			require.Equal(t, c.want, cell.journal.take())
			require.True(t, cell.far.peer.Closed())
			cell.advance(c.pause)
			require.Empty(t, cell.journal.take())
			if c.again == 0 {
				cell.advance(time.Minute)
				require.Empty(t, cell.journal.take())
				require.Zero(t, cell.out.Arrive(nil, nil, true, nil))
				return
			}
			cell.advance(c.again - c.pause + 200*time.Millisecond)
			require.Regexp(t, "^dials", cell.journal.take())
			cell.world.Close()
		})
	}
}

// Requests to a node whose address is asked for wait for the address.
func TestRequestsWaitForAnAddress(t *testing.T) {
	c := newCell(t)
	c.out.options.Address = ""
	c.request(1)
	c.out.Note([]byte("note"))
	c.advance(time.Second)
	require.Empty(t, c.journal.take())
	c.out.SetAddress("here")
	require.Equal(t, "dials", c.journal.take())
	c.connect()
	c.greet()
	require.Equal(t, "sent hello, sent proof, event up, sent arrive 1 3, note 0 4", c.journal.take())

	c = newCell(t)
	c.out.options.Address = ""
	c.request(1)
	c.advance(requestWait + 100*time.Millisecond)
	require.Equal(t, "r1 failed", c.journal.take())
}

// A node that cannot be reached is dialed again and again, less and less often, and at once
// when it has another address.
func TestRedial(t *testing.T) {
	c := newCell(t)
	c.out.options.Keep = true
	c.out.Dial()
	var waits []time.Duration
	for range 8 {
		c.refuse()
		begun := c.world.Now()
		for c.journal.take(); c.out.State() == Absent; {
			c.advance(100 * time.Millisecond)
		}
		waits = append(waits, c.world.Now()-begun)
	}
	for i, w := range waits {
		require.GreaterOrEqual(t, w, min(leastRetry<<i, mostRetry)/2)
		require.LessOrEqual(t, w, min(leastRetry<<i, mostRetry)+100*time.Millisecond)
	}
	c.refuse()
	c.journal.take()
	c.out.SetAddress("elsewhere")
	require.Equal(t, "dials", c.journal.take())
	c.connect()
	c.greet()
	c.journal.take()
	c.advance(500 * time.Millisecond)
	c.far.peer.Reset()
	c.run()
	require.Equal(t, "event down", c.journal.take(), "one that ended soon is not dialed at once")
	c.advance(mostRetry + 100*time.Millisecond)
	c.connect()
	c.greet()
	c.advance(1500 * time.Millisecond)
	c.journal.take()
	c.far.peer.Reset()
	c.run()
	require.Equal(t, "event down, dials", c.journal.take())
}

// Requests wait for a link, up to a number and to so many bytes, and 3 seconds at most.
func TestRequestsWaitForALink(t *testing.T) {
	c := newCell(t)
	for range maxWaiting {
		require.NotZero(t, c.out.Arrive([]byte("a"), nil, true, &fakeReply{journal: &c.journal, name: "r"}))
	}
	require.Zero(t, c.out.Arrive([]byte("a"), nil, true, nil))
	c.connect()
	c.greet()
	require.Equal(t, Up, c.out.State())
	require.Equal(t, maxWaiting, c.out.Streams())
	require.Zero(t, c.out.waiting)

	c = newCell(t)
	body := make([]byte, 60_000)
	n := 0
	for ; c.out.Arrive([]byte("a"), body, true, &fakeReply{journal: &c.journal, name: "r"}) != 0; n++ {
	}
	require.Equal(t, testPressed/60_002, n, "memory for what waits is bounded")
	c.connect()
	c.far.hello(selfOf(2), Requests)
	c.advance(time.Second)
	c.journal.take()
	c.advance(requestWait - time.Second)
	require.Zero(t, c.out.Streams())
	require.Zero(t, c.out.line.size)
	require.Equal(t, n, bytes.Count([]byte(c.journal.take()), []byte("r failed")))
}

func ExampleState() {
	fmt.Println(Absent, Pressed, Answer, Kind(13))
	// Output: absent pressed answer kind 13
}
