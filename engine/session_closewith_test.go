package engine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What was sent before CloseWith arrives first; the close frame has the code and the
// reason, and polling what Close tells.
func TestCloseWith(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, executor := range []bool{false, true} {
			for _, eio := range []string{"EIO=4", "EIO=3"} {
				begin := newSpec
				if executor {
					begin = newHeld
				}
				b := begin(t, loops, Options{}, nil)
				var ended []error
				tell := b.server.events.Close
				b.server.events.Close = func(s *Session, r Reason, err error) { ended = append(ended, err); tell(s, r, err) }
				b.begin("get "+eio+"&transport=polling", "ws "+eio+"&transport=websocket conn=w")
				for _, s := range b.sessions {
					require.NoError(t, s.Send(Text("last words")))
					require.NoError(t, s.CloseWith(4001, "ausgeloggt, tschüß"))
					require.ErrorIs(t, s.Send(Text("too late")), ErrClosed)
					require.ErrorIs(t, s.CloseWith(4002, "twice"), ErrClosed)
					s.Close()
				}
				lines := b.collect()
				require.Equal(t, []string{`w: text "4last words"`, `w: close 4001 "ausgeloggt, tschüß"`, "w: closed"}, lines)
				b.rest()
				polled := strings.Join(b.play("get "+eio+"&transport=polling&sid=A"), "|")
				require.Contains(t, polled, "4last words")
				require.Equal(t, 1, strings.Count(strings.Join(append(b.play("get "+eio+"&transport=polling&sid=A"), polled), "|"), "last words"))
				b.rest()
				require.Len(t, ended, 2)
				for _, err := range ended {
					require.Equal(t, &ClosedByApp{Code: 4001, Reason: "ausgeloggt, tschüß"}, err)
				}
				require.Equal(t, uint64(2), uint64(b.server.Stats().Closed[ReasonForcedClose]))
				b.finish()
			}
		}
	})
}

// However many end a session at the same time, and in whatever way, one of them is told
// that it was the first.
func TestOneCallEndsASession(t *testing.T) {
	calls := []func(s *Session) bool{
		(*Session).Close,
		func(s *Session) bool { return s.CloseWith(4001, "over") == nil },
		func(s *Session) bool { return s.end(endingCalled) },
		func(s *Session) bool { return s.end(endingNow) },
	}
	for range 200 {
		b := newSpec(t, 1, Options{}, nil)
		b.play(hsPolling)
		s := b.session("A")
		var first atomic.Int32
		var callers sync.WaitGroup
		begin := make(chan struct{})
		for i := range 2 * len(calls) {
			callers.Go(func() {
				<-begin
				if calls[i%len(calls)](s) {
					first.Add(1)
				}
			})
		}
		close(begin)
		callers.Wait()
		require.EqualValues(t, 1, first.Load())
		b.rest()
		require.False(t, s.Close(), "it is closed")
		b.finish()
	}
}

// A session that ends for another reason is not ended by Close.
func TestCloseOfASessionThatEnds(t *testing.T) {
	for _, script := range [][]string{
		{hsPolling, "close-session A"},
		{hsPolling, "send A waits", "drain 0s 0s"},
		{hsPolling, "post sid=A 1"},
		{hsWebSocket, "close w 1000"},
	} {
		b := newSpec(t, 1, Options{}, nil)
		b.play(script...)
		require.False(t, b.session("A").Close(), "%q", script)
		b.rest()
		b.finish()
	}
}

func TestCloseWithRefusesCodesAndReasons(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsWebSocket)
	s := b.session("A")
	for _, code := range []int{-1, 0, 999, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1009, 1010, 1015, 1016, 2999, 5000, 1 << 20} {
		require.Equal(t, errCloseCode, s.CloseWith(code, ""), code)
	}
	require.Equal(t, errCloseReason, s.CloseWith(1000, strings.Repeat("x", 124)))
	require.Equal(t, errCloseReason, s.CloseWith(1000, strings.Repeat("ü", 62)))
	require.Equal(t, errCloseReason, s.CloseWith(1000, "\xff"))
	require.Equal(t, StateOpen, s.State())
	require.NoError(t, s.Send(Text("still open")))
	require.Equal(t, []string{`w: text "4still open"`}, b.collect())
	b.finish()
	for _, code := range []int{1000, 1008, 1011, 1012, 1013, 1014, 3000, 4999} {
		b := newSpec(t, 1, Options{}, nil)
		b.play(hsWebSocket)
		reason := strings.Repeat("ab ", 41)
		require.NoError(t, b.session("A").CloseWith(code, reason))
		require.Equal(t, []string{fmt.Sprintf("w: close %d %q", code, reason), "w: closed"}, b.collect())
		b.finish()
	}
	b = newSpec(t, 1, Options{}, nil)
	b.play(hsWebSocket)
	require.NoError(t, b.session("A").CloseWith(1008, ""))
	require.Equal(t, []string{"w: close 1008", "w: closed"}, b.collect())
	require.Equal(t, `open A; close A "forced close" engine: closed by the application: 1008 ""`, b.events())
	b.finish()
}

// How CloseWith goes together with other ends: the first orderly one counts, and the
// client is told the code unless the session ends for a reason of its own.
func TestCloseWithAmongOtherEnds(t *testing.T) {
	const byApp = `close A "forced close" engine: closed by the application: 4001 "over"`
	closeWith := func(b *bench) { require.NoError(b.t, b.session("A").CloseWith(4001, "over")) }
	for _, c := range []struct {
		name  string
		act   func(b *bench)
		told  string // the client
		event string
	}{
		{"behind a Broadcast", func(b *bench) { b.server.Broadcast(prepared(Text("to all"))); closeWith(b) },
			`w: text "4to all"|w: close 4001 "over"|w: closed`, byApp},
		{"before a Broadcast", func(b *bench) { closeWith(b); b.server.Broadcast(prepared(Text("to all"))) },
			`w: close 4001 "over"|w: closed`, byApp},
		{"before Close", func(b *bench) { closeWith(b); b.session("A").Close() }, `w: close 4001 "over"|w: closed`, byApp},
		{"behind Close", func(b *bench) {
			b.session("A").Close()
			require.ErrorIs(b.t, b.session("A").CloseWith(4001, "over"), ErrClosed)
		}, `w: close|w: closed`, `close A "forced close"`},
		{"before CloseNow", func(b *bench) { closeWith(b); b.session("A").CloseNow() }, `w: close 4001 "over"|w: closed`, byApp},
		{"before CloseSessions", func(b *bench) { closeWith(b); b.server.CloseSessions() }, `w: close 4001 "over"|w: closed`, byApp},
		{"behind CloseSessions", func(b *bench) {
			b.server.CloseSessions()
			b.world.Run()
			require.ErrorIs(b.t, b.session("A").CloseWith(4001, "over"), ErrClosed)
		}, `w: close|w: closed`, `close A "forced close"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSpec(t, 1, Options{}, nil)
			b.play(hsWebSocket)
			b.events()
			c.act(b)
			require.Equal(t, c.told, strings.Join(b.collect(), "|"))
			require.Contains(t, b.events()+" ", c.event)
			b.finish()
		})
	}
}

// A client that does not read is closed after Timeouts.Close, as by Close.
func TestCloseWithOutOfTime(t *testing.T) {
	b := newSpec(t, 1, Options{Timeouts: Timeouts{Close: time.Second}}, nil)
	b.play(hsPolling)
	require.NoError(t, b.session("A").Send(Text("never polled")))
	require.NoError(t, b.session("A").CloseWith(4001, "over"))
	b.events()
	b.play("advance 1s")
	require.Equal(t, `close A "forced close" `+ErrCloseTimeout.Error(), b.events())
	b.finish()
}

// Goroutines that send and call it at the same time: each session has one code.
func TestCloseWithFromGoroutines(t *testing.T) {
	causes := make(chan error, 100)
	b := newSpec(t, -3, Options{}, nil)
	for i := range 20 {
		b.play(fmt.Sprint("ws EIO=4&transport=websocket conn=c", i))
	}
	var group sync.WaitGroup
	for _, s := range b.sessions {
		ctx := s.Context()
		counted := make(chan error, 4)
		for i := range 4 {
			group.Go(func() {
				_ = s.Send(message)
				counted <- s.CloseWith(4000+i, "")
			})
		}
		group.Go(func() {
			closed := 0
			for range 4 {
				if <-counted == nil {
					closed++
				}
			}
			if closed != 1 {
				causes <- fmt.Errorf("%d calls have closed the session", closed)
				return
			}
			causes <- nil
		})
		group.Go(func() {
			<-ctx.Done()
			causes <- context.Cause(ctx)
		})
	}
	for len(causes) < 2*len(b.sessions) {
		b.world.Run()
	}
	group.Wait()
	for range 2 * len(b.sessions) {
		if err := <-causes; err != nil {
			var told *ClosedByApp
			require.ErrorAs(t, err, &told)
			require.Contains(t, []int{4000, 4001, 4002, 4003}, told.Code)
		}
	}
	b.collect()
	b.finish()
}
