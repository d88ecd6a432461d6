package engine

import (
	"errors"
	"math"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"turbine/internal/peers"

	"github.com/stretchr/testify/require"
)

// requirePlaces holds how many places are taken, by how many addresses.
func requirePlaces(t *testing.T, s *Server, taken, addresses int, what string) {
	t.Helper()
	require.EqualValues(t, taken, s.places.taken.Load(), what)
	require.Equal(t, addresses, s.places.byAddress.Len(), what)
}

// A session counts from its beginning until its end, whatever its transport was
// and is, however it ends, and wherever its connections are.
func TestSessionPlaces(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		for _, begin := range []string{
			hsPolling,
			"get EIO=3&transport=polling",
			hsWebSocket,
			hsPolling + "; ws sid=A conn=w; frame w text 2probe; frame w text 5",
		} {
			for _, end := range []string{
				"session A closes", "session A ends", "advance 200s", "shutdown; get sid=A; advance 60s",
				"post sid=A 1", "reset w", "close w", "frame w text 1", "fin w", "frame w text x",
			} {
				if strings.Contains(end, "w") != strings.Contains(begin, "ws") && (strings.Contains(end, " w") || strings.HasPrefix(end, "post")) {
					continue
				}
				b := newSpec(t, loops, Options{Limits: Limits{MaxSessions: 1, MaxSessionsPerIP: 1, Exempt: nobody, HandshakeRate: 100}}, nil)
				what := begin + " | " + end
				b.play(strings.Split(begin, "; ")...)
				require.Len(t, b.sessions, 1, what)
				requirePlaces(t, b.server, 1, 1, what)
				require.Contains(t, b.play("get EIO=4&transport=polling conn=r")[0], "r: 503", what)
				switch end {
				case "session A closes":
					b.session("A").Close()
					b.play("get sid=A conn=p", "advance 60s")
				case "session A ends":
					b.session("A").CloseNow()
					b.work()
				default:
					b.play(strings.Split(end, "; ")...)
				}
				require.Equal(t, StateClosed, b.session("A").State(), what)
				requirePlaces(t, b.server, 0, 0, what)
				b.finish()
			}
		}
	})
}

// What does not become a session, at whatever step, takes no place.
func TestNoSessionNoPlace(t *testing.T) {
	refused := errors.New("no")
	for _, c := range []struct {
		name     string
		options  Options
		admit    func(*Admission) error
		open     func(*Session)
		commands []string
		last     string
	}{
		{name: "revision", options: Options{Revisions: []Revision{Revision3}}, commands: []string{hsPolling}, last: "400"},
		{name: "admission", admit: func(*Admission) error { return refused }, commands: []string{hsPolling, hsWebSocket}, last: "w: closed"},
		{name: "no verdict", admit: func(a *Admission) error { a.Later(); return nil }, commands: []string{hsPolling, "advance 10s"}, last: "503"},
		{name: "gone before the verdict", admit: func(a *Admission) error { a.Later(); return nil }, commands: []string{hsPolling + " conn=c", "reset c"}},
		{name: "verdict of refusal", admit: func(a *Admission) error { a.Later().Refuse(refused); return nil }, commands: []string{hsPolling}, last: "403"},
		{name: "id", options: Options{GenerateID: func(*Request) (string, error) { return "", nil }}, commands: []string{hsPolling}, last: "400"},
		{name: "JSONP", commands: []string{"get EIO=4&transport=polling&j=" + strings.Repeat("1", 40)}, last: "400"},
		{name: "WebSocket version", commands: []string{`raw c "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"`}, last: "c: closed"},
		{name: "panic in Open", open: func(*Session) { panic("in Open") }, commands: []string{hsPolling, hsWebSocket}, last: "w: closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, loops int) {
				c.options.Limits.MaxSessions, c.options.Limits.MaxSessionsPerIP, c.options.Limits.Exempt = 1, 1, nobody
				b := newSpec(t, loops, c.options, func(b *bench, e *Events) {
					if c.admit != nil {
						e.Admit = c.admit
					}
					if c.open != nil {
						e.Open = func(s *Session, r *Request) { b.opened(s, r); c.open(s) }
					}
				})
				lines := b.play(c.commands...)
				if c.last != "" {
					require.NotEmpty(t, lines)
					require.True(t, strings.HasPrefix(lines[len(lines)-1], c.last), "%q", lines)
				}
				requirePlaces(t, b.server, 0, 0, "")
				require.Zero(t, b.server.Stats().Limits[LimitSessions])
				b.logged.lines.Store(0)
				b.finish()
			})
		})
	}
}

// A client without a place is refused before anybody is asked about it, says the
// CORS that a page needs to read that, and keeps its connection.
func TestSessionLimitComesFirst(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		for _, c := range []struct {
			limit   Limit
			options Options
			answer  string
		}{
			{LimitSessions, Options{Limits: Limits{MaxSessions: 2}}, "503 [Retry-After: 1] [Access-Control-Allow-Origin: *] Service Unavailable"},
			{LimitSessionsPerIP, Options{Limits: Limits{MaxSessionsPerIP: 2, Exempt: nobody}}, "429 [Retry-After: 1] [Access-Control-Allow-Origin: *] Too Many Requests"},
		} {
			asked, seen := 0, 0
			c.options.Access.CORS = &CORS{Origins: []string{"*"}}
			c.options.Middleware = []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen++; next.ServeHTTP(w, r) })
			}}
			b := newSpec(t, loops, c.options, func(_ *bench, e *Events) {
				e.Admit = func(*Admission) error { asked++; return nil }
			})
			b.play(hsPolling, hsPolling)
			show := " show=Retry-After,Access-Control-Allow-Origin header=Origin:http://x"
			for range 3 {
				require.Equal(t, []string{"c: " + c.answer}, b.play(hsPolling+" conn=c"+show))
			}
			require.Equal(t, []string{"c: " + c.answer, "c: closed"}, b.play(hsPolling+" conn=c"+show+" body"))
			require.Equal(t, "w: "+c.answer, b.play(hsWebSocket + show)[0])
			require.Equal(t, 2, asked)
			require.Equal(t, 2, seen)
			require.EqualValues(t, 5, b.server.Stats().Limits[c.limit])
			b.play("post sid=A 4hello")
			require.Contains(t, b.events(), `message A "hello"`, "sessions go on")
			b.finish()
		}
	})
}

// Those that wait for a verdict have no place yet: the limit holds when several
// are admitted together.
func TestSessionLimitAfterTheVerdict(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		for _, c := range []struct {
			options Options
			answers []string
		}{
			{Options{Limits: Limits{MaxSessions: 2}}, []string{"c: 503 Service Unavailable", "w: 503 Service Unavailable"}},
			{Options{Limits: Limits{MaxSessionsPerIP: 2, Exempt: nobody}}, []string{"c: 429 Too Many Requests", "w: 429 Too Many Requests"}},
		} {
			var verdicts []*Verdict
			b := newSpec(t, loops, c.options, func(_ *bench, e *Events) {
				e.Admit = func(a *Admission) error { verdicts = append(verdicts, a.Later()); return nil }
			})
			b.play(hsPolling+" conn=a", hsPolling+" conn=b", hsPolling+" conn=c", hsWebSocket)
			require.Len(t, verdicts, 4)
			for i, v := range verdicts {
				v.Accept()
				lines := b.collect()
				if i < 2 {
					require.Contains(t, lines[0], ": 200 0{")
				} else {
					require.Equal(t, c.answers[i-2], lines[0])
				}
			}
			require.Len(t, b.sessions, 2)
			b.finish()
		}
	})
}

// Sessions count for the client that a trusted proxy speaks for, and stay with it
// when they come from elsewhere later. Clients of exempt networks, and proxies
// that speak for nobody, count for no address.
func TestSessionsCountForClients(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Limits: Limits{MaxSessionsPerIP: 2, MaxConnsPerIP: 100, Exempt: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}, Proxies: Proxies{Trusted: theWorld}}, nil)
		begin := func(status, client string) {
			t.Helper()
			require.Contains(t, b.play(hsPolling + " header=X-Forwarded-For:" + client)[0], status, client)
		}
		begin("200", "198.51.100.7")
		begin("200", "2002:c633:6407:1::1") // the same address, by 6to4
		begin("429", "198.51.100.7")
		begin("429", "64:ff9b::198.51.100.7")
		begin("200", "198.51.100.8")
		for range 4 {
			begin("200", "203.0.113.7")
			require.Contains(t, b.play(hsPolling)[0], "200")
		}
		requirePlaces(t, b.server, 11, 2, "")

		// A becomes another address's by its WebSocket, and counts as before.
		b.play("ws sid=A conn=w header=X-Forwarded-For:198.51.100.9", "frame w text 2probe", "frame w text 5")
		require.Equal(t, WebSocket, b.session("A").Transport())
		require.Equal(t, "198.51.100.9", b.session("A").RemoteAddr().Addr().String())
		begin("429", "198.51.100.7")
		begin("200", "198.51.100.9")
		begin("200", "198.51.100.9")
		begin("429", "198.51.100.9")
		b.play("reset w")
		require.Equal(t, StateClosed, b.session("A").State())
		begin("200", "198.51.100.7")
		begin("429", "198.51.100.7")
		begin("429", "198.51.100.9")
		b.finish()
	})
}

// The default follows the memory limit and the connections there may be.
func TestMaxSessionsDefault(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	for _, c := range []struct {
		given  int
		memory int64
		conns  int
		want   int64
	}{
		{0, math.MaxInt64, 1000, 2000},
		{0, 1 << 30, 1_000_000, 1 << 20},
		{0, 1 << 30, 0, 1 << 20},
		{0, 1, 1000, 1},
		{0, math.MaxInt64, math.MaxInt, 2 << 40},
		{7, 1 << 30, 1000, 7},
		{math.MaxInt, 1 << 30, 1000, math.MaxInt},
	} {
		debug.SetMemoryLimit(c.memory)
		l := Limits{MaxSessions: c.given}
		require.Equal(t, c.want, l.maxSessions(c.conns), "%+v", c)
	}
}

// The address that a session counts for is kept only where it counts for any, and
// no address looks like none.
func TestSessionHolders(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling, hsWebSocket)
	require.Nil(t, b.server.shards[0].holders)
	b.finish()

	none := &sessionPlaces{exempt: new(atomic.Pointer[peers.Networks])}
	none.exempt.Store(&peers.Networks{})
	for _, a := range []string{"::", "255.255.255.255", "0.0.0.0", "2002::1", "2002:ffff:ffff::", "ff02::1"} {
		h := none.holderOf(netip.MustParseAddr(a))
		require.NotZero(t, h, a)
		require.Equal(t, peers.KeyOf(netip.MustParseAddr(a)), h.key(), a)
	}
	require.Zero(t, none.holderOf(netip.Addr{}), "a Unix socket")
	var all sessionHolders
	all.put(3, 7)
	require.EqualValues(t, 0, all.take(2))
	require.EqualValues(t, 7, all.take(3))
	require.EqualValues(t, 0, all.take(3))
	require.EqualValues(t, 0, all.take(1000))
}

// Handshakes on all loops at the same time begin no session too many.
func TestSessionLimitOverSockets(t *testing.T) {
	const most, clients = 37, 240
	server, address := startSpread(t, Options{Loops: 4, Limits: Limits{MaxSessions: most}}, false)
	all := come(t, clients, []visitStep{func(v *visit) func() {
		c := v.connect()
		answer := v.ask(c, "GET", "transport=polling", "")
		return func() {
			if status, text := answer(); status == 200 {
				v.open(text)
			} else {
				require.Equal(t, 503, status)
			}
		}
	}}, true, dialer(t, address), func() {})
	opened := 0
	for _, v := range all {
		if v.sid != "" {
			opened++
		}
	}
	require.Equal(t, most, opened)
	require.Equal(t, most, server.Stats().Sessions)
	require.EqualValues(t, clients-most, server.Stats().Limits[LimitSessions])
	for s := range server.Sessions() {
		s.CloseNow()
	}
	require.Eventually(t, func() bool { return server.places.taken.Load() == 0 }, 30*time.Second, time.Millisecond)
}
