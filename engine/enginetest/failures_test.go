package enginetest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// A trial is a test whose failures are looked at.
type trial struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (t *trial) Helper()          {}
func (t *trial) Failed() bool     { return len(t.failures) > 0 }
func (t *trial) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *trial) Errorf(format string, args ...any) {
	t.failures = append(t.failures, fmt.Sprintf(format, args...))
}

func (t *trial) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// failuresOf runs a test, with all that it cleans up, and returns how it failed.
func failuresOf(t *testing.T, test func(t testing.TB)) []string {
	tried := &trial{TB: t}
	alone := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		<-done
	}
	alone(func() { test(tried) })
	for _, f := range slices.Backward(tried.cleanups) {
		alone(f)
	}
	return tried.failures
}

func TestFailuresSayWhatIsMissing(t *testing.T) {
	nothingOnLoan(t)
	enginetest.SetPatience(t, 20*time.Millisecond)
	polls, webSocket := enginetest.Options{}, enginetest.Options{Transport: engine.WebSocket}
	quiet := func(t testing.TB) *enginetest.World { return enginetest.New(t, engine.Options{}, engine.Events{}) }
	echoes := func(t testing.TB) *enginetest.World {
		return enginetest.New(t, engine.Options{}, engine.Events{Message: echo})
	}
	blocked := make(chan struct{})
	for _, test := range []struct {
		name string
		test func(t testing.TB)
		says []string
	}{
		{"options that cannot be", func(t testing.TB) { enginetest.New(t, engine.Options{MaxPayload: -1}, engine.Events{}) },
			[]string{"New:", "MaxPayload"}},
		{"no transport", func(t testing.TB) { quiet(t).Dial(enginetest.Options{Transport: 7}) },
			[]string{"transport 7", "engine.Polling"}},
		{"no revision", func(t testing.TB) { quiet(t).Dial(enginetest.Options{Revision: 5}) },
			[]string{"revision 5"}},
		{"no TLS", func(t testing.TB) { quiet(t).Dial(enginetest.Options{TLS: clientTLS}) },
			[]string{"engine.Options.TLS is nil"}},
		{"Dial of a client that is refused", func(t testing.TB) {
			enginetest.New(t, engine.Options{}, engine.Events{Admit: func(*engine.Admission) error { return engine.Refuse("go away") }}).Dial(polls)
		}, []string{"expected a session", "status 403, code 4: go away", "Admit", "TryDial"}},
		{"Dial without an answer", func(t testing.TB) {
			enginetest.New(t, engine.Options{}, engine.Events{Admit: func(a *engine.Admission) error { a.Later(); return nil }}).Dial(polls)
		}, []string{"expected an answer to the handshake", "polling, revision 4", "Advance"}},
		{"Dial where nobody listens", func(t testing.TB) { enginetest.Dial(t, "http://127.0.0.1:1/", polls) },
			[]string{"expected a session", "127.0.0.1:1", "refused", "Does a server listen there?"}},
		{"Dial without a URL", func(t testing.TB) { enginetest.Dial(t, "localhost:3000", polls) },
			[]string{"localhost:3000", "http://127.0.0.1:3000/engine.io/"}},
		{"Next without a message", func(t testing.TB) { quiet(t).Dial(polls).Next() },
			[]string{"Next: expected a message", "open on polling", "Advance"}},
		{"Next after the end", func(t testing.TB) {
			c := quiet(t).Dial(webSocket)
			c.Close()
			c.Next()
		}, []string{"Next: expected a message", "the session has ended: closed by the client"}},
		{"NextText of bytes", func(t testing.TB) {
			c := echoes(t).Dial(polls)
			c.Send(data(1, 2))
			c.NextText()
		}, []string{"NextText: expected text", "the bytes 01 02", "Next"}},
		{"None where there are some", func(t testing.TB) {
			c := echoes(t).Dial(polls)
			c.Send(text(strings.Repeat("a", 300)))
			c.Send(text("b"))
			c.None()
		}, []string{"None: expected no message", `aaa" and 100 bytes more`, "and 1 more"}},
		{"Send after the end", func(t testing.TB) {
			c := quiet(t).Dial(polls)
			c.Lose()
			c.Send(text("hello"))
		}, []string{"Send: expected an open session", "lost by the client"}},
		{"Closed of what is open", func(t testing.TB) { quiet(t).Dial(polls).Closed() },
			[]string{"Closed: expected the end of the session", "open on polling"}},
		{"Closed of what is paused", func(t testing.TB) {
			c := quiet(t).Dial(webSocket)
			c.Pause()
			c.Closed()
		}, []string{"open on websocket, and paused"}},
		{"Upgrade of a WebSocket", func(t testing.TB) { quiet(t).Dial(webSocket).Upgrade() },
			[]string{"Upgrade: expected a session on polling"}},
		{"Upgrade that is not offered", func(t testing.TB) {
			enginetest.New(t, engine.Options{NoUpgrades: true}, engine.Events{}).Dial(polls).Upgrade()
		}, []string{"offers websocket", "NoUpgrades"}},
		{"Upgrade after the end", func(t testing.TB) {
			c := quiet(t).Dial(polls)
			c.Close()
			c.Upgrade()
		}, []string{"expected an open session", "closed by the client"}},
		{"Upgrade that is refused", func(t testing.TB) {
			enginetest.New(t, engine.Options{Access: engine.Access{Bind: func(r *engine.Request) string { return r.Query("transport") }}}, engine.Events{}).Dial(polls).Upgrade()
		}, []string{"came status 403"}},
		{"a session that ends in the upgrade", func(t testing.TB) {
			enginetest.New(t, engine.Options{}, engine.Events{Upgrading: func(s *engine.Session) { s.CloseNow() }}).Dial(polls).Upgrade()
		}, []string{"Upgrade:", "close"}},
		{"Advance of less than nothing", func(t testing.TB) { quiet(t).Advance(-time.Second) },
			[]string{"Advance: expected a time of zero or more, came -1s"}},
		{"a callback that does not return", func(t testing.TB) {
			w := enginetest.New(t, engine.Options{Executor: engine.NewExecutor(1)}, engine.Events{Message: func(*engine.Session, engine.Message) { <-blocked }})
			t.Cleanup(func() { blocked <- struct{}{} })
			w.Dial(polls).Send(text("hello"))
			w.Settle()
		}, []string{"Settle: expected all callbacks to return", "1 tasks"}},
		{"a callback that does not return while time passes", func(t testing.TB) {
			w := enginetest.New(t, engine.Options{Executor: engine.NewExecutor(1)}, engine.Events{Message: func(*engine.Session, engine.Message) { <-blocked }})
			t.Cleanup(func() { blocked <- struct{}{} })
			w.Dial(polls).Send(text("hello"))
			w.Advance(time.Second)
		}, []string{"Advance: expected all callbacks to return"}},
		{"a callback that does not return at the end", func(t testing.TB) {
			release := make(chan struct{})
			t.Cleanup(func() { close(release) }) // behind the World's end
			w := enginetest.New(t, engine.Options{Executor: engine.NewExecutor(1)}, engine.Events{Close: func(*engine.Session, engine.Reason, error) { <-release }})
			w.Dial(polls)
		}, []string{"by the end of the test", "1 tasks"}},
		{"a connection that is left", func(t testing.TB) {
			w := enginetest.New(t, engine.Options{Fallback: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _, _ = http.NewResponseController(w).Hijack()
				blocked <- struct{}{}
			})}, engine.Events{})
			enginetest.Raw(w).Write([]byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"))
			enginetest.Work(w)
			<-blocked
		}, []string{"expected nothing to be left", "0 sessions, 1 connections"}},
		{"a panic in a callback", func(t testing.TB) {
			c := enginetest.New(t, engine.Options{}, engine.Events{Message: func(*engine.Session, engine.Message) { panic("oops") }}).Dial(webSocket)
			c.Send(text("hello"))
		}, []string{"expected no error in the server's log", "oops", "\ngoroutine "}},
		{"a panic on the Executor", func(t testing.TB) {
			w := enginetest.New(t, engine.Options{Executor: engine.NewExecutor(1)}, engine.Events{Message: func(*engine.Session, engine.Message) { panic("oops") }})
			w.Dial(polls).Send(text("hello"))
			w.Settle()
		}, []string{"expected no error in the server's log", "oops"}},
		{"a client in a callback", func(t testing.TB) {
			var c *enginetest.Client
			c = enginetest.New(t, engine.Options{}, engine.Events{Message: func(*engine.Session, engine.Message) { c.Send(text("again")) }}).Dial(polls)
			c.Send(text("hello"))
		}, []string{"was called in a callback"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			failures := failuresOf(t, test.test)
			require.NotEmpty(t, failures, "the test has passed")
			for _, part := range test.says {
				require.Contains(t, failures[0], part)
			}
			require.NotContains(t, failures[0], "%!")
		})
	}
}

// A callback that ends the test, as FailNow does, leaves a World that ends.
func TestCallbackThatEndsTheTest(t *testing.T) {
	nothingOnLoan(t)
	failures := failuresOf(t, func(t testing.TB) {
		w := enginetest.New(t, engine.Options{}, engine.Events{Message: func(*engine.Session, engine.Message) { t.Fatalf("unexpected") }})
		defer w.Settle()
		w.Dial(enginetest.Options{}).Send(text("hello"))
		t.Errorf("the test goes on")
	})
	require.Equal(t, "unexpected", failures[0])
	require.NotContains(t, failures, "the test goes on")
}

// What a test leaves open is closed with it, and is no failure, however long sessions
// may take to close.
func TestWhatIsOpenEndsWithTheTest(t *testing.T) {
	nothingOnLoan(t)
	for _, timeout := range []time.Duration{0, time.Hour, 10 * 365 * 24 * time.Hour} {
		closed := 0
		failures := failuresOf(t, func(t testing.TB) {
			w := enginetest.New(t, engine.Options{Timeouts: engine.Timeouts{Close: timeout}, PingTimeout: timeout}, engine.Events{
				Open: func(s *engine.Session, _ *engine.Request) {
					for range 10 {
						_ = s.Send(text(strings.Repeat("x", 1000)))
					}
				},
				Close: func(*engine.Session, engine.Reason, error) { closed++ },
			})
			for _, kind := range kinds() {
				w.Dial(kind)
				kind.Paused = true
				w.Dial(kind)
				kind.Query = url.Values{"n": {"1"}}
				w.Dial(kind).Lose()
			}
		})
		require.Empty(t, failures)
		require.Equal(t, 3*len(kinds()), closed)
	}
}
