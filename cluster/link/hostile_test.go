//go:build linux

package link_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"turbine/cluster/link"
	"turbine/loop"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// replying is a home that answers each request with its body.
type replying struct{}

func (replying) Arrive(_ *loop.Loop, _ []byte, back link.Back) (link.Guest, error) {
	return &replyingGuest{back: back}, nil
}
func (replying) Note(*loop.Loop, []byte) error { return nil }

type replyingGuest struct {
	back link.Back
	body []byte
}

func (g *replyingGuest) Body(p []byte, last bool) {
	if g.body = append(g.body, p...); last {
		b := pool.Frames.Get(len(g.body))
		b.Append(g.body)
		g.back.Answer(b)
		b.Release()
	}
}
func (g *replyingGuest) Cancel(int) { g.back.Abort() }
func (g *replyingGuest) Lost(bool)  {}
func (g *replyingGuest) Release()   {}

// answer is a reply that tells what it was answered.
type answer chan string

func (a answer) Answer(p []byte) error { a <- string(p); return nil }
func (a answer) Abort()                { a <- "aborted" }
func (a answer) Failed()               { a <- "failed" }

// besieged are two nodes with a relay and a link between them, which nothing that happens
// at the port disturbs.
type besieged struct {
	*relayed
	t     *testing.T
	relay net.Conn
	out   *link.Out
	conns int // of the home, without what is hostile
}

func besiege(t *testing.T) *besieged {
	b := &besieged{relayed: startRelayed(t, false, nil), t: t}
	b.relay = b.dial(t)
	b.on(func() {
		b.out = link.NewOut(b.loops[0], link.OutOptions{Self: relaySelf(1), Node: 2, Address: b.home, Dial: link.Dial(nil, "")})
	})
	b.undisturbed()
	b.conns = b.loops[1].Conns()
	require.Equal(t, 2, b.conns)
	return b
}

// on runs f on the edge's loop.
func (b *besieged) on(f func()) {
	b.t.Helper()
	done := make(chan struct{})
	require.NoError(b.t, b.loops[0].Post(loop.Func(func() { f(); close(done) })))
	<-done
}

// undisturbed requires that the relay and the link serve.
func (b *besieged) undisturbed() {
	b.t.Helper()
	say(b.t, b.relay, "still there", "still there")
	got := make(answer, 1)
	b.on(func() {
		if b.out.Arrive([]byte("head"), []byte("a request"), true, got) == 0 {
			got <- "no room"
		}
	})
	require.Equal(b.t, "a request", <-got)
}

// gone requires that the home has closed c, and returns what it has said before.
func (b *besieged) gone(c net.Conn) []byte {
	b.t.Helper()
	said, err := io.ReadAll(c)
	if err != nil {
		require.ErrorContains(b.t, err, "reset")
	}
	_ = c.Close()
	return said
}

// nothingLeft requires that the home has what it had before, and serves.
func (b *besieged) nothingLeft() {
	b.t.Helper()
	settled(b.t, "hostile connections are gone", func() bool { return b.loops[1].Conns() == b.conns })
	require.Zero(b.t, b.door.Unproven())
	b.undisturbed()
}

// turnedAway waits until n connections were refused, all for that cause.
func (b *besieged) turnedAway(n int, cause error) {
	b.t.Helper()
	settled(b.t, "all are counted", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.turned) >= n
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Len(b.t, b.turned, n)
	for _, err := range b.turned {
		require.Equal(b.t, cause, err)
	}
	b.turned = nil
}

// What follows speaks the protocol by its description, without the code under test.

func rawFrame(kind, flags byte, stream uint32, length int, body []byte) []byte {
	p := binary.LittleEndian.AppendUint32(nil, uint32(length))
	p = append(p, kind, flags, 0, 0)
	return append(binary.LittleEndian.AppendUint32(p, stream), body...)
}

func rawHello(node uint32, purpose byte) []byte {
	const cluster = "tests"
	p := []byte{1, 1, purpose, byte(len(cluster))}
	p = binary.LittleEndian.AppendUint32(p, node)
	p = append(p, bytes.Repeat([]byte{7}, 16)...) // boot
	p = append(p, make([]byte, 8)...)             // options
	p = append(p, bytes.Repeat([]byte{9}, 32)...) // nonce
	return append(p, cluster...)
}

func rawProof(key []byte, ours, theirs []byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range [][]byte{[]byte("turbine link: the node that dials"), ours, theirs, nil} {
		mac.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(part))))
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// greet says hello and returns both hellos.
func greet(t *testing.T, c net.Conn, purpose byte) (ours, theirs []byte) {
	t.Helper()
	ours = rawHello(3, purpose)
	_, err := c.Write(rawFrame(1, 0, 0, len(ours), ours))
	require.NoError(t, err)
	return ours, rawRead(t, c, 1)
}

// rawRead reads a frame of that kind.
func rawRead(t *testing.T, c net.Conn, kind byte) []byte {
	t.Helper()
	header := make([]byte, 12)
	_, err := io.ReadFull(c, header)
	require.NoError(t, err)
	require.Equal(t, kind, header[4])
	body := make([]byte, binary.LittleEndian.Uint32(header))
	_, err = io.ReadFull(c, body)
	require.NoError(t, err)
	return body
}

// enter does a whole greeting, as a node that has the key, and returns what it has said.
func enter(t *testing.T, c net.Conn, purpose byte) (said []byte) {
	t.Helper()
	ours, theirs := greet(t, c, purpose)
	proof := rawProof(relayKey, ours, theirs)
	_, err := c.Write(rawFrame(2, 0, 0, len(proof), proof))
	require.NoError(t, err)
	rawRead(t, c, 2)
	return append(rawFrame(1, 0, 0, len(ours), ours), rawFrame(2, 0, 0, len(proof), proof)...)
}

// besiegers is how many hostile connections of a kind there are at a time, fewer than the
// places of the door.
const besiegers = 20

// Whoever has no key is closed, counted, learns nothing, and disturbs nobody.
func TestHostileAtThePort(t *testing.T) {
	b := besiege(t)
	heard := func() []byte { // what a good node has said on another connection
		c := dialTo(t, b.home)
		said := enter(t, c, 1)
		_ = c.Close()
		b.nothingLeft()
		return said
	}()
	for _, c := range []struct {
		name   string
		attack func(t *testing.T, c net.Conn)
		cause  error
		hears  string // kinds of frames
	}{
		{"HTTP", func(_ *testing.T, c net.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }, link.ErrGreeting, ""},
		{"TLS", func(_ *testing.T, c net.Conn) {
			_, _ = io.WriteString(c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
			_, _ = io.WriteString(c, strings.Repeat("x", 400))
		}, link.ErrGreeting, ""},
		{"garbage", func(_ *testing.T, c net.Conn) { _, _ = c.Write(noise(5000)) }, link.ErrGreeting, ""},
		{"much garbage", func(_ *testing.T, c net.Conn) { _, _ = c.Write(noise(1 << 20)) }, link.ErrGreeting, ""},
		{"a length of 4 GiB", func(_ *testing.T, c net.Conn) { _, _ = c.Write(rawFrame(1, 0, 0, -1, nil)) }, link.ErrGreeting, ""},
		{"hello of 64 KiB", func(_ *testing.T, c net.Conn) {
			_, _ = c.Write(rawFrame(1, 0, 0, 64<<10, bytes.Repeat([]byte{1}, 64<<10)))
		}, link.ErrGreeting, ""},
		{"a request without a greeting", func(_ *testing.T, c net.Conn) { _, _ = c.Write(rawFrame(3, 0, 1, 6, []byte("\x04\x00head"))) }, link.ErrGreeting, ""},
		{"a request without a proof", func(t *testing.T, c net.Conn) {
			greet(t, c, 1)
			_, _ = c.Write(rawFrame(3, 0, 1, 6, []byte("\x04\x00head")))
		}, link.ErrGreeting, "read"},
		{"bytes of a relay without a proof", func(t *testing.T, c net.Conn) {
			greet(t, c, 2)
			_, _ = io.WriteString(c, strings.Repeat("\x05\x00hello", 50))
		}, link.ErrGreeting, "read"},
		{"a wrong key", func(t *testing.T, c net.Conn) {
			ours, theirs := greet(t, c, 1)
			proof := rawProof(bytes.Repeat([]byte("x"), 32), ours, theirs)
			_, _ = c.Write(rawFrame(2, 0, 0, len(proof), proof))
		}, link.ErrProof, "proof"},
		{"a proof of another purpose", func(t *testing.T, c net.Conn) {
			ours, theirs := greet(t, c, 1)
			proof := rawProof(relayKey, rawHello(3, 2), theirs)
			require.NotEqual(t, ours, rawHello(3, 2))
			_, _ = c.Write(rawFrame(2, 0, 0, len(proof), proof))
		}, link.ErrProof, "proof"},
		{"what a good node has said", func(_ *testing.T, c net.Conn) { _, _ = c.Write(heard) }, link.ErrProof, "hello, proof"},
		{"its own words", func(t *testing.T, c net.Conn) {
			_, theirs := greet(t, c, 1)
			again := dialTo(t, b.home)
			_, _ = again.Write(rawFrame(1, 0, 0, len(theirs), theirs))
			_, _ = io.ReadAll(again)
			_ = again.Close()
			_ = c.(*net.TCPConn).CloseWrite()
		}, nil, ""},
		{"a greeting that ends", func(t *testing.T, c net.Conn) {
			greet(t, c, 1)
			_ = c.(*net.TCPConn).CloseWrite()
		}, link.ErrGreeting, "read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			var all []net.Conn
			for range besiegers {
				conn := dialTo(t, b.home)
				c.attack(t, conn)
				all = append(all, conn)
			}
			b.undisturbed()
			for _, conn := range all {
				said := b.gone(conn)
				require.NotContains(t, string(said), string(relayKey))
				switch c.hears {
				case "":
					require.True(t, c.cause == nil || len(said) == 0, "%x", said)
				case "proof":
					require.Equal(t, rawFrame(2, 0, 0, 0, nil), said, "the empty proof")
				case "hello, proof":
					require.Equal(t, byte(1), said[4])
					require.Equal(t, rawFrame(2, 0, 0, 0, nil), said[len(said)-12:])
				}
			}
			if c.cause != nil {
				b.turnedAway(besiegers, c.cause)
			} else {
				b.mu.Lock()
				require.Len(t, b.turned, 2*besiegers)
				require.Contains(t, b.turned, link.ErrSelf)
				b.turned = nil
				b.mu.Unlock()
			}
			b.nothingLeft()
		})
	}
	b.t = t
}

// Whoever takes its time has 3 seconds, whether it sends nothing, half, or a byte now and
// then.
func TestSlowAtThePort(t *testing.T) {
	b := besiege(t)
	hello := rawHello(3, 1)
	whole := rawFrame(1, 0, 0, len(hello), hello)
	var all []net.Conn
	dial := func(say func(c net.Conn)) {
		for range besiegers {
			c := dialTo(t, b.home)
			say(c)
			all = append(all, c)
		}
	}
	dial(func(net.Conn) {})
	dial(func(c net.Conn) { greet(t, c, 1) })
	var trickling sync.WaitGroup
	dial(func(c net.Conn) {
		trickling.Go(func() {
			for i := 0; ; i = (i + 1) % (len(whole) - 1) {
				if _, err := c.Write(whole[i : i+1]); err != nil || i == len(whole)-2 {
					return
				}
				_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				if _, err := c.Read(make([]byte, 1)); err == io.EOF {
					return
				}
			}
		})
	})
	b.undisturbed()
	for _, c := range all[:2*besiegers] {
		b.gone(c)
	}
	trickling.Wait()
	for _, c := range all[2*besiegers:] {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		b.gone(c)
	}
	b.turnedAway(3*besiegers, link.ErrSlow)
	b.nothingLeft()
}

// A thousand connections without a proof hold as many places as there are, and the others
// are closed at once and counted. Nodes that have a link, or a relay, do not notice, and
// another one gets in when the places are free.
func TestThousandAtThePort(t *testing.T) {
	b := besiege(t)
	const crowd = 1000
	var all []net.Conn
	for range crowd {
		all = append(all, dialTo(t, b.home))
	}
	require.LessOrEqual(t, b.door.Unproven(), link.DoorPlaces)
	b.undisturbed()
	for _, c := range all {
		require.Empty(t, b.gone(c))
	}
	b.nothingLeft()
	require.NotZero(t, b.door.Refused())
	b.turnedAway(crowd-int(b.door.Refused()), link.ErrSlow)
	good := dialTo(t, b.home)
	enter(t, good, 1)
	_ = good.Close()
	b.nothingLeft()
}

// A node that has the key and breaks the rules loses its link, and no other node's.
func TestHostileBehindTheProof(t *testing.T) {
	b := besiege(t)
	for _, c := range []struct {
		name    string
		purpose byte
		in      []byte
	}{
		{"64 KiB and a byte", 1, rawFrame(3, 0, 1, 64<<10+1, make([]byte, 64<<10+1))},
		{"a length of 4 GiB", 1, rawFrame(10, 0, 0, -1, nil)},
		{"stream 0", 1, rawFrame(3, 0, 0, 6, []byte("\x04\x00head"))},
		{"a stream out of range", 1, rawFrame(3, 0, 0x00ffffff, 6, []byte("\x04\x00head"))},
		{"one place above the range", 1, rawFrame(3, 0, link.MaxStreams+1, 6, []byte("\x04\x00head"))},
		{"a head longer than its frame", 1, rawFrame(3, 0, 1, 6, []byte("\xff\xffhead"))},
		{"an answer to a home", 1, rawFrame(7, 0, 1, 2, []byte("4x"))},
		{"a note with a stream", 1, rawFrame(10, 0, 1, 2, []byte("xx"))},
		{"flags that nobody knows", 1, rawFrame(3, 0x80, 1, 6, []byte("\x04\x00head"))},
		{"a second hello", 1, rawFrame(1, 0, 0, len(rawHello(3, 1)), rawHello(3, 1))},
		{"HTTP", 1, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")},
		{"a short ping", 1, rawFrame(11, 0, 0, 4, []byte("ping"))},
		{"a relay's hello too long", 2, []byte("\xff\xff" + strings.Repeat("x", 5000))},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.t = t
			for range 3 {
				conn := dialTo(t, b.home)
				enter(t, conn, c.purpose)
				_, _ = conn.Write(c.in)
				b.gone(conn)
			}
			b.nothingLeft()
			b.mu.Lock()
			defer b.mu.Unlock()
			if c.purpose == 1 {
				require.Equal(t, 3, b.ended)
			} else {
				require.Equal(t, []error{link.ErrRelayHello, link.ErrRelayHello, link.ErrRelayHello}, b.turned)
			}
			b.ended, b.turned = 0, nil
		})
	}
	b.t = t
}
