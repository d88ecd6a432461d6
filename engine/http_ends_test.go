package engine

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a client sends with its end, seen in one turn: a FIN comes behind the
// bytes, a RST takes them along. Whatever it was, nothing stays behind, and the
// session ends once and for the reason that follows.
func TestBytesAndEndTogether(t *testing.T) {
	const (
		session = "get EIO=4&transport=polling"
		socket  = "ws EIO=4&transport=websocket conn=c"
		timeout = `close A "ping timeout"`
		gone    = `close A "transport close"`
		body    = `close A "transport error" data request connection closed prematurely`
		poll    = `close A "transport error" poll connection closed prematurely`
		get     = `GET /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\n\r\n`
		post    = `POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n`
	)
	for _, c := range []struct {
		name       string
		setup      []string
		last       string
		reset, fin string // events
	}{
		{"half a head", nil, `raw c "GET /engine.io/?EI"`, "", ""},
		{"no request", nil, `raw c "\r\n\r\n:\r\n"`, "", ""},
		{"handshake", nil, "get EIO=4&transport=polling conn=c", "", "open A; " + timeout},
		{"poll", []string{session}, `raw c "` + get + `"`, timeout, poll},
		{"poll that finds a packet", []string{session, "send A x"}, `raw c "` + get + `"`, timeout, "drain A; " + timeout},
		{"second poll", []string{session, "get sid=A conn=p"}, `raw c "` + get + `"`, timeout, `close A "transport error" overlap from client`},
		{"half a body", []string{session}, `raw c "` + post + `4hel"`, timeout, body},
		{"body", []string{session}, `raw c "` + post + `4hello"`, timeout, `message A "hello"; ` + timeout},
		{"rest of a body", []string{session, `raw c "` + post + `4hel"`}, "raw c lo", body, `message A "hello"; ` + timeout},
		{"WebSocket handshake", nil, socket, "", "open A; " + gone},
		{"upgrade request", []string{session}, "ws sid=A conn=c", timeout, timeout},
		{"probe", []string{session, "ws sid=A conn=c"}, "frame c text 2probe", timeout, timeout},
		{"probe, poll waits", []string{session, "get sid=A conn=p", "ws sid=A conn=c"}, "frame c text 2probe", timeout, timeout},
		{"upgrade packet", []string{session, "ws sid=A conn=c", "frame c text 2probe"}, "frame c text 5", timeout, "upgrade A; " + gone},
		{"message", []string{socket}, "frame c text 4hello", gone, `message A "hello"; ` + gone},
		{"half a frame", []string{socket}, "raw c hex 8185 00000000 3461", gone, gone},
		{"half a message", []string{socket}, "raw c hex 0182 00000000 3461", gone, gone},
		{"close frame", []string{socket}, "close c 1000", gone, gone},
		{"close packet", []string{socket}, "frame c text 1", gone, gone},
		{"no packet", []string{socket}, "frame c text x", gone, `close A "parse error" packet: malformed packet`},
		{"protocol fault", []string{socket}, "raw c hex 8102 3461", gone, `close A "transport error" wsframe: close 1002: frame not masked`},
		{"while much is unsent", []string{socket, "window c 0", "send A repeat=,70000,a b"}, "frame c text 4hello", gone, `message A "hello"; ` + gone},
		{"while closing", []string{socket, "window c 0", "send A repeat=,70000,a b", "close-session A"}, "frame c text 4hello", gone, gone},
	} {
		for end, want := range map[string]string{"reset": c.reset, "fin": c.fin} {
			for _, loops := range []int{1, 2, -3} {
				t.Run(fmt.Sprintf("%s, %s/%d loops", c.name, end, max(loops, -loops)), func(t *testing.T) {
					b := newBench(t, loops, Options{})
					b.play(c.setup...)
					b.events()
					for _, line := range []string{c.last, end + " c"} { // nothing runs in between
						words, err := split(line)
						require.NoError(t, err)
						var lines []string
						require.NoError(t, b.command(words[0], words[1:], &lines))
						require.Empty(t, lines)
					}
					b.play("advance 46s")
					require.Equal(t, want, b.events())
					b.finish()
				})
			}
		}
	}
}
