package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const maxPayload = 1_000_000 // the default

// elsewhere are the answers to a path that is not served: 501 is what the
// reference server says when it listens by itself, 404 what is usual.
var elsewhere = []int{http.StatusNotFound, http.StatusNotImplemented}

// What is no HTTP request is answered 400 and its connection ended. The other
// codes are what HTTP also allows for the case.
func TestGarbageRequest(t *testing.T) {
	s := serve(t)
	host := "Host: " + s.addr + "\r\n"
	target := s.path + "?EIO=4&transport=polling"
	for _, c := range []struct {
		name, in string
		also     []int
		strict   bool // the reference server takes it
	}{
		{"a word", "garbage\r\n\r\n", nil, false},
		{"binary", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", nil, false},
		{"no version", "GET " + target + "\r\n" + host + "\r\n", nil, true},
		{"another protocol", "GET " + target + " FTP/1.1\r\n" + host + "\r\n", nil, false},
		{"version 9.9", "GET " + target + " HTTP/9.9\r\n" + host + "\r\n", []int{505}, false},
		{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{505}, false},
		{"no host", "GET " + target + " HTTP/1.1\r\n\r\n", nil, false},
		{"a header without colon", "GET " + target + " HTTP/1.1\r\n" + host + "nonsense\r\n\r\n", nil, false},
		{"space before the colon", "GET " + target + " HTTP/1.1\r\n" + host + "A : b\r\n\r\n", nil, false},
		{"a folded header", "GET " + target + " HTTP/1.1\r\n" + host + "A: b\r\n c\r\n\r\n", nil, true},
		{"zero byte in a header", "GET " + target + " HTTP/1.1\r\n" + host + "A: b\x00c\r\n\r\n", nil, false},
		{"length of letters", "POST " + target + " HTTP/1.1\r\n" + host + "Content-Length: abc\r\n\r\n", nil, false},
		{"negative length", "POST " + target + " HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", nil, false},
		{"length over 64 bits", "POST " + target + " HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n", []int{413}, false},
		{"two lengths", "POST " + target + " HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", nil, false},
		{"length and chunks", "POST " + target + " HTTP/1.1\r\n" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", nil, false},
		{"chunked twice", "POST " + target + " HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", []int{501}, true},
		{"endless header", "GET " + target + " HTTP/1.1\r\n" + host + "A: " + strings.Repeat("a", 200_000) + "\r\n\r\n", []int{431}, false},
		{"endless target", "GET " + target + "&" + strings.Repeat("a", 200_000) + " HTTP/1.1\r\n" + host + "\r\n", []int{414, 431}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.strict {
				stricter(t)
			}
			p := s.dial(t)
			done := p.writeAside(c.in)
			r := p.reply("GET")
			require.Contains(t, append(c.also, http.StatusBadRequest), r.status)
			require.True(t, r.close, "the connection is kept")
			<-done
			p.ended()
		})
	}
	s.goesOn(t)
}

// Requests that are HTTP but not for a session, on one connection that stays usable.
func TestRefusedRequest(t *testing.T) {
	s := serve(t)
	p := s.dial(t)
	for _, c := range []struct {
		method, query string
		code          int
		strict        bool
	}{
		{"GET", "", 0, false},
		{"GET", "EIO=4", 0, false},
		{"GET", "EIO=4&transport=tobi", 0, false},
		{"GET", "EIO=4&transport=constructor", 0, false},
		{"GET", "EIO=4&transport=__proto__", 0, false},
		{"GET", "EIO=4&transport=webtransport", 0, false},
		{"GET", "EIO=4&transport=Polling", 0, false},
		{"GET", "EIO=4&transport=polling&transport=tobi", 0, false},
		{"GET", "EIO=4&transport=polling&sid=test", 1, false},
		{"GET", "EIO=4&transport=polling&sid=__proto__", 1, false},
		{"POST", "EIO=4&transport=polling&sid=AjxCl0Vo0Iw2NKLoAAAA", 1, false},
		{"GET", "EIO=4&transport=websocket&sid=test", 1, false},
		{"POST", "EIO=4&transport=polling", 2, false},
		{"POST", "EIO=4&transport=polling&sid=", 2, false},
		{"PUT", "EIO=4&transport=polling", 2, false},
		{"DELETE", "EIO=4&transport=polling", 2, false},
		{"OPTIONS", "EIO=4&transport=polling", 2, false},
		{"GET", "EIO=4&transport=websocket", 3, false},
		// The reference server takes every revision but 4 for 3.
		{"GET", "transport=polling", 5, true},
		{"GET", "EIO=5&transport=polling", 5, true},
		{"GET", "EIO=abc&transport=polling", 5, true},
	} {
		t.Run(c.method+" "+c.query, func(t *testing.T) {
			if c.strict {
				stricter(t)
			}
			p.t = t
			p.write(s.head(c.method, c.query) + "Content-Length: 0\r\n\r\n")
			p.isError(p.reply(c.method), c.code)
		})
	}
	p.t = t
	p.write(s.head("HEAD", "EIO=4&transport=polling") + "\r\n")
	require.Equal(t, http.StatusBadRequest, p.reply("HEAD").status)

	p.write("GET /elsewhere HTTP/1.1\r\nHost: " + s.addr + "\r\n\r\n")
	require.Contains(t, elsewhere, p.reply("GET").status)

	p.handshake(4).echoes()
}

// A method that means nothing to a session is answered 500 without a body.
func TestSessionMethod(t *testing.T) {
	s := serve(t)
	p := s.poll4(t)
	for _, method := range []string{"HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		p.write(s.head(method, p.query()) + "Content-Length: 0\r\n\r\n")
		r := p.reply(method)
		require.Equal(t, http.StatusInternalServerError, r.status, method)
		require.Empty(t, r.body, method)
	}
	p.echoes()
}

// A request for a session in another transport or revision than it has leaves it alone.
func TestSessionMismatch(t *testing.T) {
	s := serve(t)
	p := s.poll4(t)
	p.isError(p.peer.get(p.with("websocket")), 3)
	p.isError(p.peer.get("EIO=3&transport=polling&sid="+p.Sid), 3)
	p.echoes()
	v3 := s.poll3(t)
	v3.isError(v3.peer.get("EIO=4&transport=polling&sid="+v3.Sid), 3)
	v3.echoes()
}

// A payload that cannot be read closes the session. The post itself may be
// answered either way; what stood before the fault is not asked for.
func TestUnknownPacket(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		name string
		eio  int
		body string
	}{
		{"type 9", 4, "9"},
		{"letters", 4, "abc"},
		{"empty", 4, ""},
		{"only a separator", 4, "\x1e"},
		{"separator at the end", 4, "4a\x1e"},
		{"separator in front", 4, "\x1e4a"},
		{"second of two", 4, "3\x1e9"},
		{"ping from the client", 4, "2"},
		{"type 9", 3, "1:9"},
		{"empty", 3, ""},
		{"no length", 3, "abc"},
		{"length of letters", 3, "x:4"},
		{"length too large", 3, "5:4abc"},
		{"negative length", 3, "-1:4"},
		{"pong from the client", 3, "1:3"},
	} {
		t.Run(fmt.Sprintf("revision %d %s", c.eio, c.name), func(t *testing.T) {
			p := s.dial(t).handshake(c.eio)
			r := p.post(c.body)
			require.Contains(t, []int{http.StatusOK, http.StatusBadRequest}, r.status, "%v", r)
			p.gone()
		})
	}
	s.goesOn(t)
}

// Revision 4 has no binary payloads: the post is answered and the session closed.
func TestBinaryPost(t *testing.T) {
	s := serve(t)
	p := s.poll4(t)
	p.write(s.head("POST", p.query()) + "Content-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\n4ab")
	r := p.reply("POST")
	require.Equal(t, http.StatusBadRequest, r.status)
	require.Empty(t, r.body)
	p.gone()

	for _, body := range []string{
		"\x00\xff4",                // no length
		"\x00\x09\xff4a",           // more than there is
		"\x00\x01",                 // no end of the length
		"\x00" + "\x01\x0b\xff4ab", // a digit over 9
	} {
		p := s.poll3(t)
		p.write(s.head("POST", p.query()) +
			fmt.Sprintf("Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		require.Contains(t, []int{http.StatusOK, http.StatusBadRequest}, p.reply("POST").status, "%q", body)
		if external() == "" { // the reference server cuts the packet short or takes it as empty
			p.gone()
		}
	}
	s.goesOn(t)
}

// A body over the limit is refused with 413; session and connection stay.
func TestOverlongPost(t *testing.T) {
	s := serve(t)
	over := "4" + strings.Repeat("x", maxPayload)
	for _, c := range []struct {
		name    string
		request func(query string) string
	}{
		{"length", func(q string) string { return s.postRequest(q, over) }},
		{"chunks", func(q string) string {
			return s.chunkedRequest(q, over[:400_000], over[400_000:800_000], over[800_000:])
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.poll4(t)
			done := p.writeAside(c.request(p.query()))
			r := p.reply("POST")
			require.Equal(t, http.StatusRequestEntityTooLarge, r.status)
			require.Empty(t, r.body)
			<-done
			if r.close {
				p.peer = s.dial(t)
			}
			p.echoes()
		})
	}
	t.Run("declared only", func(t *testing.T) {
		stricter(t) // the reference server counts what it gets and would wait
		p := s.poll4(t)
		q := s.dial(t)
		q.write(s.head("POST", p.query()) + "Content-Length: 1000001\r\n\r\n")
		require.Equal(t, http.StatusRequestEntityTooLarge, q.reply("POST").status)
		p.echoes()
	})
	t.Run("just within", func(t *testing.T) {
		p := s.poll4(t)
		full := over[:maxPayload]
		done := p.writeAside(s.postRequest(p.query(), full))
		p.ok(p.reply("POST"))
		<-done
		p.polls(full)
		p.echoes()
	})
	s.goesOn(t)
}

// A broken chunk is a request that never gets complete: 400 and the end of the session.
func TestBrokenChunks(t *testing.T) {
	s := serve(t)
	for _, body := range []string{"zz\r\n", "5\r\n4helloX\r\n", "-1\r\n", "fffffffffffffffff\r\n", "\r\n"} {
		t.Run(fmt.Sprintf("%q", body), func(t *testing.T) {
			p := s.poll4(t)
			q := s.dial(t)
			q.write(s.head("POST", p.query()) + "Transfer-Encoding: chunked\r\n\r\n" + body)
			r := q.reply("POST")
			require.Equal(t, http.StatusBadRequest, r.status)
			require.True(t, r.close, "the connection is kept")
			q.ended()
			p.gone()
		})
	}
	s.goesOn(t)
}

// Two polls of one session: the first is answered by a close packet, the second
// refused.
func TestOverlappingPolls(t *testing.T) {
	s := serveOneLoop(t)
	first, second := s.poll4(t), s.dial(t)
	first.write(s.getRequest(first.query()))
	s.poll4(t) // the poll now waits
	r := second.get(first.query())
	require.Equal(t, http.StatusBadRequest, r.status)
	require.Empty(t, r.body)
	r = first.reply("GET")
	require.Equal(t, `200 "1"`, r.String())
	first.isError(first.get(), 1)
	s.goesOn(t)
}

// Two posts of one session: the second is refused, the connection of the first ended.
func TestOverlappingPosts(t *testing.T) {
	s := serveOneLoop(t)
	first, second := s.poll4(t), s.dial(t)
	first.write(s.head("POST", first.query()) + "Content-Length: 10\r\n\r\n4he")
	s.poll4(t) // the post is now being received
	r := second.post(first.query(), "4hello")
	require.Equal(t, http.StatusBadRequest, r.status)
	require.Empty(t, r.body)
	first.ended()
	second.isError(second.get(first.query()), 1)
	s.goesOn(t)
}

// A close packet ends the session; the waiting poll is answered by a noop.
func TestClosePacket(t *testing.T) {
	s := serveOneLoop(t)
	first, second := s.poll4(t), s.dial(t)
	first.write(s.getRequest(first.query()))
	s.poll4(t) // the poll now waits
	first.ok(second.post(first.query(), "1\x1e4not delivered"))
	require.Equal(t, `200 "6"`, first.reply("GET").String())
	first.isError(first.get(), 1)
	s.goesOn(t)
}

// Packets without meaning here are passed over, and a message may be empty.
func TestIgnoredPackets(t *testing.T) {
	s := serve(t)
	p := s.poll4(t)
	p.ok(p.post("0\x1e5\x1e6\x1e3"))
	p.ok(p.post("4"))
	p.polls("4")
	p.echoes()
}

// Requests sent at once on one connection are answered in their order.
func TestPipelinedRequests(t *testing.T) {
	s := serve(t)
	p := s.poll4(t)
	p.write(s.chunkedRequest(p.query(), "4", "hel", "lo") + s.getRequest("EIO=4&transport=tobi") + s.getRequest(p.query()))
	p.ok(p.reply("POST"))
	p.isError(p.reply("GET"), 0)
	require.Equal(t, `200 "4hello"`, p.reply("GET").String())
}
