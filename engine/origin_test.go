package engine

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"turbine/internal/proxied"

	"github.com/stretchr/testify/require"
)

func TestSameOrigin(t *testing.T) {
	for _, c := range []struct {
		origin, host string
		want         bool
	}{
		{"http://a.example", "a.example", true},
		{"https://a.example", "a.example", true},
		{"https://a.example", "A.Example", true},
		{"http://a.example:3000", "a.example:3000", true},
		{"https://a.example:3000", "a.example:3000", true},
		// A proxy may have added its own port or that of the client's side.
		{"https://a.example", "a.example:443", true},
		{"https://a.example", "a.example:80", true},
		{"http://a.example", "a.example:80", true},
		{"http://a.example:80", "a.example", true},
		{"http://a.example", "a.example:", true},
		{"http://[::1]:3000", "[::1]:3000", true},
		{"http://[2001:db8::1]", "[2001:DB8::1]", true},
		{"http://[2001:db8::1]", "[2001:db8::1]:80", true},

		{"http://a.example:3000", "a.example", false},
		{"http://a.example", "a.example:3000", false},
		{"http://a.example:3000", "a.example:3001", false},
		{"http://a.example:8443", "a.example:443", false},
		{"http://b.example", "a.example", false},
		{"http://a.example.evil.example", "a.example", false},
		{"http://evil-a.example", "a.example", false},
		{"http://sub.a.example", "a.example", false},
		{"http://a.example.", "a.example", false},
		{"http://a.example@evil.example", "a.example", false},
		{"http://evil.example/a.example", "a.example", false},
		{"http://a.example/", "a.example", false},
		{"http://a.example:80:80", "a.example", false},
		{"http://[::1]", "[::2]", false},
		{"http://::1", "[::1]", false},
		{"null", "a.example", false},
		{"null", "null", false},
		{"", "", false},
		{"http://", "", false},
		{"http://:80", ":80", false},
		{"a.example", "a.example", false},
		{"//a.example", "a.example", false},
		{"://a.example", "a.example", false},
		{"HTTP://a.example", "a.example", false}, // no browser writes it so
		{"capacitor://localhost", "localhost", false},
		{"file://", "", false},
		{"http://a.example", "", false},
		{"http://a.example,http://b.example", "a.example", false},
		{"http://a.example http://b.example", "a.example", false},
	} {
		require.Equal(t, c.want, sameOrigin([]byte(c.origin), []byte(c.host), proxied.Unknown), "%q %q", c.origin, c.host)
	}
}

// hearRefusals makes the application write down each refusal.
func hearRefusals(into *[]string) func(*bench, *Events) {
	return func(_ *bench, e *Events) {
		e.ConnectionError = func(_ *Request, e *HandshakeError) {
			*into = append(*into, fmt.Sprintf("%d %s %s", e.Code, e.Name, e.Detail))
		}
	}
}

// Each refusal is counted and told once, wherever the connection is; a client
// that is let in is neither counted nor told.
func TestForeignOriginIsTold(t *testing.T) {
	const foreign = ` "header=Origin: https://evil.example"`
	everywhere(t, func(t *testing.T, loops int) {
		var heard []string
		b := newSpec(t, loops, Options{}, hearRefusals(&heard))
		b.play(hsPolling)
		require.Zero(t, b.server.Stats().Forbidden)
		commands := []string{hsPolling, hsWebSocket, "get sid=A", "post sid=A 4x", "ws sid=A conn=x", "get EIO=4&transport=none"}
		for _, command := range commands {
			b.play(command + foreign)
		}
		require.EqualValues(t, len(commands), b.server.Stats().Forbidden)
		require.Equal(t, strings.Split(strings.Repeat("4 FOREIGN_ORIGIN https://evil.example|", len(commands)), "|")[:len(commands)], heard)
		require.Equal(t, "open A", b.events())
		b.finish()
	})
}

// What CORS allows is let in without being listed twice; Allow is asked once a
// request. What it does not allow is refused, and a page that may read the
// refusal is told so.
func TestOriginsOfCORS(t *testing.T) {
	const good, bad = "https://good.example", "https://bad.example"
	asked := 0
	for _, c := range []struct {
		name   string
		cors   CORS
		listed []string
		bad    int
	}{
		{"list", CORS{Origins: []string{good}}, nil, 403},
		{"pattern", CORS{Patterns: []*regexp.Regexp{regexp.MustCompile(`^https://good\.`)}}, nil, 403},
		{"function", CORS{Allow: func(o string) bool { asked++; return o == good }}, nil, 403},
		{"none, but listed here", CORS{}, []string{good}, 403},
		{"any", CORS{Origins: []string{"*"}}, nil, 200},
		{"echo", CORS{AnyOrigin: true}, nil, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked = 0
			b := newSpec(t, 1, Options{Access: Access{CORS: &c.cors, Origins: c.listed}}, nil)
			b.play(hsPolling)
			status := func(method, query, origin string, headers ...string) int {
				r := b.fetch(method, query, append(headers, "Origin: "+origin)...)
				if c.listed == nil {
					allowed := r.Header.Get("Access-Control-Allow-Origin")
					require.Equal(t, origin == good || c.bad == 200, allowed != "", "%s %s", query, origin)
				}
				return r.StatusCode
			}
			require.Equal(t, 200, status("GET", "EIO=4&transport=polling", good))
			require.Equal(t, 400, status("GET", "EIO=4&transport=polling&sid=none", good))
			require.Equal(t, 101, status("GET", "EIO=4&transport=websocket", good, upgradeHeaders...))
			require.Equal(t, 101, status("GET", "EIO=4&transport=websocket&sid=A", good, upgradeHeaders...))
			require.Equal(t, c.bad, status("GET", "EIO=4&transport=polling", bad))
			if c.bad == 403 {
				require.Equal(t, 403, status("GET", "EIO=4&transport=polling&sid=none", bad))
				require.Equal(t, 403, status("GET", "EIO=4&transport=websocket&sid=A", bad, upgradeHeaders...))
			}
			require.Equal(t, 204, status("OPTIONS", "EIO=4&transport=polling", bad), "a preflight only asks")
			if c.cors.Allow != nil {
				require.Equal(t, 8, asked)
			}
			b.finish()
		})
	}
}

// SetAccess replaces the rules for pages at once, for new clients and for polls, and
// changes nothing if it cannot be meant.
func TestSetAccess(t *testing.T) {
	const first, second = "https://first.example", "https://second.example"
	b := newSpec(t, 1, Options{Access: Access{Origins: []string{first}}}, nil)
	b.play(hsPolling)
	requests := []struct {
		method, query string
		headers       []string
		status        int // of a page that is let in
	}{
		{"GET", "EIO=4&transport=polling&sid=none", nil, 400},
		{"GET", "EIO=4&transport=websocket", upgradeHeaders, 101},
	}
	listed := []string{second}
	for _, c := range []struct {
		name          string
		set           Access
		err           string
		first, second bool // pages that are let in afterwards
		cors          bool // and may read what is answered
	}{
		{"the other one", Access{Origins: listed}, "", false, true, false},
		{"both", Access{Origins: []string{first, second}}, "", true, true, false},
		{"a bad origin", Access{Origins: []string{"*"}}, "Access.Origins", true, true, false},
		{"a bad CORS", Access{CORS: &CORS{Origins: []string{"a b"}}}, "CORS.Origins", true, true, false},
		{"none", Access{}, "", false, false, false},
		{"by CORS", Access{CORS: &CORS{Origins: listed}}, "", false, true, true},
		{"any by CORS", Access{CORS: &CORS{AnyOrigin: true}}, "", true, true, true},
		{"any", Access{AnyOrigin: true}, "", true, true, false},
	} {
		listed[0] = second
		err := b.server.SetAccess(c.set)
		listed[0] = first // is the caller's again
		if c.err != "" {
			require.ErrorIs(t, err, ErrOptions, c.name)
			require.ErrorContains(t, err, c.err, c.name)
		} else {
			require.NoError(t, err, c.name)
		}
		for _, r := range requests {
			for origin, allowed := range map[string]bool{first: c.first, second: c.second} {
				want := r.status
				if !allowed {
					want = 403
				}
				got := b.fetch(r.method, r.query, append(r.headers, "Origin: "+origin)...)
				require.Equal(t, want, got.StatusCode, "%s: %s %s", c.name, origin, r.query)
				require.Equal(t, allowed && c.cors, got.Header.Get("Access-Control-Allow-Origin") == origin, "%s: %s %s", c.name, origin, r.query)
			}
		}
	}
	b.finish()
}

// A middleware sees every request first, and may answer for itself.
func TestMiddlewareBeforeOrigin(t *testing.T) {
	b := newSpec(t, 1, Options{Middleware: []wrapper{adds("X-One", "1")}}, nil)
	r := b.fetch("GET", "EIO=4&transport=polling", "Origin: https://evil.example")
	require.Equal(t, 403, r.StatusCode)
	require.Equal(t, "1", r.Header.Get("X-One"))
	b.finish()
}

// A client that is let in costs nothing more for the check.
func TestOriginAllocs(t *testing.T) {
	server, conn := fronted(t, Options{Access: Access{Origins: []string{"https://a", "https://b"}, CORS: &CORS{Origins: []string{"https://c"}}}}, "203.0.113.1:1")
	for _, origin := range []string{"https://turbine", "https://b", "https://c"} {
		r := corsRequest("Host: turbine\nOrigin: " + origin)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			require.True(t, server.originAllowed(r, conn, server.options.Access.CORS.allowsPage(r)))
		}))
	}
}
