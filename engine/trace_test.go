package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"turbine/engine/packet"

	"github.com/stretchr/testify/require"
)

// shown is a record as a test writes it.
func shown(r TraceRecord) string {
	switch r.Event {
	case TracePacket:
		direction, form, payload := "in", "", ""
		if r.Out {
			direction = "out"
		}
		if r.Binary {
			form = " binary"
		}
		if r.Payload != nil {
			payload = fmt.Sprintf(" %q", r.Payload)
		}
		return fmt.Sprintf("%s %v%s %v %d%s", direction, r.Transport, form, r.Type, r.Bytes, payload)
	case TraceTransport:
		return "on " + r.Transport.String()
	case TraceUpgradeFailed:
		return "upgrade failed: " + r.Failed.String()
	case TraceClose:
		if r.Err != nil {
			return fmt.Sprintf("close: %v, %v", r.Reason, r.Err)
		}
		return "close: " + r.Reason.String()
	case TraceDropped:
		return fmt.Sprintf("dropped %d", r.Dropped)
	case TraceEnd:
		return "end: " + r.Why.String()
	case TraceUpgradeBegun, TraceUpgradeProbed, TraceClosing:
	}
	return r.Event.String()
}

// sofar is what a trace has recorded, without waiting.
func sofar(t *Trace) (lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.take() {
		lines = append(lines, shown(r))
	}
	return lines
}

func begin(t testing.TB, s *Session, o TraceOptions) *Trace {
	t.Helper()
	trace, err := s.Trace(t.Context(), o)
	require.NoError(t, err)
	return trace
}

// All that happens to a session is in its trace, in order, on whatever transport and
// loop, by whatever way it goes out.
func TestTrace(t *testing.T) {
	deflate := Options{PerMessageDeflate: &PerMessageDeflate{Threshold: 1}}
	const offer = " header=Sec-WebSocket-Extensions:permessage-deflate"
	for _, c := range []struct {
		name    string
		options Options
		before  []string
		then    []string
		want    string // lines, without the first and, for an ended session, the last
	}{
		{"polling", Options{}, []string{hsPolling},
			[]string{"post sid=A 4hello", "send A hi there", "get sid=A", "sendbin A 0001ff", "get sid=A"},
			"in polling message 5|out polling message 2|out polling message 5|out polling binary message 3"},
		{"several packets in a post", Options{}, []string{hsPolling}, []string{"post sid=A 4a\x1e4bb\x1eb//8="},
			"in polling message 1|in polling message 2|in polling binary message 2"},
		{"WebSocket", Options{}, []string{hsWebSocket},
			[]string{"frame w text 4hello", "frame w binary 616263", "send A hi", "sendbin A 0001ff"},
			"in websocket message 5|in websocket binary message 3|out websocket message 2|out websocket binary message 3"},
		{"frames of revision 3", Options{}, []string{"ws EIO=3&transport=websocket conn=w"},
			[]string{"sendbin A 0001ff", "send A hi", "frame w text 2"},
			"out websocket binary message 3|out websocket message 2|in websocket ping 0|out websocket pong 0"},
		{"a run of frames of all lengths", Options{}, []string{hsWebSocket, "window w 0", "send A repeat=,200000,x"},
			[]string{"send A a repeat=,200,b repeat=,3000,c", "sendbin A 00", "window w 4000000"},
			"out websocket message 1|out websocket message 200|out websocket message 3000|out websocket binary message 1"},
		{"a large frame", Options{}, []string{hsWebSocket}, []string{"send A repeat=,70000,x"}, "out websocket message 70000"},
		{"compressed", deflate, []string{hsWebSocket + offer}, []string{"send A repeat=,5000,x"}, "out websocket message 5000"},
		{"base64", Options{}, []string{"ws EIO=4&transport=websocket&b64=1 conn=w"}, []string{"sendbin A 0001ff"}, "out websocket binary message 3"},
		{"broadcast to a WebSocket", Options{}, []string{hsWebSocket}, []string{"broadcast hello", "broadcastbin 00ff"},
			"out websocket message 5|out websocket binary message 2"},
		{"broadcast to polling", Options{}, []string{hsPolling}, []string{"broadcast hello", "get sid=A"}, "out polling message 5"},
		{"heartbeat", Options{}, []string{hsWebSocket}, []string{"advance 26s", "frame w text 3"}, "out websocket ping 0|in websocket pong 0"},
		{"upgrade", Options{}, []string{hsPolling, "get sid=A conn=p"},
			[]string{"ws sid=A conn=w", "frame w text 2probe", "frame w text 5", "frame w text 4hello", "send A more"},
			"upgrade_begun|in websocket ping 5|upgrade_probed|out websocket pong 5|out polling noop 0|in websocket upgrade 0|on websocket|in websocket message 5|out websocket message 4"},
		{"an upgrade that fails", Options{}, []string{hsPolling},
			[]string{"ws sid=A conn=w", "frame w text 4no", "ws sid=A conn=x", "advance 11s", "ws sid=A conn=y", "close y 1000"},
			"upgrade_begun|in websocket message 2|upgrade failed: invalid|upgrade_begun|upgrade failed: timeout|upgrade_begun|upgrade failed: lost"},
		{"an upgrade whose session ends", Options{}, []string{hsPolling}, []string{"ws sid=A conn=w", "post sid=A 1"},
			"upgrade_begun|in polling close 0|upgrade failed: session_closed|close: transport close"},
		{"polling closed by the client", Options{}, []string{hsPolling, "get sid=A conn=p"}, []string{"post sid=A 1"},
			"in polling close 0|out polling noop 0|close: transport close"},
		{"polling closed by the application", Options{}, []string{hsPolling, "get sid=A conn=p"}, []string{"send A bye", "close-session A", "get sid=A"},
			"out polling message 3|closing|out polling noop 0|out polling close 0|close: forced close"},
		{"polling closed with something queued", Options{}, []string{hsPolling}, []string{"send A bye", "close-session A", "get sid=A", "get sid=A"},
			"closing|out polling message 3|out polling noop 0|out polling close 0|close: forced close"},
		{"polling that waits is closed", Options{}, []string{hsPolling, "get sid=A conn=p"}, []string{"close-session A"},
			"closing|out polling close 0|close: forced close"},
		{"polling that breaks a rule", Options{}, []string{hsPolling, "get sid=A conn=p"}, []string{"get sid=A"},
			"out polling close 0|close: transport error, overlap from client"},
		{"no packet", Options{}, []string{hsWebSocket}, []string{"frame w text x"}, "close: parse error, packet: malformed packet"},
		{"a WebSocket's close packet", Options{}, []string{hsWebSocket}, []string{"frame w text 1"}, "in websocket close 0|close: transport close"},
		{"a WebSocket's close frame", Options{}, []string{hsWebSocket}, []string{"close w 1000"}, "close: transport close"},
		{"silence", Options{}, []string{hsWebSocket}, []string{"advance 1h"}, "out websocket ping 0|close: ping timeout"},
		{"the server ends", Options{}, []string{hsWebSocket}, []string{"drain 0s 1s", "advance 2s"}, "closing|close: server shutting down"},
		{"a message after Close", Options{}, []string{hsPolling, "send A x"}, []string{"close-session A", "post sid=A 4late"}, "closing|in polling message 4"},
		{"nothing", Options{}, []string{hsPolling}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			onLoops(t, func(t *testing.T, loops int) {
				b := newBench(t, loops, c.options)
				b.play(c.before...)
				trace := begin(t, b.session("A"), TraceOptions{})
				on := sofar(trace)
				require.Len(t, on, 1)
				require.Contains(t, []string{"on polling", "on websocket"}, on[0])
				b.play(c.then...)
				b.world.Run()
				want := c.want
				if strings.Contains(want, "close: ") {
					want += "|end: closed"
				}
				require.Equal(t, want, strings.Join(sofar(trace), "|"))
				b.finish()
				require.Empty(t, b.server.traces.list())
			})
		})
	}
}

// A trace changes nothing that clients see, and nothing that callbacks are told.
func TestTraceChangesNothing(t *testing.T) {
	play := func(loops int, traced bool) []string {
		b := newBench(t, loops, Options{})
		b.echo = true
		b.play(hsPolling, hsWebSocket)
		if traced {
			for _, s := range b.sessions {
				begin(t, s, TraceOptions{Payloads: true})
			}
		}
		lines := b.play("post sid=A 4hello", "get sid=A", "broadcast all", "get sid=A", "frame w text 4abc", "frame w binary 00ff", "ws sid=A conn=x", "frame x text 2probe",
			"frame x text 5", "broadcast more", "send A m", "advance 26s", "events", "close w 1000", "close-session A", "events")
		b.finish()
		return lines
	}
	onLoops(t, func(t *testing.T, loops int) { require.Equal(t, play(loops, false), play(loops, true)) })
}

// Payloads are there when they are asked for, without the session's id and bounded.
func TestTracePayloads(t *testing.T) {
	b := newBench(t, 1, Options{})
	b.play(hsPolling)
	s := b.session("A")
	id := s.ID()
	stars := strings.Repeat("*", len(id))
	with, without := begin(t, s, TraceOptions{Payloads: true}), begin(t, s, TraceOptions{})
	sofar(with)
	sofar(without)
	tell := func(text string) string {
		require.NoError(t, s.Send(Text(text)))
		b.play("get sid=A")
		lines := sofar(with)
		require.Len(t, lines, 1)
		require.Equal(t, []string{fmt.Sprintf("out polling message %d", len(text))}, sofar(without))
		_, payload, _ := strings.Cut(lines[0], ` "`)
		return strings.TrimSuffix(payload, `"`)
	}
	require.Equal(t, "hello", tell("hello"))
	require.Equal(t, stars, tell(id))
	require.Equal(t, "a"+stars+"b"+stars+id[1:], tell("a"+id+"b"+id+id[1:]))
	for _, n := range []int{tracePayload - len(id), tracePayload - 1, tracePayload} { // it is cut at the end of what is shown
		before := strings.Repeat("x", n)
		require.Equal(t, (before + stars)[:tracePayload], tell(before+id+"more"))
		require.Equal(t, (stars + before + stars)[:tracePayload], tell(id+before+id))
	}
	b.play("post sid=A 4in\x1ebAP8=")
	require.Equal(t, []string{`in polling message 2 "in"`, `in polling binary message 2 "\x00\xff"`}, sofar(with))

	large := strings.Repeat("y", tracePayload)
	for range tracePayloads/tracePayload + 2 {
		require.NoError(t, s.Send(Text(large)))
	}
	require.NoError(t, s.Send(Text("")))
	b.play("get sid=A")
	lines := sofar(with)
	full := fmt.Sprintf("out polling message %d", tracePayload)
	require.Len(t, lines, tracePayloads/tracePayload+3)
	for i, line := range lines[:len(lines)-1] {
		require.Equal(t, i < tracePayloads/tracePayload, line == fmt.Sprintf("%s %q", full, large), "%d", i)
		require.Contains(t, line, full)
	}
	sofar(without)
	require.Equal(t, "again", tell("again"))
	b.finish()
}

// The packet with the session's id is never shown.
func TestTraceHidesTheOpenPacket(t *testing.T) {
	b := newBench(t, 1, Options{InitialPacket: &Message{Data: []byte("first")}})
	b.play(hsPolling)
	s := b.session("A")
	trace := begin(t, s, TraceOptions{Payloads: true})
	s.tracePacket(true, Polling, packet.Packet{Type: packet.Open, Data: s.openData()})
	text := strings.Join(sofar(trace), "|")
	require.Contains(t, text, "out polling open ")
	require.NotContains(t, text, s.ID())
	require.NotContains(t, text, "pingInterval")
	b.finish()
}

// Nobody waits for a reader: above the limit records are dropped, and counted at the
// place where they are missing; the end is always there.
func TestTraceDropsRecords(t *testing.T) {
	b := newBench(t, 1, Options{})
	b.play(hsWebSocket)
	s := b.session("A")
	trace := begin(t, s, TraceOptions{})
	say := func(n int) {
		for range n {
			require.NoError(t, s.Send(Text("x")))
			b.world.Run()
		}
	}
	say(traceRecords + 9) // the transport is the first record
	lines := sofar(trace)
	require.Len(t, lines, traceRecords+1)
	require.Equal(t, "dropped 10", lines[traceRecords])
	say(1)
	require.Equal(t, []string{"out websocket message 1"}, sofar(trace))
	say(traceRecords + 3)
	b.play("close w 1000")
	lines = sofar(trace)
	require.Len(t, lines, traceRecords+3)
	require.Equal(t, []string{"dropped 3", "close: transport close", "end: closed"}, lines[traceRecords:])
	b.finish()
}

// The number of traces is limited, whatever the sessions; one that has ended makes
// room, and leaves nothing at its session.
func TestTraceLimit(t *testing.T) {
	b := newBench(t, 2, Options{})
	b.play(hsPolling, hsPolling, hsWebSocket)
	a, other := b.session("A"), b.session("B")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one, err := a.Trace(ctx, TraceOptions{})
	require.NoError(t, err)
	for i := range MaxTraces - 1 {
		begin(t, b.sessions[i%3], TraceOptions{})
	}
	require.Len(t, b.server.traces.list(), MaxTraces)
	_, err = other.Trace(t.Context(), TraceOptions{})
	require.ErrorIs(t, err, ErrTooManyTraces)
	cancel()
	for records := one.Next(); records != nil; records = one.Next() {
		require.NotEmpty(t, records)
	}
	begin(t, other, TraceOptions{})
	_, err = other.Trace(t.Context(), TraceOptions{})
	require.ErrorIs(t, err, ErrTooManyTraces)
	b.play("close w 1000") // of a session with traces
	begin(t, other, TraceOptions{})
	require.True(t, a.traced())
	b.finish()
	require.Empty(t, b.server.traces.list())
	require.False(t, a.traced())
	_, err = a.Trace(t.Context(), TraceOptions{})
	require.ErrorIs(t, err, ErrClosed)
	require.False(t, a.traced())
	require.Empty(t, b.server.traces.list())
}

// A trace ends when its time is over, or its context; its reader is told which.
func TestTraceEnds(t *testing.T) {
	for _, c := range []struct {
		name   string
		length time.Duration
		limit  time.Duration // of the context
		ends   time.Duration
		want   string
	}{
		{"by default", 0, 0, MaxTraceTime, "end: time"},
		{"after its time", 5 * time.Second, 0, 5 * time.Second, "end: time"},
		{"no later than it may", time.Hour, 0, MaxTraceTime, "end: time"},
		{"a negative time is the default", -1, 0, MaxTraceTime, "end: time"},
		{"with a deadline of the context", time.Hour, 7 * time.Second, 7 * time.Second, "end: time"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1, Options{})
			b.play(hsPolling)
			ctx, cancel := context.WithCancel(t.Context())
			if c.limit > 0 {
				ctx, cancel = context.WithTimeout(ctx, c.limit)
			}
			begun := time.Now()
			trace, err := b.session("A").Trace(ctx, TraceOptions{For: c.length})
			require.NoError(t, err)
			require.Len(t, trace.Next(), 1)
			last := trace.Next()
			require.Len(t, last, 1, c.name)
			require.Equal(t, c.want, shown(last[0]), c.name)
			require.Equal(t, c.ends, time.Since(begun), c.name)
			require.Nil(t, trace.Next())
			require.Nil(t, trace.Next())
			require.False(t, b.session("A").traced())
			b.play("post sid=A 4late")
			require.Nil(t, trace.Next())
			cancel()
			b.finish()
		})
	}
	synctest.Test(t, func(t *testing.T) { // nobody reads
		b := newBench(t, 1, Options{})
		b.play(hsPolling)
		ctx, cancel := context.WithCancel(t.Context())
		trace, err := b.session("A").Trace(ctx, TraceOptions{})
		require.NoError(t, err)
		cancel()
		synctest.Wait()
		require.Empty(t, b.server.traces.list())
		require.Equal(t, []string{"on polling", "end: canceled"}, sofar(trace))
		_, err = b.session("A").Trace(ctx, TraceOptions{})
		require.ErrorIs(t, err, context.Canceled)
		b.finish()
	})
}

// Traces come and go while sessions do: each that begins is told of the end, once and
// last, and no session keeps the mark of one that has gone.
func TestTraceRacesWithClose(t *testing.T) {
	server, address, ended := serveWith(t, Options{Loops: 2}, Events{Message: func(s *Session, m Message) { _ = s.Send(m) }})
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for n := 0; n < 60; n++ {
				w := dialWire(t, address)
				w.websocket()
				var all []*Session
				for s := range server.Sessions() {
					all = append(all, s)
				}
				_ = w.write("4hello")
				ctx, cancel := context.WithCancel(t.Context())
				var traces []*Trace
				for _, s := range all {
					trace, err := s.Trace(ctx, TraceOptions{Payloads: n%2 == 0})
					if err != nil {
						if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrTooManyTraces) {
							t.Error(err)
						}
						continue
					}
					traces = append(traces, trace)
				}
				if n%3 == 0 {
					for _, s := range all {
						s.CloseNow()
					}
				}
				w.hangUp()
				if n%4 == 0 {
					cancel()
				}
				for _, trace := range traces {
					var last []TraceRecord
					if n%4 != 0 && n%3 != 0 {
						cancel() // what others have ended is seen before
					}
					closes := 0
					for records := trace.Next(); records != nil; records = trace.Next() {
						last = append(last[:0], records...)
						for _, r := range records {
							if r.Event == TraceClose {
								closes++
							}
						}
					}
					end := last[len(last)-1]
					if end.Event != TraceEnd || (closes == 1) != (end.Why == TraceClosed) || closes > 1 {
						t.Errorf("%d ends, the last record is %s", closes, shown(end))
					}
				}
				cancel()
			}
		})
	}
	readers.Wait()
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-ended, ErrServerClosed)
	require.Empty(t, server.traces.list())
}

// The names are what operators see.
func TestTraceNames(t *testing.T) {
	seen := map[string]bool{}
	for e := TraceEvent(1); int(e) < numTraceEvents; e++ {
		require.NotEmpty(t, e.String())
		require.NotEqual(t, "unknown", e.String())
		require.False(t, seen[e.String()])
		seen[e.String()] = true
	}
	for e := TraceClosed; e <= TraceCanceled; e++ {
		require.NotEqual(t, "unknown", e.String())
	}
	require.Equal(t, []string{"unknown", "unknown", "unknown", "unknown"},
		[]string{TraceEvent(0).String(), TraceEvent(numTraceEvents).String(), TraceEnding(0).String(), TraceEnding(9).String()})
}

func TestHide(t *testing.T) {
	for _, c := range []struct{ text, secret, want string }{
		{"", "ab", ""},
		{"a", "ab", "a"},
		{"xabx", "ab", "x**x"},
		{"ababab", "ab", "******"},
		{"aaa", "aa", "**a"},
		{"abc", "", "abc"},
	} {
		text := []byte(c.text)
		hide(text, []byte(c.secret))
		require.True(t, bytes.Equal([]byte(c.want), text), "%s without %q: %s", c.text, c.secret, text)
	}
}

// The mark of a trace is no part of the reason that stands beside it.
func TestTraceLeavesTheReason(t *testing.T) {
	b := newBench(t, 1, Options{})
	b.play(hsPolling, "close-session A")
	b.finish()
	s := b.session("A")
	s.set(publicTraced) // as a trace does that begins too late
	require.Equal(t, ReasonForcedClose, s.endedFor())
	require.True(t, s.sealed())
	require.Equal(t, StateClosed, s.State())
}
