package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cut sends the first n bytes of in on a new connection and ends it, in the
// clean way or by a reset.
func (s *server) cut(t *testing.T, in string, n int, reset bool) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.addr, patience)
	require.NoError(t, err)
	p := &peer{t: t, s: s, conn: conn}
	p.write(in[:n])
	if reset {
		require.NoError(t, conn.(*net.TCPConn).SetLinger(0))
	}
	require.NoError(t, conn.Close())
}

// A connection that ends after any byte of a request for a new session harms nobody else.
func TestCutHandshake(t *testing.T) {
	s := serve(t)
	other := s.poll4(t)
	for _, in := range []string{
		s.getRequest("EIO=4&transport=polling"),
		s.upgradeRequest("EIO=4&transport=websocket") + masked(fin|text, "4hello") +
			masked(text, "4hel") + masked(fin|continuation, "lo") + masked(fin|closing, status(1000, "")),
	} {
		for n := range len(in) + 1 {
			s.cut(t, in, n, false)
			s.cut(t, in, n, true)
			other.echoes()
		}
	}
	s.goesOn(t)
}

// A post that ends early closes its session once the server knows whose it is,
// which is when the head is complete. Before that, nothing has happened to it.
func TestCutPost(t *testing.T) {
	s := serve(t)
	for _, form := range []string{"length", "chunks"} {
		t.Run(form, func(t *testing.T) {
			p := s.dial(t)
			for n := 0; ; n++ {
				session := p.handshake(4)
				in := s.postRequest(session.query(), "4hello €")
				if form == "chunks" {
					in = s.chunkedRequest(session.query(), "4hel", "lo €")
				}
				s.cut(t, in, n, false)
				switch head := strings.Index(in, "\r\n\r\n") + 4; {
				case n < head:
					session.echoes()
				case n < len(in):
					session.gone()
				default:
					session.polls("4hello €")
					session.echoes()
					return
				}
			}
		})
	}
	// A reset may take away what was sent before it, so only the others can be asked.
	session, other := s.poll4(t), s.poll4(t)
	in := s.postRequest(session.query(), "4hello €")
	for n := range in {
		s.cut(t, in, n, true)
		other.echoes()
	}
	s.goesOn(t)
}

// A poll that ends early closes its session when the server knows whose it is.
func TestCutPoll(t *testing.T) {
	s := serve(t)
	p := s.dial(t)
	for n := 0; ; n++ {
		session := p.handshake(4)
		in := s.getRequest(session.query())
		s.cut(t, in, n, false)
		if n == len(in) {
			session.closesAfterCutPoll()
			break
		}
		session.echoes()
	}
	s.goesOn(t)
}

// closesAfterCutPoll is gone for a session of which another poll was cut: a poll
// that overlaps with it, because the cut was not yet seen, is refused without a body.
func (s *session) closesAfterCutPoll() {
	s.t.Helper()
	r := s.get()
	if r.body == "" {
		require.Equal(s.t, 400, r.status)
	} else if r.status == 200 {
		require.Equal(s.t, "1", r.body)
	} else {
		s.isError(r, 1)
	}
	s.gone()
}

// An upgrade that ends early leaves the session on polling, up to the last byte
// of the upgrade packet. From there on, the WebSocket is the session.
func TestCutUpgrade(t *testing.T) {
	s := serve(t)
	p := s.dial(t)
	for n := 0; ; n++ {
		session := p.handshake(4)
		in := s.upgradeRequest(session.with("websocket")) + masked(fin|text, "2probe") + masked(fin|text, "5")
		s.cut(t, in, n, false)
		if n == len(in) {
			session.goneAfterUpgrade()
			break
		}
		session.echoes()
	}
	session, other := s.poll4(t), s.poll4(t)
	in := s.upgradeRequest(session.with("websocket")) + masked(fin|text, "2probe") + masked(fin|text, "5")
	for n := range in {
		s.cut(t, in, n, true)
		other.echoes()
	}
	s.goesOn(t)
}

// goneAfterUpgrade is gone for a session whose upgrade may still be on its way:
// a poll that comes before it is answered when it is done.
func (s *session) goneAfterUpgrade() {
	s.t.Helper()
	r := s.get()
	if r.status == 200 {
		require.Contains(s.t, []string{"1", "6"}, r.body)
	}
	s.gone()
}

// Sent one byte at a time, everything means the same.
func TestByteByByte(t *testing.T) {
	s := serve(t)
	slowly := func(p *peer, in string) {
		t.Helper()
		require.NoError(t, p.conn.(*net.TCPConn).SetNoDelay(true))
		for i := range len(in) {
			p.write(in[i : i+1])
		}
	}
	session := s.poll4(t)
	slowly(session.peer, s.getRequest("EIO=4&transport=polling"))
	parseOpen(t, session.reply("GET").body)
	slowly(session.peer, s.postRequest(session.query(), "4hello €"))
	session.ok(session.reply("POST"))
	slowly(session.peer, s.chunkedRequest(session.query(), "4\xe2", "\x82", "\xac\x1e4b"))
	session.ok(session.reply("POST"))
	slowly(session.peer, s.getRequest(session.query()))
	require.Equal(t, fmt.Sprintf("200 %q", "4hello €\x1e4€\x1e4b"), session.reply("GET").String())

	ws := s.dial(t)
	slowly(ws, s.upgradeRequest(session.with("websocket")))
	ws.switched()
	slowly(ws, masked(fin|text, "2probe"))
	ws.receives("3probe")
	long := "4" + strings.Repeat("€", 100)
	slowly(ws, masked(fin|text, "5")+masked(text, long[:2])+masked(fin|ping, "?")+masked(fin|continuation, long[2:]))
	first, data := ws.frame()
	require.Equal(t, byte(fin|pong), first)
	require.Equal(t, "?", data)
	ws.receives(long)
}
