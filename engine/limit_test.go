package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"turbine/httpparse"
	"turbine/wsframe"

	"github.com/stretchr/testify/require"
)

// warnings is a slog.Handler that keeps what is logged of limits.
type warnings struct {
	mu    sync.Mutex
	lines []string
}

func (w *warnings) Enabled(context.Context, slog.Level) bool { return true }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w *warnings) WithGroup(string) slog.Handler            { return w }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	w.lines = append(w.lines, line)
	return nil
}

func (w *warnings) take() (lines []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines, w.lines = w.lines, nil
	return lines
}

// nobody is exempt.
var nobody = []netip.Prefix{}

// fragments is a text message of three frames.
const fragments = "raw w hex 01810000000034008000000000008000000000"

func post(sid, body string, length int) string {
	return fmt.Sprintf(`"POST /engine.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"`, sid, length, body)
}

// TestLimits has a row for every limit: it is met, the client sees what the
// documentation says, it is counted and logged, and nothing else is.
func TestLimits(t *testing.T) {
	type row struct {
		options  Options
		later    bool     // the application takes its time to admit
		commands []string // the last one prints what is expected
		prints   string   // joined with |
		events   string   // of the last command
		shared   bool     // each loop has its share: for one loop only
		sockets  bool     // needs a real listener: TestConnLimits
		also     Limit    // is met on the way
	}
	rows := map[Limit]row{
		LimitConns:               {sockets: true},
		LimitConnsPerIP:          {sockets: true},
		LimitConnRate:            {sockets: true},
		LimitProxyHeader:         {sockets: true}, // a listener of its own: TestProxyHeaderRefused
		LimitTLSHandshakes:       {sockets: true}, // TestTLSLimits
		LimitTLSHandshakeTimeout: {sockets: true},
		LimitHandshakeRate: {options: Options{Limits: Limits{HandshakeRate: 1, Exempt: nobody}},
			commands: append(strings.Split(strings.Repeat(hsPolling+"|", 10), "|")[:10], hsPolling+" show=Retry-After"),
			prints:   "429 [Retry-After: 1] Too Many Requests"},
		LimitSessions: {options: Options{Limits: Limits{MaxSessions: 2}}, commands: []string{hsPolling, hsPolling, hsPolling + " show=Retry-After"},
			prints: "503 [Retry-After: 1] Service Unavailable"},
		LimitSessionsPerIP: {options: Options{Limits: Limits{MaxSessionsPerIP: 2, Exempt: nobody}}, commands: []string{hsPolling, hsPolling, hsPolling + " show=Retry-After"},
			prints: "429 [Retry-After: 1] Too Many Requests"},
		LimitRequestLine: {options: Options{Limits: Limits{MaxRequestLine: 100}},
			commands: []string{`raw a "repeat=GET /engine.io/?EIO=4&transport=polling&x=,60,a"`}, prints: "a: 414|a: closed"},
		LimitHeaderBytes: {options: Options{Limits: Limits{MaxRequestLine: 100, MaxHeaderBytes: 100}},
			commands: []string{`raw a "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n"`, `raw a "repeat=A: ,200,a"`}, prints: "a: 431|a: closed"},
		LimitHeaders: {options: Options{Limits: Limits{MaxHeaders: 2}},
			commands: []string{`raw a "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nA: b\r\nC: d\r\n\r\n"`}, prints: "a: 431|a: closed"},
		LimitHeaderTimeout: {commands: []string{`raw a "GET /engine.io/"`, "advance 10s"}, prints: "a: 408|a: closed"},
		LimitBodyTimeout: {commands: []string{hsPolling, "raw b " + post("A", "4hel", 6), "advance 30s"},
			prints: "b: 408|b: closed", events: `close A "transport error" data request connection closed prematurely`},
		LimitIdleTimeout: {commands: []string{"dial n", "advance 75s"}, prints: "n: closed"},
		LimitPayload: {options: Options{MaxPayload: 10},
			commands: []string{hsPolling, "post sid=A 4aaaaaaaaaaa"}, prints: "413|closed"},
		LimitPayloadPackets: {options: Options{Limits: Limits{MaxPayloadPackets: 2}},
			commands: []string{hsPolling, `post sid=A "4a\x1e4b"`, `post sid=A "4a\x1e4b\x1e4c"`}, prints: "400",
			events: `message A "a"; message A "b"; close A "parse error" engine: too many packets in one payload`},
		LimitFragments: {options: Options{Limits: Limits{MaxFragments: 2}}, commands: []string{hsWebSocket, fragments},
			prints: "w: close 1008|w: closed", events: `close A "transport error" wsframe: close 1008: too many fragments`},
		LimitPipelined: {options: Options{Limits: Limits{MaxPipelined: 100}}, commands: []string{hsPolling, "get sid=A conn=r", "raw r repeat=,100,b", "raw r b"},
			prints: "r: aborted", events: `close A "transport error" poll connection closed prematurely`},
		LimitBodyBudget: {options: Options{Limits: Limits{BodyBudget: 1}, MaxPayload: 20_000}, shared: true,
			commands: []string{hsPolling, hsPolling, "raw a " + post("A", "4aaaa", 10), "raw b " + post("B", "4bbbbb", 20_000), "show b Retry-After", "raw b repeat=,19994,b"},
			prints:   "b: 503 [Retry-After: 1]|b: closed", events: `close B "transport error" data request connection closed prematurely`},
		LimitPolls: {options: Options{Limits: Limits{MaxPolls: 1}}, shared: true,
			commands: []string{hsPolling, hsPolling, "get sid=A conn=a", "get sid=B conn=b show=Retry-After"},
			prints:   "b: 503 [Retry-After: 1]", events: `close B "transport error" engine: too many polls wait`},
		LimitUpgrades: {options: Options{Limits: Limits{MaxUpgrades: 1}}, shared: true,
			commands: []string{hsPolling, hsPolling, "ws sid=A conn=a", "ws sid=B conn=b"}, prints: "b: 503 Service Unavailable|b: closed"},
		LimitUpgradeTimeout: {commands: []string{hsPolling, "ws sid=A conn=w", "advance 10s"}, prints: "w: close|w: closed"},
		LimitAdmitting: {options: Options{Limits: Limits{MaxAdmitting: 1}}, later: true, shared: true,
			commands: []string{hsPolling + " conn=a", hsPolling + " conn=b"}, prints: "b: 503 Service Unavailable"},
		LimitAdmitTimeout: {later: true, commands: []string{hsPolling + " conn=a", "advance 10s"}, prints: "a: 503 Service Unavailable"},
		LimitFirstRequestTimeout: {options: Options{Timeouts: Timeouts{FirstRequest: 30 * time.Second}}, commands: []string{hsPolling, "advance 30s"},
			events: `close A "ping timeout" engine: client was not heard of after its handshake`},
		LimitQueue: {options: Options{Queue: Queue{MaxBytes: 300}}, commands: []string{hsPolling, "send A a b c"},
			prints: "engine: session queue full", events: `close A "queue overflow" engine: session queue full`},
		LimitQueuePackets: {options: Options{Queue: Queue{MaxPackets: 2}}, commands: []string{hsPolling, "send A a b c"},
			prints: "engine: session queue full", events: `close A "queue overflow" engine: session queue full`},
		LimitQueueBudget: {options: Options{Queue: Queue{Budget: 300}}, commands: []string{hsPolling, "send A a b c"}, shared: true,
			prints: "engine: budget of all queues is used up", events: `close A "queue overflow" engine: budget of all queues is used up`},
		LimitCloseTimeout: {commands: []string{hsPolling, "send A x", "close-session A", "advance 30s"},
			events: `close A "forced close" engine: client did not take what was queued in time`},
		LimitPending: {options: Options{Limits: Limits{MaxPending: 2 * eventSize}, Executor: new(byHand)},
			commands: []string{hsPolling, "post sid=A 4a", `post sid=A "4b\x1e4c"`}, prints: "200 ok",
			events: `message A "b"; message A "c"`},
		LimitPendingBudget: {options: Options{Limits: Limits{PendingBudget: 3 * eventSize}, Executor: new(byHand)}, also: LimitPending,
			commands: []string{hsPolling, `post sid=A "4a"`, `post sid=A "4b\x1e4c\x1e4d\x1e4e\x1e4f"`}, prints: "200 ok",
			events: `close A "queue overflow" engine: budget of all waiting events is used up`},
		LimitFallback:        {sockets: true}, // TestFallbackLimits
		LimitFallbackWaiting: {sockets: true},
	}
	names := map[string]bool{}
	for i := range NumLimits {
		limit := Limit(i)
		c, ok := rows[limit]
		require.True(t, ok, "no row for %v", limit)
		require.False(t, names[limit.String()] || limit.String() == "", "names differ")
		names[limit.String()] = true
		for _, loops := range []int{1, -3} {
			if c.sockets || c.shared && loops != 1 {
				continue
			}
			t.Run(fmt.Sprintf("%v/%d loops", limit, max(loops, -loops)), func(t *testing.T) {
				log := new(warnings)
				c.options.Logger = slog.New(log)
				b := newSpec(t, loops, c.options, nil)
				if c.later {
					b.server.events.Admit = func(a *Admission) error { a.Later(); return nil }
				}
				last := len(c.commands) - 1
				b.play(c.commands[:last]...)
				b.events()
				require.Equal(t, [NumLimits]int64{}, b.server.Stats().Limits, "too early")
				require.Empty(t, log.take())
				require.Equal(t, c.prints, strings.Join(b.play(c.commands[last]), "|"))
				require.Equal(t, c.events, b.events())
				var want [NumLimits]int64
				want[limit] = 1
				if c.also != 0 {
					want[c.also] = 1
				}
				require.Equal(t, want, b.server.Stats().Limits)
				switch {
				case limit == LimitIdleTimeout:
					require.Empty(t, log.take(), "that is no news")
				case c.also != 0:
					require.Len(t, log.take(), 1)
				default:
					requireLimitRecord(t, log, limit, 1)
				}
				b.finish()
			})
		}
	}
	require.Equal(t, "unknown", Limit(NumLimits).String())
}

// The limits of connections, as a server on real sockets counts them.
func TestConnLimits(t *testing.T) {
	for _, c := range []struct {
		limit   Limit
		options Options
		most    int // connections that are let in
	}{
		{LimitConns, Options{Limits: Limits{MaxConns: 3}}, 3},
		{LimitConnsPerIP, Options{Limits: Limits{MaxConnsPerIP: 3, Exempt: nobody}}, 3},
		{LimitConnRate, Options{Limits: Limits{ConnRate: 1, Exempt: nobody}}, 1000}, // at least 10, more if this machine is slow
	} {
		t.Run(c.limit.String(), func(t *testing.T) {
			log := new(warnings)
			c.options.Loops, c.options.Logger = 2, slog.New(log)
			server, err := New(c.options, Events{})
			require.NoError(t, err)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()

			let := 0
			for ; let <= c.most; let++ {
				conn, err := net.Dial("tcp", listener.Addr().String())
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
				if _, err = io.WriteString(conn, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					break
				}
				if _, err := io.ReadFull(conn, make([]byte, 12)); err != nil {
					break
				}
			}
			require.LessOrEqual(t, let, c.most)
			require.GreaterOrEqual(t, let, min(c.most, 10))
			var want [NumLimits]int64
			want[c.limit] = 1
			require.Equal(t, want, server.Stats().Limits)
			requireLimitRecord(t, log, c.limit, 1)

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = server.Shutdown(ctx) // cuts the connections off
			require.ErrorIs(t, <-served, ErrServerClosed)
		})
	}
}

// requireLimitRecord checks that the log has one record, of one limit, with what
// an operator needs to let the client in.
func requireLimitRecord(t *testing.T, log *warnings, limit Limit, times int) {
	t.Helper()
	lines := log.take()
	require.Len(t, lines, 1)
	level := "WARN"
	if limit.ofSilence() {
		level = "INFO"
	}
	require.Regexp(t, fmt.Sprintf(`^`+level+` limits were met %v=%d( client=[0-9a-f.:]+)? help=%s$`, limit, times, limitHelp[limit]), lines[0])
	switch limit {
	case LimitConns, LimitConnsPerIP, LimitConnRate, LimitHandshakeRate, LimitHeaders, LimitHeaderTimeout, LimitUpgrades, LimitAdmitting:
		require.Contains(t, lines[0], " client=")
	default: // met inside a session, or where only the address of a proxy is known
	}
}

// What the log calls a way in is the option that docs/security.md names.
func TestLimitHelpIsOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/security.md")
	require.NoError(t, err)
	for limit, help := range limitHelp {
		option, _, _ := strings.Cut(help, " ")
		require.True(t, regexp.MustCompile("(?m)^\\| .*\\| `"+option+"` \\|.*\\| `"+limitNames[limit]+"` \\|$").Match(page), "%s: %s", limitNames[limit], help)
	}
}

// However much is met, there is one record a second for the whole server, with
// what came together since the last.
func TestLimitsAreLoggedOnceASecond(t *testing.T) {
	log := new(warnings)
	b := newSpec(t, -3, Options{MaxPayload: 10, Limits: Limits{MaxHeaders: 2}, Logger: slog.New(log)}, nil)
	b.play(hsPolling)
	for range 5 {
		b.play("post sid=A 4aaaaaaaaaaa", `raw x "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nC: d\r\n\r\n"`)
		b.clients = nil
	}
	requireLimitRecord(t, log, LimitPayload, 1)
	b.play("advance 999ms", "post sid=A 4aaaaaaaaaaa")
	require.Empty(t, log.take())
	b.play("advance 1ms", "post sid=A 4aaaaaaaaaaa")
	lines := log.take()
	require.Len(t, lines, 1)
	require.Regexp(t, `^WARN limits were met headers=5 payload=6 client=\S+ help=Limits.MaxHeaders, MaxPayload$`, lines[0])
	b.play("advance 10s")
	require.Empty(t, log.take(), "nothing new")
	limits := b.server.Stats().Limits
	require.EqualValues(t, 7, limits[LimitPayload])
	require.EqualValues(t, 5, limits[LimitHeaders])
	b.finish()
}

// A refused handshake says when to come again, costs nothing of the rate, and
// is refused before the 101 and before middlewares and admission are asked.
func TestHandshakeRate(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		asked, seen := 0, 0
		b := newSpec(t, loops, Options{Limits: Limits{HandshakeRate: 2, Exempt: nobody}, Access: Access{CORS: &CORS{Origins: []string{"*"}}},
			Middleware: []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen++; next.ServeHTTP(w, r) })
			}},
		}, func(_ *bench, e *Events) {
			e.Admit = func(*Admission) error { asked++; return nil }
		})
		for range 20 {
			b.play(hsPolling)
		}
		for range 100 {
			require.Equal(t, []string{"429 [retry-after: 1] [Access-Control-Allow-Origin: *] Too Many Requests"},
				b.play(hsPolling+" show=retry-after,Access-Control-Allow-Origin header=Origin:http://x"))
			require.Equal(t, []string{"w: 429 [retry-after: 1] Too Many Requests", "w: closed"}, b.play(hsWebSocket+" show=retry-after"))
			b.clients = nil
		}
		require.Equal(t, 20, asked)
		require.Equal(t, 20, seen)
		require.EqualValues(t, 200, b.server.Stats().Limits[LimitHandshakeRate])
		b.events()
		b.play("post sid=A 4hello", "get path=/other")
		require.Equal(t, `message A "hello"`, b.events(), "sessions go on")
		b.play("advance 500ms")
		require.Equal(t, "101", strings.TrimPrefix(b.play(hsWebSocket)[0], "w: "))
		require.Equal(t, []string{"429 Too Many Requests"}, b.play(hsPolling))
		b.play("advance 10s")
		for range 20 {
			require.Contains(t, b.play(hsPolling)[0], "200 ")
		}
		require.Equal(t, []string{"429 Too Many Requests"}, b.play(hsPolling))
		b.finish()
	})
}

// A negative limit by address is none.
func TestNegativeLimitsByAddressAreOff(t *testing.T) {
	const burst = 1000 // of a rate of 100 a second, the default
	for _, limit := range []int{0, -1} {
		b := newSpec(t, 1, Options{Limits: Limits{HandshakeRate: limit, MaxSessionsPerIP: limit, Exempt: nobody}}, nil)
		for range burst {
			require.Contains(t, b.play(hsPolling)[0], "200 ")
		}
		require.Equal(t, limit < 0, strings.HasPrefix(b.play(hsPolling)[0], "200 "), limit)
		b.finish()
	}
}

// The connection continues after a 429, unless a body is behind the request.
func TestHandshakeRateKeepsTheConnection(t *testing.T) {
	b := newSpec(t, 1, Options{Limits: Limits{HandshakeRate: 1, Exempt: nobody}}, nil)
	for range 10 {
		b.play(hsPolling)
	}
	require.Equal(t, []string{"c: 429 Too Many Requests"}, b.play(hsPolling+" conn=c"))
	require.Equal(t, []string{"c: 429 Too Many Requests"}, b.play(hsPolling+" conn=c"))
	require.Equal(t, []string{"c: 429 Too Many Requests", "c: closed"}, b.play(hsPolling+" conn=c body"))
	b.finish()
}

// Whoever polls, posts, or begins an upgrade after the handshake has been heard
// of, on any loop; so no honest client meets this limit.
func TestFirstRequestTimeout(t *testing.T) {
	for _, first := range []string{"get sid=A conn=p", "post sid=A 4x", "ws sid=A conn=w"} {
		for _, revision := range []string{"4", "3"} {
			everywhere(t, func(t *testing.T, loops int) {
				b := newSpec(t, loops, Options{Timeouts: Timeouts{FirstRequest: 5 * time.Second}}, nil)
				b.play("get EIO="+revision+"&transport=polling", "advance 4999ms")
				if revision == "3" && strings.HasPrefix(first, "post") {
					first = "post sid=A 2:4x"
				}
				b.play(first, "advance 20s")
				require.Equal(t, StateOpen, b.session("A").State(), first)
				require.Zero(t, b.server.Stats().Limits[LimitFirstRequestTimeout])
				b.finish()
			})
		}
	}
	// A session on WebSocket from its beginning has nothing to say.
	b := newSpec(t, 1, Options{Timeouts: Timeouts{FirstRequest: 5 * time.Second}}, nil)
	b.play(hsWebSocket, "advance 44999ms")
	require.Equal(t, StateOpen, b.session("A").State())
	b.play("advance 1ms")
	require.Equal(t, `open A; close A "ping timeout"`, b.events())
	b.finish()
}

// A request that comes before an alarm that is late may have waited for the loop:
// it is not the client that is late.
func TestFirstRequestBeforeALateAlarm(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Timeouts: Timeouts{FirstRequest: 5 * time.Second}}, nil)
		b.play(hsPolling)
		b.events()
		s := b.session("A")
		s.loop.Disarm(s.slot)
		b.play("advance 5s")
		require.Empty(t, b.play("get sid=A conn=g"))
		require.Equal(t, []string{"g: 200 4x"}, b.play("send A x"))
		require.Empty(t, b.events())
		require.Zero(t, b.server.Stats().Limits[LimitFirstRequestTimeout])
		s.arm()
		b.finish()
	})
}

// Bytes of bodies count while they are waited for, on the loop of their
// connection, and no longer: however they end.
func TestBodyBudget(t *testing.T) {
	for _, end := range []string{"complete", "reset a", "fin a", "advance 30s", "shutdown", "close-session A; advance 30s"} {
		t.Run(end, func(t *testing.T) {
			b := newSpec(t, 3, Options{Limits: Limits{BodyBudget: 1}, MaxPayload: 17_000}, nil)
			b.play(hsPolling, hsPolling, hsPolling) // A, B and C, on loops 0, 1 and 2
			away := b.server.shards[2]
			dial := func(name string) {
				b.clients = append(b.clients, &client{name: name, peer: b.world.DialLoop(2)})
			}
			dial("a")
			dial("b")
			dial("c")
			b.play("raw a " + post("A", "4"+strings.Repeat("a", 89), 100))
			require.EqualValues(t, 90, away.bodies)
			require.Equal(t, []string{"b: 503", "b: closed"}, b.play("raw b "+post("B", "4bbbbbbbbbb", 17_000), "raw b repeat=,16980,b"))
			require.EqualValues(t, 90, away.bodies)
			b.play("raw c " + post("C", "4ccc", 17_000))
			require.EqualValues(t, 94, away.bodies, "a small part is spared")
			b.play("reset c")
			require.EqualValues(t, 1, b.server.Stats().Limits[LimitBodyBudget])
			if end == "complete" {
				require.Equal(t, []string{"a: 200 ok"}, b.play("raw a aaaaaaaaaa"))
			} else {
				b.play(strings.Split(end, "; ")...)
			}
			if end == "shutdown" {
				b.play("advance 31s")
			}
			require.Zero(t, away.bodies)
			b.finish()
		})
	}
	// Whole bodies do not wait, and chunked ones count by what has come.
	b := newSpec(t, 1, Options{Limits: Limits{BodyBudget: 1}, MaxPayload: 20}, nil)
	b.play(hsPolling, hsPolling, `raw a "POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n4aaa"`)
	require.EqualValues(t, 4, b.server.shards[0].bodies)
	require.Equal(t, []string{"200 ok"}, b.play("post sid=B 4bbbbbbbbbbbbbbbbbbb"))
	b.finish()
}

// A poll that something waits for needs no place among those that wait, and
// gives back the one it had.
func TestMaxPolls(t *testing.T) {
	b := newSpec(t, 1, Options{Limits: Limits{MaxPolls: 1}}, nil)
	b.play(hsPolling, hsPolling, "get sid=A conn=a", "send B x")
	require.Equal(t, []string{"200 4x"}, b.play("get sid=B"))
	for _, end := range []func(){
		func() { require.Equal(t, []string{"a: 200 4y"}, b.play("send A y")) },
		func() { b.play("reset a") },
	} {
		end()
		require.Zero(t, b.server.Stats().Polls)
		require.Empty(t, b.play("get sid=B conn=b"))
		require.Equal(t, []string{"b: 200 4z"}, b.play("send B z"))
		b.clients = nil
		if b.session("A").State() == StateOpen {
			require.Empty(t, b.play("get sid=A conn=a"))
		}
	}
	require.Zero(t, b.server.Stats().Limits[LimitPolls])
	b.finish()
}

// An upgrade gives its place back however it ends.
func TestMaxUpgrades(t *testing.T) {
	for _, end := range []string{"frame a text 5", "frame a text 4x", "reset a", "fin a", "close a", "advance 10s", "close-session A; get sid=A"} {
		b := newSpec(t, 1, Options{Limits: Limits{MaxUpgrades: 1}}, nil)
		b.play(hsPolling, hsPolling, "ws sid=A conn=a")
		require.Equal(t, []string{"b: 503 Service Unavailable", "b: closed"}, b.play("ws sid=B conn=b"))
		require.Equal(t, StateOpen, b.session("B").State(), "it stays on polling")
		b.play(strings.Split(end, "; ")...)
		require.Equal(t, []string{"c: 101"}, b.play("ws sid=B conn=c"), end)
		b.finish()
	}
}

// A message that is dropped counts, too; asking whether it would be taken does
// not.
func TestDroppedMessagesCount(t *testing.T) {
	log := new(warnings)
	b := newSpec(t, 1, Options{Queue: Queue{MaxBytes: 300, Overflow: OverflowDrop}, Logger: slog.New(log)}, func(b *bench, e *Events) {
		e.PacketCreate = func(*Session, Packet) {}
	})
	b.play(hsPolling)
	s := b.session("A")
	var err error
	for range 5 {
		err = errors.Join(err, s.Send(Message{Data: []byte("x")}))
	}
	require.ErrorIs(t, err, ErrQueueFull)
	require.EqualValues(t, 3, b.server.Stats().Limits[LimitQueue])
	require.Empty(t, log.take(), "the caller of Send knows")
	b.finish()
}

// A budget that others have used up does not end the session of a client whose
// small body comes behind its head.
func TestBodyBudgetSparesSmallBodies(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Limits: Limits{BodyBudget: 1}, MaxPayload: 100_000}, nil)
		n := len(b.world.Loops())
		for range n {
			b.play(hsPolling, hsPolling)
		}
		for i := range n { // A, B, ... each fill a loop's share
			name := b.name(b.sessions[i])
			b.clients = append(b.clients, &client{name: "full" + name, peer: b.world.DialLoop(i)},
				&client{name: "good" + name, peer: b.world.DialLoop(i)})
			b.play("raw full"+name+" "+post(name, "4a", 100_000), "raw full"+name+" repeat=,99997,a")
		}
		for i := range n {
			name, other := b.name(b.sessions[i]), b.name(b.sessions[n+i])
			require.Empty(t, b.play("raw good"+name+" "+post(other, "4hel", 6)))
			require.Equal(t, []string{"good" + name + ": 200 ok"}, b.play("raw good"+name+" lo"))
		}
		require.Zero(t, b.server.Stats().Limits[LimitBodyBudget])
		b.finish()
	})
}

// What clients send ahead of their waiting polls is bounded in all, and a small
// request behind a poll is taken all the same.
func TestBytesAheadOfPollsAreBoundedInAll(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Limits: Limits{BodyBudget: int64(max(loops, -loops)) << 20}, MaxPayload: 1000}, nil)
		const hostile = 150
		for i := range hostile {
			c := fmt.Sprint("c", i)
			b.play(hsPolling + " conn=" + c)
			b.play(fmt.Sprintf("get sid=%s conn=%s", b.name(b.sessions[i]), c), "raw "+c+" repeat=,60000,x")
		}
		held := int64(0)
		for _, shard := range b.server.shards {
			require.LessOrEqual(t, shard.bodies, int64(1<<20))
			held += shard.bodies
		}
		cut := hostile - held/60_000
		require.Equal(t, cut, b.server.Stats().Limits[LimitBodyBudget])
		require.Greater(t, cut, int64(90))
		b.play(hsPolling + " conn=good")
		b.play(fmt.Sprintf("get sid=%s conn=good", b.name(b.sessions[hostile])),
			"raw good "+post(b.name(b.sessions[hostile]), "4x", 2))
		require.Equal(t, StateOpen, b.sessions[hostile].State())
		b.finish()
	})
}

// A limit is told by which error it is, not by what the client is told: others may
// share a status or a close code.
func TestLimitIsAnErrorsIdentity(t *testing.T) {
	for _, row := range limitErrors {
		limit, ok := limitOf(row.err)
		require.True(t, ok, "%v", row.err)
		require.Equal(t, row.limit, limit, "%v", row.err)
		var twin error
		switch e := row.err.(type) {
		case *httpparse.Error:
			twin = &httpparse.Error{Status: e.Status, Reason: e.Reason}
		case *wsframe.CloseError:
			twin = &wsframe.CloseError{Code: e.Code, Reason: e.Reason}
		}
		require.Equal(t, row.err, twin)
		_, ok = limitOf(twin)
		require.False(t, ok, "%v", twin)
	}
	_, ok := limitOf(nil)
	require.False(t, ok)
}

func TestShares(t *testing.T) {
	o := Options{Queue: Queue{Budget: 1000}, Limits: Limits{BodyBudget: 1000, MaxPolls: 7, MaxUpgrades: 3, MaxAdmitting: 1}, MaxPayload: 10}
	for loops, want := range map[int]shares{
		1: {queue: 1000, bodies: 1000, polls: 7, upgrades: 3, admitting: 1},
		2: {queue: 500, bodies: 500, polls: 4, upgrades: 2, admitting: 1},
		4: {queue: 250, bodies: 250, polls: 2, upgrades: 1, admitting: 1},
	} {
		require.Equal(t, want, o.shares(loops), "%d loops", loops)
	}
	o.Queue.Budget, o.Limits.BodyBudget = 1, 1
	require.Equal(t, shares{queue: 1, bodies: 10, polls: 4, upgrades: 2, admitting: 1}, o.shares(2), "room for one")
}
