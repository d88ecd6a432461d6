package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ConnectionError hears once of each refusal, what was refused and why.
func TestSpecConnectionError(t *testing.T) {
	for _, c := range []struct {
		number  string
		command string
		want    string // code, message, name, detail, previous
	}{
		{"T016", "get EIO=4&transport=tobi", "0|Transport unknown||tobi|"},
		{"T017", "get EIO=4&transport=constructor", "0|Transport unknown||constructor|"},
		{"T018", "get EIO=4&transport=__proto__", "0|Transport unknown||__proto__|"},
		{"T019", "ws EIO=4&transport=__proto__ conn=w", "0|Transport unknown||__proto__|"},
		{"T020", "get EIO=4&transport=polling&sid=test", "1|Session ID unknown||test|"},
		{"T020", "ws EIO=4&transport=websocket&sid=test conn=w", "1|Session ID unknown||test|"},
		{"T020", "get EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAAAAAAA", "1|Session ID unknown||AAAAAAAAAAAAAAAAAAAAAAAAAAA|"},
		{"T022", "get EIO=4&transport=polling&reject=1", "4|Forbidden||Thou shall not pass|"},
		{"T023", "ws EIO=4&transport=websocket&reject=1 conn=w", "4|Forbidden||Thou shall not pass|"},
		{"T029", "get method=OPTIONS EIO=4&transport=polling", "2|Bad handshake method||OPTIONS|"},
		{"T031", "get EIO=4&transport=websocket", "3|Bad request|TRANSPORT_HANDSHAKE_ERROR||"},
		{"T034", "get EIO=3&transport=polling", "5|Unsupported protocol version||3|"},
		{"T034", "ws EIO=3&transport=websocket conn=w", "5|Unsupported protocol version||3|"},
		{"T037", "get EIO=4&transport=websocket sid=A", "3|Bad request|TRANSPORT_MISMATCH|websocket|polling"},
		{"T038", "get EIO=3&transport=polling sid=A", "3|Bad request|PROTOCOL_MISMATCH|3|4"},
		{"T214", "ws EIO=3&transport=websocket sid=A conn=w", "3|Bad request|PROTOCOL_MISMATCH|3|4"},
		// Not the handshake's fault: the WebSocket layer, a busy session, a method.
		{"T043", "ws EIO=4&transport=websocket conn=w without=Sec-WebSocket-Key", ""},
		{"T040", "get sid=A method=PUT", ""},
	} {
		for _, loops := range []int{1, -3} {
			t.Run(fmt.Sprint(c.number, " ", c.command, " ", loops), func(t *testing.T) {
				var heard []string
				b := newSpec(t, loops, Options{Revisions: []Revision{Revision4}}, func(_ *bench, e *Events) {
					e.Admit = func(a *Admission) error {
						if a.Query("reject") != "" {
							return Refuse("Thou shall not pass")
						}
						return nil
					}
					e.ConnectionError = func(r *Request, e *HandshakeError) {
						require.NotEmpty(t, r.Target())
						heard = append(heard, fmt.Sprintf("%d|%s|%s|%s|%s", e.Code, e.Message, e.Name, e.Detail, e.Previous))
					}
				})
				b.play(hsPolling)
				b.play(c.command)
				var want []string
				if c.want != "" {
					want = []string{c.want}
				}
				require.Equal(t, want, heard)
				b.finish()
			})
		}
	}
}

// A request that waits keeps no copy of its head for ConnectionError: what a client
// has written there it would hold for as long as it polls.
func TestWaitingRequestsKeepNoCopy(t *testing.T) {
	everywhere(t, func(t *testing.T, on int) {
		heard := ""
		b := newSpec(t, on, Options{}, func(_ *bench, e *Events) {
			e.ConnectionError = func(_ *Request, e *HandshakeError) { heard += e.Detail }
		})
		b.play(hsPolling, "get sid=A conn=poll")
		b.client("post", b.session("A").ID()).peer.Write([]byte(b.reveal("POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4")))
		b.world.Run()
		held := 0
		for _, h := range b.accepted {
			if h.exchange.session != nil {
				held++
			}
			require.Nil(t, h.exchange.request)
		}
		require.Equal(t, 2, held)
		b.play("get ?EIO=4&transport=polling&sid=nobody")
		require.Equal(t, "nobody", heard)
		b.finish()
	})
}

// T044: Admit is asked once a session, not for what belongs to it.
func TestSpecAdmitOnce(t *testing.T) {
	asked := 0
	b := newSpec(t, -3, Options{}, nil)
	b.on = func(event, _ string) {
		if event == "admit" {
			asked++
		}
	}
	b.play(hsPolling, "get sid=A conn=p", "post sid=A 4hi", "ws sid=A conn=x", "frame x text 2probe", "frame x text 5")
	require.Equal(t, 1, asked)
	b.play(hsWebSocket)
	require.Equal(t, 2, asked)
	b.finish()
}

// T057: the application's own id is the session's, the client's, and the one
// under which it is found. An id in use is refused.
func TestSpecGenerateID(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		var heard []string
		id := "first/id +"
		b := newSpec(t, loops, Options{GenerateID: func(*Request) (string, error) { return id, nil }}, func(_ *bench, e *Events) {
			e.ConnectionError = func(_ *Request, e *HandshakeError) { heard = append(heard, e.Name) }
		})
		b.echo = true
		r := b.fetch("GET", "EIO=4&transport=polling")
		body := make([]byte, 30)
		_, err := r.Body.Read(body)
		require.NoError(t, err)
		require.Equal(t, `0{"sid":"first/id +","upgrades`, string(body))
		require.Equal(t, id, b.session("A").ID())
		require.Equal(t, []string{"200 ok", "200 4hi"},
			b.play("post EIO=4&transport=polling&sid=first%2Fid+%2B 4hi", "get EIO=4&transport=polling&sid=first%2Fid%20%2B"))

		require.Equal(t, []string{`400 {"code":3,"message":"Bad request"}`}, b.play(hsPolling))
		require.Equal(t, []string{"ID_GENERATION_ERROR"}, heard)

		id = "second"
		require.Equal(t, "w: 101", b.play(hsWebSocket)[0])
		require.Equal(t, "second", b.session("B").ID())
		require.Equal(t, 2, b.server.Stats().Sessions)
		b.play("post EIO=4&transport=polling&sid=first%2Fid+%2B 1")
		id = "first/id +"
		require.Len(t, b.play(hsPolling), 1, "the id is free again")
		b.finish()
	})
}

// T058: an id that comes later. What callbacks wait for does not hold a loop
// up, and a client that is gone meanwhile leaves nothing.
func TestSpecGenerateIDLater(t *testing.T) {
	for _, command := range []string{hsPolling + " conn=w", hsWebSocket} {
		var verdict *Verdict
		b := newSpec(t, 1, Options{}, func(_ *bench, e *Events) {
			e.Admit = func(a *Admission) error {
				verdict = a.Later()
				return nil
			}
		})
		require.Empty(t, b.play(command))
		done := make(chan struct{})
		go func() {
			verdict.SetID("later")
			verdict.SetValue(7)
			verdict.Accept()
			verdict.Refuse(Refuse("too late"))
			close(done)
		}()
		<-done
		got := b.collect()
		require.NotEmpty(t, got)
		require.Equal(t, "later", b.session("A").ID())
		require.Equal(t, 7, b.session("A").Value())

		require.Empty(t, b.play(command[:len(command)-1]+"x"))
		refused := verdict
		refused.Refuse(Refuse("Thou shall not pass"))
		require.Contains(t, b.collect()[0], "Thou shall not pass")

		require.Empty(t, b.play(command[:len(command)-1]+"y"))
		b.play("reset y")
		verdict.Accept()
		b.world.Run()
		require.Equal(t, 1, b.server.Stats().Sessions)

		require.Empty(t, b.play(command[:len(command)-1]+"z"))
		b.world.Advance(10 * time.Second)
		require.Contains(t, b.collect()[0], "z: 503")
		verdict.Accept()
		b.world.Run()
		require.LessOrEqual(t, b.server.Stats().Sessions, 1)
		b.finish()
	}
}

// T059: no id, no session, polling. T060: the same over WebSocket.
func TestSpecGenerateIDFails(t *testing.T) {
	var heard []string
	b := newSpec(t, 1, Options{GenerateID: func(*Request) (string, error) { return "", errors.New("no id") }}, func(_ *bench, e *Events) {
		e.ConnectionError = func(_ *Request, e *HandshakeError) {
			heard = append(heard, fmt.Sprint(e.Code, " ", e.Name, " ", e.Detail))
		}
	})
	require.Equal(t, []string{`400 {"code":3,"message":"Bad request"}`}, b.play(hsPolling))
	require.Equal(t, []string{"w: 400 Bad request", "w: closed"}, b.play(hsWebSocket))
	require.Equal(t, []string{"3 ID_GENERATION_ERROR no id", "3 ID_GENERATION_ERROR no id"}, heard)
	require.Empty(t, b.events())
	b.finish()
}

// A JSONP index is kept for the session's life, so its length is bounded.
func TestJSONPIndexIsBounded(t *testing.T) {
	b := newBench(t, 1, Options{})
	require.Equal(t, []string{`400 {"code":3,"message":"Bad request"}`},
		b.play("get EIO=4&transport=polling&j="+strings.Repeat("7", maxJSONPIndex+1)))
	require.Zero(t, b.server.Stats().Sessions)
	got := b.play("get EIO=4&transport=polling&j=" + strings.Repeat("7", maxJSONPIndex))
	require.Contains(t, got[0], "200 ___eio["+strings.Repeat("7", maxJSONPIndex)+"](")
	b.finish()
}
