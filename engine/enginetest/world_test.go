package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// A client that answers pings stays. One that does not is gone at the very moment.
func TestPingTimeoutsByAdvance(t *testing.T) {
	o := engine.Options{PingInterval: 10 * time.Second, PingTimeout: 5 * time.Second}
	for _, kind := range kinds() {
		t.Run(name(kind), func(t *testing.T) {
			nothingOnLoan(t)
			var reasons []engine.Reason
			heartbeats := 0
			w := enginetest.New(t, o, engine.Events{
				Heartbeat: func(*engine.Session) { heartbeats++ },
				Close:     func(_ *engine.Session, r engine.Reason, _ error) { reasons = append(reasons, r) },
			})
			c := w.Dial(kind)
			w.Advance(10 * time.Minute)
			require.Empty(t, reasons)
			require.InDelta(t, 60, heartbeats, 1)
			c.Close()
			require.Equal(t, []engine.Reason{engine.ReasonTransportClose}, reasons)

			kind.Mute = true
			mute := w.Dial(kind)
			w.Advance(o.PingInterval + o.PingTimeout - time.Millisecond)
			require.Len(t, reasons, 1)
			w.Advance(20 * time.Millisecond) // two ticks
			require.Equal(t, []engine.Reason{engine.ReasonTransportClose, engine.ReasonPingTimeout}, reasons)
			require.Contains(t, []string{"close packet", "close frame"}, mute.Closed())
		})
	}
}

func TestRefused(t *testing.T) {
	o := engine.Options{Revisions: []engine.Revision{engine.Revision4}, Limits: engine.Limits{HandshakeRate: 1}}
	events := engine.Events{Admit: func(a *engine.Admission) error {
		switch a.Query("as") {
		case "stranger":
			return engine.Refuse("no strangers")
		case "nobody":
			a.ResponseHeader().Set("WWW-Authenticate", "Basic")
			return &engine.Refusal{Status: http.StatusUnauthorized, Message: "log in"}
		case "later":
			return &engine.Refusal{Status: http.StatusServiceUnavailable, RetryAfter: 1500 * time.Millisecond}
		case "fault":
			return errors.New("the database is down")
		}
		return nil
	}}
	as := func(who string) enginetest.Options { return enginetest.Options{Query: url.Values{"as": {who}}} }
	for _, test := range []struct {
		name               string
		client             enginetest.Options
		polling, webSocket enginetest.Refused
		header, value      string
	}{
		{"by Admit", as("stranger"), enginetest.Refused{Status: 403, Code: 4, Message: "no strangers"},
			enginetest.Refused{Status: 400, Code: -1, Message: "no strangers"}, "", ""},
		{"by Admit, with a status", as("nobody"), enginetest.Refused{Status: 401, Code: 4, Message: "log in"},
			enginetest.Refused{Status: 401, Code: -1, Message: "log in"}, "WWW-Authenticate", "Basic"},
		{"by Admit, for a while", as("later"), enginetest.Refused{Status: 503, Code: 4, Message: "Forbidden"},
			enginetest.Refused{Status: 503, Code: -1, Message: "Forbidden"}, "Retry-After", "2"},
		{"by a fault", as("fault"), enginetest.Refused{Status: 403, Code: 4, Message: "Forbidden"},
			enginetest.Refused{Status: 400, Code: -1, Message: "Forbidden"}, "", ""},
		{"a page of elsewhere", enginetest.Options{Header: http.Header{"origin": {"https://elsewhere.example"}}},
			enginetest.Refused{Status: 403, Code: 4, Message: "Forbidden"}, enginetest.Refused{Status: 403, Code: -1, Message: "Forbidden"}, "", ""},
		{"a revision that is off", enginetest.Options{Revision: 3},
			enginetest.Refused{Status: 400, Code: 5, Message: "Unsupported protocol version"}, enginetest.Refused{Status: 400, Code: -1, Message: "Unsupported protocol version"}, "", ""},
	} {
		for _, transport := range []engine.Transport{engine.Polling, engine.WebSocket} {
			t.Run(fmt.Sprintf("%s/%v", test.name, transport), func(t *testing.T) {
				nothingOnLoan(t)
				w := enginetest.New(t, o, events)
				test.client.Transport = transport
				_, err := w.TryDial(test.client)
				var refused *enginetest.Refused
				require.ErrorAs(t, err, &refused)
				want := test.polling
				if transport == engine.WebSocket {
					want = test.webSocket
				}
				if test.header != "" {
					require.Equal(t, test.value, refused.Header.Get(test.header))
				}
				require.Contains(t, err.Error(), strconv.Itoa(want.Status))
				refused.Header = nil
				require.Equal(t, want, *refused)
				w.Dial(enginetest.Options{Transport: transport}) // another one is let in
			})
		}
	}
	t.Run("an address that comes too often", func(t *testing.T) {
		nothingOnLoan(t)
		w := enginetest.New(t, o, events)
		from := enginetest.Options{Address: netip.MustParseAddr("203.0.113.7")}
		for range 10 {
			w.Dial(from)
		}
		_, err := w.TryDial(from)
		var refused *enginetest.Refused
		require.ErrorAs(t, err, &refused)
		require.Equal(t, http.StatusTooManyRequests, refused.Status)
		w.Dial(enginetest.Options{Address: netip.MustParseAddr("203.0.113.8")})
		w.Advance(time.Second)
		w.Dial(from)
	})
}

func TestTheServerSeesWhatTheClientSends(t *testing.T) {
	for _, transport := range []engine.Transport{engine.Polling, engine.WebSocket} {
		t.Run(transport.String(), func(t *testing.T) {
			nothingOnLoan(t)
			var cookies []string
			w := enginetest.New(t, engine.Options{
				Path:          "/live",
				Cookie:        &engine.Cookie{Name: "sticky"},
				InitialPacket: &engine.Message{Data: []byte("welcome")},
				MaxPayload:    12345,
			}, engine.Events{
				Admit: func(a *engine.Admission) error {
					a.ResponseHeader().Set("X-Hello", a.Header("X-From")+", "+a.Query("of")+" at "+a.RemoteAddr().Addr().String())
					return nil
				},
				Headers: func(r *engine.Request, _ http.Header) { cookies = append(cookies, r.Header("Cookie")) },
			})
			c := w.Dial(enginetest.Options{
				Transport: transport, Address: netip.MustParseAddr("2001:db8::1"), Query: url.Values{"of": {"Turin & Rome"}},
				Header: http.Header{"X-From": {"Ada"}, "Cookie": {"login=1"}},
			})
			require.Equal(t, "welcome", c.NextText())
			require.Equal(t, c.ID(), w.Server().Find(c.ID()).ID())
			require.Equal(t, 12345, c.OpenData().MaxPayload)
			require.Equal(t, "login=1", cookies[0])
			require.Equal(t, "Ada, Turin & Rome at 2001:db8::1", c.ResponseHeader().Get("X-Hello"))
			if transport == engine.WebSocket {
				return
			}
			c.Upgrade()
			for _, cookie := range cookies[1:] {
				require.Equal(t, "login=1; sticky="+c.ID(), cookie)
			}
			require.Greater(t, len(cookies), 1)
		})
	}
}

// Posts are as large as the server takes, and no larger.
func TestPostsRespectMaxPayload(t *testing.T) {
	for _, kind := range kinds() {
		if kind.Transport != engine.Polling {
			continue
		}
		t.Run(name(kind), func(t *testing.T) {
			nothingOnLoan(t)
			var mu sync.Mutex
			got, posts := 0, 0 // guarded by mu
			url := serve(t, engine.Options{MaxPayload: 1000, Middleware: []func(http.Handler) http.Handler{
				func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.Method == http.MethodPost {
							mu.Lock()
							posts++
							mu.Unlock()
						}
						next.ServeHTTP(w, r)
					})
				},
			}}, engine.Events{Message: func(s *engine.Session, m engine.Message) {
				mu.Lock()
				defer mu.Unlock()
				if got++; got == 200 {
					_ = s.Send(text("all"))
				}
			}})
			c := enginetest.Dial(t, url, kind)
			for i := range 200 { // while the first post is under way, others wait
				c.Send(engine.Message{Binary: i%3 == 0, Data: []byte(strings.Repeat("a", 90))})
			}
			require.Equal(t, "all", c.NextText())
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, 200, got)
			require.GreaterOrEqual(t, posts, 200/10)
		})
	}
}

// A client that reads nothing makes the server's queue grow, and hears all when it
// reads again.
func TestPause(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(name(kind), func(t *testing.T) {
			nothingOnLoan(t)
			high, low := 0, 0
			w := enginetest.New(t, engine.Options{Queue: engine.Queue{HighWater: 30_000}}, engine.Events{
				HighWater: func(*engine.Session, int) { high++ },
				LowWater:  func(*engine.Session) { low++ },
			})
			kind.Paused = true
			c := w.Dial(kind)
			for round := 1; round <= 2; round++ {
				for i := range 150 {
					require.NoError(t, w.Server().Find(c.ID()).Send(text(fmt.Sprintf("%d %s", i, strings.Repeat("x", 2000)))))
				}
				c.None()
				require.Equal(t, []int{round, round - 1}, []int{high, low})
				c.Resume()
				for i := range 150 {
					require.True(t, strings.HasPrefix(c.NextText(), fmt.Sprint(i)+" "))
				}
				require.Equal(t, []int{round, round}, []int{high, low})
				if kind.Transport == engine.Polling {
					break // its poll waits: it would take the first message
				}
				c.Pause()
			}
		})
	}
}

// Callbacks that block run beside the test, which waits for them.
func TestExecutor(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(name(kind), func(t *testing.T) {
			nothingOnLoan(t)
			var mu sync.Mutex
			open := map[string]bool{} // guarded by mu
			lookUp := make(chan string)
			go func() {
				for who := range lookUp {
					lookUp <- "Hello, " + who
				}
			}()
			t.Cleanup(func() { close(lookUp) })
			ask := func(who string) string {
				mu.Lock()
				defer mu.Unlock()
				lookUp <- who
				return <-lookUp
			}
			w := enginetest.New(t, engine.Options{Executor: engine.NewExecutor(4)}, engine.Events{
				Admit: func(a *engine.Admission) error {
					if ask(a.Query("user")) != "Hello, Ada" {
						return engine.Refuse("who are you?")
					}
					return nil
				},
				Open: func(s *engine.Session, r *engine.Request) {
					mu.Lock()
					defer mu.Unlock()
					open[s.ID()] = true
				},
				Message: func(s *engine.Session, m engine.Message) { _ = s.Send(text(ask(string(m.Data)))) },
				Close: func(s *engine.Session, _ engine.Reason, _ error) {
					mu.Lock()
					defer mu.Unlock()
					delete(open, s.ID())
				},
			})
			kind.Query = url.Values{"user": {"Bob"}}
			_, err := w.TryDial(kind)
			require.ErrorContains(t, err, "who are you?")
			kind.Query = url.Values{"user": {"Ada"}}
			var clients []*enginetest.Client
			for range 10 {
				clients = append(clients, w.Dial(kind))
			}
			for i, c := range clients {
				for range 5 {
					c.Send(text(fmt.Sprint(i)))
				}
			}
			w.Settle()
			for i, c := range clients {
				for range 5 {
					require.Equal(t, "Hello, "+fmt.Sprint(i), c.NextText())
				}
				c.None()
			}
			require.Len(t, open, 10) // all callbacks have returned
			w.Advance(time.Minute)
			clients[0].Close()
			w.Settle()
			require.Len(t, open, 9)
		})
	}
}

// Goroutines that the World does not know of are waited for where something is
// expected.
func TestGoroutinesOfTheProgram(t *testing.T) {
	nothingOnLoan(t)
	w := enginetest.New(t, engine.Options{}, engine.Events{
		Admit: func(a *engine.Admission) error {
			verdict := a.Later()
			go verdict.Accept()
			return nil
		},
		Message: func(s *engine.Session, m engine.Message) {
			answer := "you said " + string(m.Data)
			go func() {
				_ = s.Send(text(answer))
				s.Close()
			}()
		},
	})
	for _, kind := range kinds() {
		c := w.Dial(kind)
		c.Send(text("hello"))
		require.Equal(t, "you said hello", c.NextText())
		require.Contains(t, []string{"close packet", "close frame"}, c.Closed())
	}
}

// A server that is mounted in net/http, where connections are not its own.
func TestDialMountedServer(t *testing.T) {
	nothingOnLoan(t)
	server, err := engine.New(engine.Options{}, engine.Events{Message: echo})
	require.NoError(t, err)
	for _, wrapped := range []bool{false, true} { // wrapped: nothing can be hijacked, and bodies are chunked
		t.Run(fmt.Sprint(wrapped), func(t *testing.T) {
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if wrapped {
					w = struct{ http.ResponseWriter }{w}
				}
				server.ServeHTTP(w, r)
			}))
			t.Cleanup(web.Close)
			c := enginetest.Dial(t, web.URL, enginetest.Options{})
			for _, size := range []int{1, 5000, 100_000} {
				c.Send(text(strings.Repeat("x", size)))
				require.Len(t, c.NextText(), size)
			}
			if !wrapped {
				c.Upgrade()
				c.Send(text("upgraded"))
				require.Equal(t, "upgraded", c.NextText())
			}
			c.Close()
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, server.Shutdown(ctx))
}

// A World is of one loop, whatever the options say.
func TestWorldHasOneLoop(t *testing.T) {
	nothingOnLoan(t)
	w := enginetest.New(t, engine.Options{Loops: 8, Queue: engine.Queue{Budget: 1 << 20}, Limits: engine.Limits{MaxPolls: 2}}, engine.Events{})
	w.Dial(enginetest.Options{})
	second := w.Dial(enginetest.Options{})
	third := w.Dial(enginetest.Options{})
	require.Contains(t, third.Closed(), "status 503", "the limit is not shared among loops")
	second.Close()
	w.Dial(enginetest.Options{}).Close()
}

// WebSockets that the server takes and then does not want.
func TestRefusedAfterTheWebSocket(t *testing.T) {
	nothingOnLoan(t)
	w := enginetest.New(t, engine.Options{}, engine.Events{
		Open: func(s *engine.Session, _ *engine.Request) { s.Close() },
	})
	c, err := w.TryDial(enginetest.Options{Transport: engine.WebSocket})
	require.NoError(t, err)
	require.Equal(t, "close frame", c.Closed())
	c, err = w.TryDial(enginetest.Options{})
	require.NoError(t, err)
	require.Equal(t, "close packet", c.Closed())
}
