package e2e

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// large is a message over the thresholds of compression.
var large = strings.Repeat("much the same ", 400)

// Poll responses and WebSocket messages are compressed where the client can
// take it, and where there is something to gain.
func TestFeaturesCompression(t *testing.T) {
	s := serve(t, "--deflate")
	t.Run("poll", func(t *testing.T) {
		for _, c := range []struct {
			accept, encoding string
			unpack           func(io.Reader) (io.ReadCloser, error)
		}{
			{"gzip, deflate, br", "gzip", func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
			{"gzip;q=0.5, deflate", "deflate", zlib.NewReader},
			{"br", "", nil},
			{"", "", nil},
		} {
			session := s.poll4(t)
			session.ok(session.post("4" + large))
			r := session.getAccepting(c.accept)
			require.Equal(t, http.StatusOK, r.status)
			require.Equal(t, c.encoding, r.header.Get("Content-Encoding"), c.accept)
			require.Equal(t, "text/plain; charset=UTF-8", r.header.Get("Content-Type"))
			body := r.body
			if c.unpack != nil {
				require.Less(t, len(body), len(large)/10)
				plain, err := c.unpack(strings.NewReader(body))
				require.NoError(t, err)
				body = readAll(t, plain)
			}
			require.Equal(t, "4"+large, body)

			session.ok(session.post("4small"))
			r = session.getAccepting(c.accept)
			require.Empty(t, r.header.Get("Content-Encoding"))
			require.Equal(t, "4small", r.body)
		}
	})
	t.Run("poll switched off", func(t *testing.T) {
		session := serve(t, "--no-compression").poll4(t)
		session.ok(session.post("4" + large))
		r := session.getAccepting("gzip")
		require.Empty(t, r.header.Get("Content-Encoding"))
		require.Equal(t, "4"+large, r.body)
	})
	t.Run("WebSocket", func(t *testing.T) {
		p := s.dial(t)
		r := p.upgradeWith("EIO=4&transport=websocket", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
		require.Contains(t, r.header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
		parseOpen(t, p.textFrame())

		p.echoes() // small messages stay as they are
		p.send("4" + large)
		require.Equal(t, "4"+large, p.deflatedFrame())
		p.write(masked(fin|compressed|text, deflated(t, "4"+large)))
		require.Equal(t, "4"+large, p.deflatedFrame())
		p.write(masked(fin|compressed|text, deflated(t, "4small")))
		p.receives("4small")
	})
	t.Run("upgrade", func(t *testing.T) {
		session := s.poll4(t)
		p := s.dial(t)
		r := p.upgradeWith(session.with("websocket"), "Sec-WebSocket-Extensions: permessage-deflate\r\n")
		require.Contains(t, r.header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
		p.send("2probe")
		p.receives("3probe")
		p.send("5")
		p.send("4" + large)
		require.Equal(t, "4"+large, p.deflatedFrame())
	})
	t.Run("WebSocket without an offer", func(t *testing.T) {
		p := s.dial(t)
		require.Empty(t, p.upgradeWith("EIO=4&transport=websocket", "").header.Get("Sec-WebSocket-Extensions"))
		parseOpen(t, p.textFrame())
		p.send("4" + large)
		p.receives("4" + large)
		p.write(masked(fin|compressed|text, deflated(t, "4small")))
		p.closes(1002)
	})
	t.Run("WebSocket switched off", func(t *testing.T) {
		p := serve(t).dial(t)
		r := p.upgradeWith("EIO=4&transport=websocket", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
		require.Empty(t, r.header.Get("Sec-WebSocket-Extensions"))
	})
	t.Run("WebSocket grows over the limit", func(t *testing.T) {
		p := s.dial(t)
		p.upgradeWith("EIO=4&transport=websocket", "Sec-WebSocket-Extensions: permessage-deflate\r\n")
		parseOpen(t, p.textFrame())
		p.write(masked(fin|compressed|text, deflated(t, "4"+strings.Repeat("x", maxPayload))))
		p.closes(1009)
	})
	allClients(t, func(t *testing.T, client, transport string) {
		if transport == "polling" {
			features(t, s, client, transport)
		} else {
			features(t, s, client, transport, "--extension", "permessage-deflate")
		}
	})
	s.goesOn(t)
}

// The cookie comes with the handshake's response of a polling session only.
func TestFeaturesCookie(t *testing.T) {
	s := serve(t, "--cookie", "io")
	for _, eio := range []int{4, 3} {
		p := s.dial(t)
		r := p.get(fmt.Sprintf("EIO=%d&transport=polling", eio))
		_, packet, _ := strings.Cut(r.body, "{")
		session := &session{p, parseOpen(t, "0{"+packet), eio}
		require.Equal(t, []string{"io=" + session.Sid + "; Path=/; HttpOnly; SameSite=Lax"}, r.header.Values("Set-Cookie"))

		message := "4hello"
		if eio == 3 {
			message = "6:4hello"
		}
		r = session.post(message)
		session.ok(r)
		require.Empty(t, r.header.Values("Set-Cookie"))
		r = session.get()
		require.Equal(t, message, r.body)
		require.Empty(t, r.header.Values("Set-Cookie"))

		require.Empty(t, s.dial(t).upgradeWith(session.with("websocket"), "").header.Values("Set-Cookie"))
		query := fmt.Sprintf("EIO=%d&transport=websocket", eio)
		require.Empty(t, s.dial(t).upgradeWith(query, "").header.Values("Set-Cookie"))
	}
	require.Empty(t, serve(t).dial(t).get("EIO=4&transport=polling").header.Values("Set-Cookie"), "without the flag")
	allClients(t, func(t *testing.T, client, transport string) { features(t, s, client, transport) })
}

// Browsers are told whose pages may connect.
func TestFeaturesCORS(t *testing.T) {
	const ours, theirs = "https://app.example.com", "https://evil.example.com"
	preflight := func(p *peer, query, origin string) reply {
		p.write(p.s.head("OPTIONS", query) + "Origin: " + origin + "\r\n" +
			"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type,x-token\r\n\r\n")
		return p.reply("OPTIONS")
	}
	getFrom := func(p *peer, query, origin string) reply {
		p.write(p.s.head("GET", query) + "Origin: " + origin + "\r\n\r\n")
		return p.reply("GET")
	}

	s := serve(t, "--cors-origin", ours+",http://localhost:8080", "--cors-credentials")
	p := s.dial(t)
	for _, query := range []string{"EIO=4&transport=polling", "EIO=4&transport=polling&sid=unknown", ""} {
		r := preflight(p, query, ours) // on a connection that is kept
		require.Equal(t, http.StatusNoContent, r.status)
		require.Empty(t, r.body)
		require.Equal(t, ours, r.header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "true", r.header.Get("Access-Control-Allow-Credentials"))
		require.Contains(t, strings.Split(r.header.Get("Access-Control-Allow-Methods"), ","), "POST")
		require.Equal(t, "content-type,x-token", r.header.Get("Access-Control-Allow-Headers"))
		require.Contains(t, r.header.Get("Vary"), "Origin")
	}
	r := preflight(p, "EIO=4&transport=polling", theirs)
	require.Equal(t, http.StatusNoContent, r.status)
	require.Empty(t, r.header.Values("Access-Control-Allow-Origin"))

	allowed := func(r reply) {
		require.Equal(t, []string{ours}, r.header.Values("Access-Control-Allow-Origin"))
		require.Equal(t, []string{"true"}, r.header.Values("Access-Control-Allow-Credentials"))
		require.Equal(t, []string{"Origin"}, r.header.Values("Vary"))
	}
	r = getFrom(p, "EIO=4&transport=polling", ours)
	allowed(r)
	session := &session{p, parseOpen(t, r.body), 4}
	p.write(s.head("POST", session.query()) + "Origin: " + ours + "\r\nContent-Length: 6\r\n\r\n4hello")
	r = p.reply("POST")
	session.ok(r)
	allowed(r)
	r = getFrom(p, session.query(), ours)
	require.Equal(t, "4hello", r.body)
	allowed(r)
	r = getFrom(p, "EIO=4&transport=polling&sid=unknown", ours) // or the page could not read the error
	p.isError(r, 1)
	allowed(r)
	r = getFrom(p, "EIO=4&transport=polling", theirs)
	p.isError(r, 4)
	require.Empty(t, r.header.Values("Access-Control-Allow-Origin"))
	allowed(s.dial(t).upgradeWith("EIO=4&transport=websocket", "Origin: "+ours+"\r\n"))

	t.Run("any", func(t *testing.T) {
		p := serve(t, "--cors-origin", "*").dial(t)
		for _, r := range []reply{preflight(p, "", theirs), getFrom(p, "EIO=4&transport=polling", theirs)} {
			require.Equal(t, "*", r.header.Get("Access-Control-Allow-Origin"))
			require.Empty(t, r.header.Values("Access-Control-Allow-Credentials"))
		}
	})
	t.Run("none", func(t *testing.T) {
		p := serve(t).dial(t)
		r := preflight(p, "EIO=4&transport=polling", ours)
		p.isError(r, 4)
		require.Empty(t, r.header.Values("Access-Control-Allow-Origin"))
		require.Empty(t, getFrom(p, "EIO=4&transport=polling", ours).header.Values("Access-Control-Allow-Origin"))
	})
	allClients(t, func(t *testing.T, client, transport string) { features(t, s, client, transport) })
}

// Pages may connect from the server's own origin and from those that are listed,
// by WebSocket as by polling. A client that is no browser always may.
func TestFeaturesOrigin(t *testing.T) {
	const ours, more, theirs = "https://app.example.com", "http://localhost:8080", "https://evil.example.com"
	handshakes := func(t *testing.T, s *server, origin string) (polling, websocket int) {
		t.Helper()
		p := s.dial(t)
		p.write(s.head("GET", "EIO=4&transport=polling") + "Origin: " + origin + "\r\n\r\n")
		polling = p.reply("GET").status
		p = s.dial(t)
		p.write(s.head("GET", "EIO=4&transport=websocket") + wsHeaders + "Origin: " + origin + "\r\n\r\n")
		return polling, p.reply("GET").status
	}
	for _, c := range []struct {
		name    string
		args    []string
		allowed []string
	}{
		{"none", nil, nil},
		{"a list", []string{"--origin", ours + "," + more}, []string{ours, more}},
		{"one by one", []string{"--origin", ours, "--origin", more}, []string{ours, more}},
		{"with CORS", []string{"--cors-origin", ours}, []string{ours}},
		{"any", []string{"--any-origin"}, []string{ours, more, theirs, "null"}},
		{"any by CORS", []string{"--cors-origin", "*"}, []string{ours, more, theirs, "null"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, append([]string{"--loops", "2"}, c.args...)...)
			for _, origin := range []string{"http://" + s.addr, "https://" + s.addr, ours, more, theirs, "null", "http://127.0.0.1"} {
				polling, websocket := handshakes(t, s, origin)
				if strings.HasSuffix(origin, "://"+s.addr) || slices.Contains(c.allowed, origin) || c.name[:3] == "any" {
					require.Equal(t, []int{200, 101}, []int{polling, websocket}, origin)
				} else {
					require.Equal(t, []int{403, 403}, []int{polling, websocket}, origin)
				}
			}
			s.goesOn(t)
			s.stop(t) // its log is whole then
			require.Equal(t, c.name[:3] == "any", strings.Contains(s.stderr.String(), "pages of every origin"), s.stderr.String())
		})
	}
}

// With --bind-ip a session id is of no use from another address.
func TestFeaturesBindIP(t *testing.T) {
	elsewhere := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: patience}
	for _, bound := range []bool{true, false} {
		s := serve(t, fmt.Sprintf("--bind-ip=%v", bound))
		mine := s.poll4(t)
		mine.echoes()
		for _, c := range []struct {
			method, request string
			otherwise       int
		}{
			{"POST", s.postRequest(mine.query(), "4hello"), http.StatusOK},
			{"GET", s.getRequest(mine.query()), http.StatusOK},
			{"GET", s.upgradeRequest(mine.with("websocket")), http.StatusSwitchingProtocols},
		} {
			conn, err := elsewhere.Dial("tcp", s.addr)
			if err != nil {
				t.Skipf("this system has no second address of its own: %v", err)
			}
			t.Cleanup(func() { conn.Close() })
			p := &peer{t: t, s: s, conn: conn, r: bufio.NewReader(conn)}
			p.write(c.request)
			want := c.otherwise
			if bound {
				want = http.StatusForbidden
			}
			require.Equal(t, want, p.reply(c.method).status, c.request)
		}
		if bound {
			mine.echoes()
		}
	}
}

// The initial packet is the first message of every session, with its handshake.
func TestFeaturesInitialPacket(t *testing.T) {
	const hello = `hi "€"`
	s := serve(t, "--initial-packet", hello)
	t.Run("polling", func(t *testing.T) {
		r := s.dial(t).get("EIO=4&transport=polling")
		open, message, _ := strings.Cut(r.body, "\x1e")
		parseOpen(t, open)
		require.Equal(t, "4"+hello, message)

		r = s.dial(t).get("EIO=3&transport=polling")
		open, ok := strings.CutSuffix(r.body, "7:4"+hello)
		require.True(t, ok, "%v", r)
		_, open, _ = strings.Cut(open, ":")
		parseOpen(t, open)
	})
	t.Run("WebSocket", func(t *testing.T) {
		for _, eio := range []int{4, 3} {
			p, _ := s.websocket(t, eio)
			p.receives("4" + hello)
			p.echoes()
		}
	})
	// Client 1 decodes UTF-8 twice over polling, with any server.
	ascii := serve(t, "--initial-packet", "hello")
	allClients(t, func(t *testing.T, client, transport string) {
		if client == "1" {
			features(t, ascii, client, transport, "--first", "hello")
		} else {
			features(t, s, client, transport, "--first", hello)
		}
	})
}

// A client that is not admitted is told why, and everyone else is served.
func TestFeaturesAdmission(t *testing.T) {
	s := start(t, testapp(t))
	for _, c := range []struct{ token, message string }{
		{"", "wrong token"},
		{"&token=wrong", "wrong token"},
		{"&token=never", "not you"},
	} {
		p := s.dial(t)
		r := p.get("EIO=4&transport=polling" + c.token)
		require.Equal(t, http.StatusForbidden, r.status)
		require.Equal(t, "application/json", r.header.Get("Content-Type"))
		require.Equal(t, `{"code":4,"message":"`+c.message+`"}`, r.body)
		require.False(t, r.close)

		p.write(s.upgradeRequest("EIO=4&transport=websocket" + c.token))
		r = p.reply("GET")
		require.Equal(t, http.StatusBadRequest, r.status)
		require.Equal(t, c.message, r.body)
		p.ended()
	}
	for _, token := range []string{"secret", "later"} {
		p := s.dial(t)
		r := p.get("EIO=4&transport=polling&token=" + token)
		require.Equal(t, http.StatusOK, r.status)
		(&session{p, parseOpen(t, r.body), 4}).echoes() // polls and posts need no token

		p = s.dial(t) // frames right behind the request wait with it
		p.write(s.upgradeRequest("EIO=4&transport=websocket&token="+token) + masked(fin|text, "4early"))
		p.switched()
		parseOpen(t, p.textFrame())
		p.receives("4early")
		p.echoes()
	}
	allClients(t, func(t *testing.T, client, transport string) {
		for _, token := range []string{"secret", "later"} {
			features(t, s, client, transport, "--query", "token="+token)
		}
		for _, token := range []string{"wrong", "never"} {
			features(t, s, client, transport, "--query", "token="+token, "--refused", "yes")
		}
	})
}

// A path of one's own; what is not under it is somebody else's.
func TestFeaturesPath(t *testing.T) {
	s := serve(t, "--path", "/my/app/")
	s.path = "/my/app/"
	s.goesOn(t)
	s.path = "/my/app/deeper/"
	s.goesOn(t)
	for _, path := range []string{"/engine.io/", "/", "/my/app", "/my/application/", "/My/App/"} {
		s.path = path
		r := s.dial(t).get("EIO=4&transport=polling")
		require.Equal(t, "501 \"Not Implemented\"", r.String(), path)
	}
	s.path = "/engine.io/"
	p := s.dial(t)
	p.write(s.upgradeRequest("EIO=4&transport=websocket"))
	p.ended()                                // a little later, without an answer
	without := serve(t, "--path", "/my/app") // the same
	without.path = "/my/app/"
	without.goesOn(t)
	allClients(t, func(t *testing.T, client, transport string) {
		features(t, s, client, transport, "--path", "/my/app")
	})
}

// JSONP is polling by script elements: no client here does it, so by hand.
func TestFeaturesJSONP(t *testing.T) {
	s := serve(t)
	const line = "4\"quotes\" 'and' \u2028 \u2029 </script> \\n \\\\n \n € 😀"
	for _, c := range []struct{ j, call string }{
		{"0", "___eio[0]("}, {"12", "___eio[12]("}, {"alert(1)//7", "___eio[17]("}, {"", "___eio[]("},
	} {
		p := s.dial(t)
		query := "EIO=4&transport=polling&b64=1&j=" + url.QueryEscape(c.j)
		r := p.get(query)
		require.Equal(t, http.StatusOK, r.status)
		require.Equal(t, "text/plain; charset=UTF-8", r.header.Get("Content-Type"))
		session := &session{p, parseOpen(t, called(t, c.call, r.body)), 4}

		session.ok(session.postForm("d=" + url.QueryEscape(escapeNewlines(line))))
		r = p.get(session.query() + "&j=99") // the handshake's j counts
		require.Equal(t, line, called(t, c.call, r.body))
		require.NotContains(t, r.body, "\u2028") // a line end in older JavaScript
		require.NotContains(t, r.body, "\u2029")
		require.Contains(t, r.body, `4\"quotes\"`)
		require.Contains(t, r.body, `\u2028 \u2029`)
	}

	p := s.dial(t)
	session := &session{p, parseOpen(t, called(t, "___eio[0](", p.get("EIO=4&transport=polling&b64=1&j=0").body)), 4}
	session.ok(session.postForm("d=" + url.QueryEscape("4one\x1ebAQIDBA==")))
	require.Equal(t, "4one\x1ebAQIDBA==", called(t, "___eio[0](", session.get().body))
	for _, form := range []string{"", "e=4lost", "d=4lost&d=4lost"} { // taken, and says nothing
		session.ok(session.postForm(form))
	}
	session.ok(session.postForm("d=4" + url.QueryEscape(large) + "&e=1"))
	r := session.getAccepting("gzip")
	require.Equal(t, "gzip", r.header.Get("Content-Encoding"))
	plain, err := gzip.NewReader(strings.NewReader(r.body))
	require.NoError(t, err)
	require.Equal(t, "4"+large, called(t, "___eio[0](", readAll(t, plain)))
	session.ok(session.postForm("d=1"))
	session.gone()

	p = s.dial(t)
	open := called(t, "___eio[3](", p.get("EIO=3&transport=polling&b64=1&j=3").body)
	size, open, _ := strings.Cut(open, ":")
	require.Equal(t, fmt.Sprint(len(open)), size)
	session.peer, session.open, session.eio = p, parseOpen(t, open), 3
	session.ok(session.postForm("d=" + url.QueryEscape(`5:4"€"€10:b4AQIDBA==`)))
	require.Equal(t, `5:4"€"€10:b4AQIDBA==`, called(t, "___eio[3](", session.get().body))
	s.goesOn(t)
}

// called returns the argument of a JSONP response, as JavaScript would.
func called(t *testing.T, call, body string) (payload string) {
	t.Helper()
	literal, ok := strings.CutPrefix(body, call)
	require.True(t, ok, "%q", body)
	literal, ok = strings.CutSuffix(literal, ");")
	require.True(t, ok, "%q", body)
	require.NoError(t, json.Unmarshal([]byte(literal), &payload), "%q", body)
	return payload
}

// escapeNewlines is what clients do before they put a payload into a form.
func escapeNewlines(payload string) string {
	return strings.ReplaceAll(strings.ReplaceAll(payload, `\n`, `\\n`), "\n", `\n`)
}

func (s *session) postForm(form string) reply {
	s.t.Helper()
	s.write(s.s.head("POST", s.query()) + "Content-Type: application/x-www-form-urlencoded\r\n" +
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(form)) + form)
	return s.reply("POST")
}

func (s *session) getAccepting(encodings string) reply {
	s.t.Helper()
	s.write(s.s.head("GET", s.query()) + "Accept-Encoding: " + encodings + "\r\n\r\n")
	return s.reply("GET")
}

// upgradeWith is upgrade with more header lines; it returns the response.
func (p *peer) upgradeWith(query, lines string) reply {
	p.t.Helper()
	p.write(p.s.head("GET", query) + wsHeaders + lines + "\r\n")
	r := p.reply("GET")
	require.Equal(p.t, http.StatusSwitchingProtocols, r.status, "%v", r)
	return r
}

const (
	compressed = 0x40               // the first reserved bit of a frame: RFC 7692, 6
	flushEnd   = "\x00\x00\xff\xff" // is left out at the end of a message: RFC 7692, 7.2.1
)

// deflatedFrame reads one compressed text frame.
func (p *peer) deflatedFrame() string {
	p.t.Helper()
	first, data := p.frame()
	require.Equal(p.t, byte(fin|compressed|text), first, "not a compressed text frame: %#x", first)
	// The last block of nothing ends the stream for the reader.
	return readAll(p.t, flate.NewReader(strings.NewReader(data+flushEnd+"\x01\x00\x00\xff\xff")))
}

func deflated(t *testing.T, message string) string {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.DefaultCompression)
	require.NoError(t, err)
	_, err = io.WriteString(w, message)
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	return strings.TrimSuffix(out.String(), flushEnd)
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(b)
}

func allClients(t *testing.T, run func(t *testing.T, client, transport string)) {
	t.Helper()
	for _, client := range clients {
		for _, transport := range transports {
			t.Run("client "+client+" "+transport, func(t *testing.T) { run(t, client, transport) })
		}
	}
}

// features runs a client through features.js.
func features(t *testing.T, s *server, client, transport string, args ...string) {
	t.Helper()
	require.DirExists(t, "clients/node_modules", "the clients are not installed: run make setup")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{"features.js", "--url", "http://" + s.addr,
		"--client", client, "--transport", transport}, args...)...)
	cmd.Dir = "clients"
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
}

// testappExecutable builds testapp once and returns its path.
var testappExecutable = sync.OnceValues(func() (string, error) {
	return buildProgram("testapp", "turbine/internal/e2e/testapp")
})

// testapp returns the program in testapp/, to be started.
func testapp(t *testing.T) *exec.Cmd {
	t.Helper()
	if testing.Short() || external() != "" {
		t.Skip("runs a program of its own")
	}
	path, err := testappExecutable()
	require.NoError(t, err)
	return exec.Command(path)
}
