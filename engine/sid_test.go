package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// weirdIDs are ids that an application may choose.
var weirdIDs = []string{
	"plain", "__proto__", "constructor", "a b", "a+b", "100%", "%41", "%zz", "a&sid=b", "a=b", "a#b", "a?b", "a/b/../c",
	`quo"te\`, "<script>", "ünïcödé 🙂", "tab\tnewline\r\n", "\x00\x01", "\u2028", strings.Repeat("x", 64), strings.Repeat("é ", 150),
	strings.Repeat("A", sidLength), strings.Repeat("A", sidLength-1) + "E", "-",
}

// openSID is the id that the client of r is told.
func openSID(t *testing.T, body []byte) string {
	var open struct{ SID string }
	require.NoError(t, json.Unmarshal(bytes.TrimPrefix(body, []byte("0")), &open), "%q", body)
	return open.SID
}

// ask sends one request to that loop and parses the response.
func (b *bench) ask(loop int, method, query, body string) (status int, answer string) {
	b.t.Helper()
	peer := b.world.DialLoop(loop)
	peer.Write(request{method: method, target: "/engine.io/?EIO=4&" + query, body: body, length: method == "POST"}.bytes())
	b.world.Run()
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(peer.Read())), &http.Request{Method: method})
	require.NoError(b.t, err)
	text, err := io.ReadAll(r.Body)
	require.NoError(b.t, err)
	peer.CloseWrite()
	b.world.Run()
	return r.StatusCode, string(text)
}

// An id of any kind is told, found from every loop, and lives through an
// upgrade.
func TestWeirdIDs(t *testing.T) {
	for _, loops := range []int{1, 2, 3} {
		for _, id := range weirdIDs {
			for _, how := range []string{"GenerateID", "SetID", "Verdict"} {
				var o Options
				if how == "GenerateID" {
					o.GenerateID = func(*Request) (string, error) { return id, nil }
				}
				b := newSpec(t, loops, o, func(_ *bench, e *Events) {
					e.Admit = func(a *Admission) error {
						switch how {
						case "SetID":
							a.SetID(id)
						case "Verdict":
							a.Later().SetID(id)
							a.Later().Accept()
						}
						return nil
					}
				})
				b.echo = true
				status, body := b.ask(0, "GET", "transport=polling", "")
				require.Equal(t, 200, status)
				require.Equal(t, id, openSID(t, []byte(body)), "%q", id)
				require.Equal(t, id, b.session("A").ID())
				for loop := range loops {
					query := "transport=polling&sid=" + url.QueryEscape(id)
					if loop == 1 {
						query = "transport=polling&sid=" + strings.ReplaceAll(url.QueryEscape(id), "+", "%20")
					}
					status, body = b.ask(loop, "POST", query, "4hi")
					require.Equal(t, "200 ok", fmt.Sprint(status, " ", body), "%q", id)
					status, body = b.ask(loop, "GET", query, "")
					require.Equal(t, "200 4hi", fmt.Sprint(status, " ", body), "%q", id)
					status, _ = b.ask(loop, "GET", query+"x", "")
					require.Equal(t, 400, status, "another id")
				}
				c := &client{name: "w", peer: b.world.DialLoop(loops - 1)}
				b.clients = append(b.clients, c)
				b.request(c, request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket&sid=" + url.QueryEscape(id), headers: upgradeHeaders})
				require.Equal(t, []string{"w: 101", `w: text "3probe"`, `w: text "4up"`},
					b.play("frame w text 2probe", "frame w text 5", "frame w text 4up"), "%q", id)
				require.True(t, b.session("A").Upgraded())
				b.finish()
				require.Empty(t, b.server.ownIDs.homes)
			}
		}
	}
}

// An id in the cookie is encoded as the reference server does.
func TestOwnIDInCookie(t *testing.T) {
	b := newSpec(t, 1, Options{Cookie: &Cookie{}, GenerateID: func(*Request) (string, error) { return "a b;c\r\n\"é", nil }}, nil)
	r := b.fetch("GET", "EIO=4&transport=polling")
	require.True(t, strings.HasPrefix(r.Header.Get("Set-Cookie"), "io=a%20b%3Bc%0D%0A%22%C3%A9; "), "%q", r.Header.Get("Set-Cookie"))
	b.finish()
}

// An id is refused while a session has it, from any loop and either transport,
// and free in Close already.
func TestOwnIDFreedAfterClose(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		var heard []string
		b := newSpec(t, loops, Options{GenerateID: func(r *Request) (string, error) { return r.Query("id"), nil }}, func(b *bench, e *Events) {
			e.ConnectionError = func(_ *Request, e *HandshakeError) { heard = append(heard, fmt.Sprint(e.Code, " ", e.Name)) }
			closed := e.Close
			e.Close = func(s *Session, r Reason, err error) {
				require.False(t, b.server.ownIDs.taken("one"))
				closed(s, r, err)
			}
		})
		for i := range 6 {
			form := [...]string{"get EIO=4&transport=polling&id=one conn=p", "ws EIO=4&transport=websocket&id=one conn=w"}[i%2]
			require.Len(t, b.play(fmt.Sprint(form, i)), 1+i%2, "%d", i)
			heard = nil
			for range 3 { // from all loops
				require.Equal(t, []string{`400 {"code":3,"message":"Bad request"}`}, b.play(hsPolling+"&id=one"))
				require.Equal(t, []string{"x: 400 Bad request", "x: closed"}, b.play("ws EIO=4&transport=websocket&id=one conn=x"))
				b.clients = b.clients[:len(b.clients)-1]
			}
			require.Equal(t, strings.Repeat("3 ID_GENERATION_ERROR,", 6), strings.Join(heard, ",")+",")
			require.Equal(t, 1, b.server.Stats().Sessions)
			b.session(letters(i)).Close()
			b.world.Advance(b.options.Timeouts.Close)
			b.collect()
			require.Zero(t, b.server.Stats().Sessions)
			require.Empty(t, b.server.ownIDs.homes)
			status, _ := b.ask(0, "GET", "transport=polling&sid=one", "")
			require.Equal(t, 400, status)
		}
		b.finish()
	})
}

// Sessions with and without an id of their own live side by side.
func TestOwnIDsBesideOthers(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, func(_ *bench, e *Events) {
			e.Admit = func(a *Admission) error {
				a.SetID(a.Query("id"))
				return nil
			}
		})
		b.echo = true
		b.play(hsPolling, hsPolling+"&id=own", hsPolling)
		require.Regexp(t, "^[A-Za-z0-9_-]{27}$", b.session("A").ID())
		require.Equal(t, "own", b.session("B").ID())
		for _, name := range []string{"A", "B", "C"} {
			require.Equal(t, []string{"200 ok", "200 4" + name}, b.play("post sid="+name+" 4"+name, "get sid="+name))
		}
		b.finish()
	})
}

// Without an id there is no session.
func TestGenerateIDFails(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, c := range []struct {
			name     string
			generate func(*Request) (string, error)
			detail   string
			logged   int32
		}{
			{"error", func(*Request) (string, error) { return "half", errors.New("no id") }, "no id", 0},
			{"empty", func(*Request) (string, error) { return "", nil }, errEmptyID.Error(), 0},
			{"panic", func(*Request) (string, error) { panic("the application's fault") }, ErrCallbackPanic.Error(), 1},
		} {
			t.Run(c.name, func(t *testing.T) {
				log := new(counter)
				var heard []string
				b := newSpec(t, loops, Options{Logger: slog.New(log), GenerateID: c.generate}, func(_ *bench, e *Events) {
					e.ConnectionError = func(_ *Request, e *HandshakeError) {
						heard = append(heard, fmt.Sprint(e.Code, " ", e.Name, " ", e.Detail))
					}
				})
				require.Equal(t, []string{`400 {"code":3,"message":"Bad request"}`}, b.play(hsPolling))
				require.Equal(t, []string{"w: 400 Bad request", "w: closed"}, b.play(hsWebSocket))
				want := "3 ID_GENERATION_ERROR " + c.detail
				require.Equal(t, []string{want, want}, heard)
				require.GreaterOrEqual(t, log.lines.Load(), c.logged)
				require.Empty(t, b.events())
				require.Zero(t, b.server.Stats().Sessions)
				b.finish()
				require.Empty(t, b.server.ownIDs.homes)
			})
		}
	})
}

// GenerateID is not asked where Admit has set an id, nor for refused requests.
func TestGenerateIDAsked(t *testing.T) {
	asked := 0
	b := newSpec(t, 1, Options{Revisions: []Revision{Revision4}, GenerateID: func(r *Request) (string, error) {
		asked++
		return fmt.Sprint("id", asked), nil
	}}, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error {
			if a.Query("no") != "" {
				return errors.New("no")
			}
			a.SetID(a.Query("id"))
			return nil
		}
	})
	b.play(hsPolling+"&id=set", hsPolling+"&no=1", "get EIO=3&transport=polling", "get EIO=4&transport=none")
	require.Zero(t, asked)
	b.play(hsPolling)
	require.Equal(t, 1, asked)
	b.play("ws sid=B conn=w", "frame w text 2probe", "frame w text 5", "frame w text 4x")
	require.Equal(t, 1, asked)
	require.Equal(t, "id1", b.session("B").ID())
	b.finish()
}

// With an id of the application's own as well, a WebSocket that comes while another is
// tried is closed.
func TestOwnIDSecondCandidate(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{GenerateID: func(*Request) (string, error) { return "own", nil }}, nil)
		b.play(hsPolling, "ws EIO=4&transport=websocket&sid=own conn=w", "frame w text 2probe")
		require.Equal(t, []string{"x: 101", "x: close", "x: closed"}, b.play("ws EIO=4&transport=websocket&sid=own conn=x"))
		require.Equal(t, []string(nil), b.play("frame w text 5"))
		require.True(t, b.session("A").Upgraded())
		b.client("w", "").peer.Write(frame(ws.OpClose, ""))
		b.world.Run()
		require.Equal(t, wsframe.AppendClose(nil, 0, ""), b.client("w", "").peer.Read())
		b.finish()
	})
}

// A client that knows where a session lives, and all of its id except one bit, has no
// part in the session.
func TestGuessedIDs(t *testing.T) {
	for _, loops := range []int{1, 2, 3} {
		b := newSpec(t, loops, Options{}, nil)
		b.play(hsPolling, hsPolling, hsWebSocket)
		b.events()
		victim := b.session("A").home()
		for bit := range secretSize * 8 {
			near := victim
			near.secret[bit/8] ^= 1 << (bit % 8)
			id := string(appendSID(nil, near))
			for on := range loops {
				for method, body := range map[string]string{"GET": "", "POST": "4hi"} {
					status, answer := b.ask(on, method, "transport=polling&sid="+id, body)
					require.Equal(t, `400 {"code":1,"message":"Session ID unknown"}`, fmt.Sprint(status, " ", answer))
				}
			}
			require.Equal(t, []string{"x: 400 Session ID unknown", "x: closed"}, b.play("ws EIO=4&transport=websocket&sid="+id+" conn=x"))
			b.clients = b.clients[:len(b.clients)-1]
			require.Nil(t, b.server.Find(id))
		}
		for _, name := range []string{"B", "C"} { // the secret of one, the place of another
			near := b.session(name).home()
			near.secret = victim.secret
			status, _ := b.ask(0, "GET", "transport=polling&sid="+string(appendSID(nil, near)), "")
			require.Equal(t, 400, status)
		}
		for _, name := range []string{"A", "B", "C"} {
			require.Equal(t, StateOpen, b.session(name).State())
		}
		require.Empty(t, b.events())
		b.finish()
	}
}
