package engine

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type wrapper = func(http.Handler) http.Handler

// answers is a middleware that answers by itself.
func answers(f http.HandlerFunc) wrapper {
	return func(http.Handler) http.Handler { return f }
}

// passes is a middleware that does f and passes the request on.
func passes(f http.HandlerFunc) wrapper {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f(w, r)
			next.ServeHTTP(w, r)
		})
	}
}

// Middlewares see every request in their order, once, before all else, and what
// they add is on every answer.
func TestMiddlewareSeesAll(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		var log []string
		note := func(name string) wrapper {
			return func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					log = append(log, name)
					w.Header().Add("X-Seen", name)
					next.ServeHTTP(w, r)
					log = append(log, "/"+name)
				})
			}
		}
		b := newSpec(t, loops, Options{MaxPayload: 100, Middleware: []wrapper{note("1"), note("2")}}, func(b *bench, e *Events) {
			e.Admit = func(*Admission) error {
				log = append(log, "admit")
				return nil
			}
			e.ConnectionError = func(*Request, *HandshakeError) { log = append(log, "error") }
		})
		const seen = "[x-seen: 1] [x-seen: 2]"
		for _, c := range []struct{ command, answer, log string }{
			{hsPolling, "200 " + seen, "admit"},
			{hsWebSocket, "w: 101 " + seen, "admit"},
			{"post sid=A 4hi", "200 " + seen + " ok", ""},
			{"send A x", "", "none"},
			{"get sid=A", "200 " + seen + " 4x", ""},
			{"ws sid=A conn=x", "x: 101 " + seen, ""},
			{"get EIO=4&transport=none", `400 ` + seen + ` {"code":0,`, "error"},
			{"get EIO=4&transport=polling&sid=none", `400 ` + seen + ` {"code":1,`, "error"},
			{"ws EIO=4&transport=websocket&sid=none conn=y", `y: 400 ` + seen + " Session ID unknown", "error"},
			{hsWebSocket[:len(hsWebSocket)-1] + "z without=Sec-WebSocket-Key", `z: 400 ` + seen, "admit"},
			{"post EIO=4&transport=polling x", `400 ` + seen + ` {"code":2,`, "error"},
			{"get sid=A method=PUT", "500 " + seen, ""},
			{"post sid=A repeat=4,200,a", "413 " + seen, ""},
			{"get path=/elsewhere", "501 [no x-seen] Not Implemented", "none"},
		} {
			log = nil
			show := " show=x-seen"
			if c.answer == "" {
				show = ""
			}
			got := b.play(c.command + show)
			if c.answer == "" {
				continue
			}
			require.NotEmpty(t, got, c.command)
			require.True(t, strings.HasPrefix(got[0], c.answer), "%s: %q", c.command, got)
			want := "1 2 /2 /1 " + c.log
			if c.log == "none" {
				want = ""
			}
			require.Equal(t, strings.TrimSpace(want), strings.Join(log, " "), c.command)
		}
		b.finish()
	})
}

// What a middleware answers is the last word: on every kind of request, with no
// session and no ConnectionError.
func TestMiddlewareAnswers(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		on := false
		b := newSpec(t, loops, Options{Middleware: []wrapper{
			func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if !on {
						next.ServeHTTP(w, r)
						return
					}
					w.Header().Set("Retry-After", "5")
					w.Header().Set("Content-Type", "text/x-own")
					w.Header().Set("Content-Length", "999")
					w.WriteHeader(http.StatusEarlyHints) // no answer
					w.WriteHeader(http.StatusServiceUnavailable)
					w.WriteHeader(http.StatusTeapot) // too late
					_, _ = io.WriteString(w, "busy: ")
					_, _ = io.WriteString(w, r.URL.Query().Get("q"))
				})
			},
		}}, func(_ *bench, e *Events) {
			e.ConnectionError = func(_ *Request, err *HandshakeError) { t.Errorf("%v", err) }
		})
		b.play(hsPolling)
		b.events()
		on = true
		const shown = "503 [retry-after: 5] [content-type: text/x-own]"
		show := "&q=a%20b show=retry-after,content-type conn="
		require.Equal(t, []string{"p: " + shown + " busy: a b"}, b.play(hsPolling+show+"p"))
		require.Equal(t, []string{"p: " + shown + " busy: a b"}, b.play(hsPolling+show+"p"), "the connection goes on")
		require.Equal(t, []string{"p: " + shown}, b.play(hsPolling+show+"p method=HEAD"))
		require.Equal(t, []string{"q: " + shown + " busy: a b", "q: closed"}, b.play(hsPolling+show+"q method=POST \"GET /engine.io/ HTTP/1.1\""), "the body is no request")
		require.Equal(t, []string{"w: " + shown + " busy: a b", "w: closed"}, b.play("ws EIO=4&transport=websocket"+show+"w"))
		require.Equal(t, []string{"x: " + shown + " busy:", "x: closed"}, b.play("ws sid=A"+show[len("&q=a%20b"):]+"x"))
		require.Empty(t, b.events())
		require.Equal(t, 1, b.server.Stats().Sessions)
		on = false
		require.Equal(t, []string{"200 ok"}, b.play("post sid=A 4x"), "the session is as it was")
		b.finish()
	})
}

// A middleware that writes nothing answers 200 with nothing; a body alone means
// 200, as in net/http.
func TestMiddlewareAnswersLittle(t *testing.T) {
	for _, body := range []string{"", "hi"} {
		b := newSpec(t, 1, Options{Middleware: []wrapper{answers(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, body)
		})}}, nil)
		require.Equal(t, []string{strings.TrimSpace("200 " + body)}, b.play(hsPolling))
		require.Empty(t, b.events())
		b.finish()
	}
}

// Where WebSocket is off, a request for one is refused as any other request: whatever
// a middleware does to it, the connection continues.
func TestMiddlewareWhereWebSocketIsOff(t *testing.T) {
	for _, c := range []struct {
		name       string
		middleware wrapper
		want       string
	}{
		{"none", passes(func(http.ResponseWriter, *http.Request) {}), `400 [Content-Type: application/json] [no Connection] {"code":0,"message":"Transport unknown"}`},
		{"a panic", answers(func(http.ResponseWriter, *http.Request) { panic("the middleware's fault") }), `400 [Content-Type: application/json] [no Connection] {"code":3,"message":"Bad request"}`},
		{"its own answer", answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }), "401 [no Content-Type] [no Connection]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSpec(t, 1, Options{Transports: []Transport{Polling}, Middleware: []wrapper{c.middleware}, Logger: slog.New(slog.DiscardHandler)}, nil)
			require.Equal(t, []string{"w: " + c.want}, b.play(hsWebSocket+" conn=w show=Content-Type,Connection"))
			b.finish()
		})
	}
}

// A panic refuses the one request with code 3; the server and other sessions
// live on.
func TestMiddlewarePanics(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		log := new(counter)
		bad := false
		var heard []string
		b := newSpec(t, loops, Options{Logger: slog.New(log), Middleware: []wrapper{
			adds("X-One", "1"),
			passes(func(http.ResponseWriter, *http.Request) {
				if bad {
					panic("the middleware's fault")
				}
			}),
		}}, func(_ *bench, e *Events) {
			e.ConnectionError = func(r *Request, e *HandshakeError) {
				heard = append(heard, fmt.Sprint(e.Code, " ", e.Name, " ", r.Method()))
			}
		})
		b.play(hsPolling, "get sid=A conn=p")
		bad = true
		const refused = `400 {"code":3,"message":"Bad request"}`
		require.Equal(t, []string{refused}, b.play(hsPolling))
		require.Equal(t, []string{refused, "closed"}, b.play("post sid=A 4x"))
		require.Equal(t, []string{"w: 400 Bad request", "w: closed"}, b.play(hsWebSocket))
		require.Equal(t, []string{"x: 400 Bad request", "x: closed"}, b.play("ws sid=A conn=x"))
		require.Equal(t, []string{"3 MIDDLEWARE_FAILURE GET", "3 MIDDLEWARE_FAILURE POST", "3 MIDDLEWARE_FAILURE GET", "3 MIDDLEWARE_FAILURE GET"}, heard)
		require.Positive(t, log.lines.Load())
		bad = false
		require.Equal(t, []string{"p: 200 4still"}, b.play("send A still"))
		b.finish()
	})
}

// sessionMiddleware keeps a session in a cookie, in the usual way: it reads the
// request's, and sets one just before the header is written.
func sessionMiddleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := "new"
		if c, err := r.Cookie("app"); err == nil {
			id = c.Value
		}
		s := &sessionWriter{ResponseWriter: w, id: id}
		next.ServeHTTP(s, r)
		if !s.wrote {
			s.WriteHeader(http.StatusOK)
		}
	})
}

type sessionWriter struct {
	http.ResponseWriter
	id    string
	wrote bool
}

func (w *sessionWriter) WriteHeader(status int) {
	if !w.wrote {
		w.wrote = true
		http.SetCookie(w.ResponseWriter, &http.Cookie{Name: "app", Value: w.id, Path: "/", HttpOnly: true})
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *sessionWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// The engine's own cookie is first, then those of middlewares, all of them.
func TestMiddlewareCookies(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Cookie: &Cookie{}, Middleware: []wrapper{
			sessionMiddleware,
			passes(func(w http.ResponseWriter, _ *http.Request) { http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"}) }),
		}}, func(_ *bench, e *Events) {
			e.Admit = func(a *Admission) error {
				a.ResponseHeader().Add("Set-Cookie", "admit=1")
				return nil
			}
		})
		r := b.fetch("GET", "EIO=4&transport=polling")
		cookies := r.Header.Values("Set-Cookie")
		require.Len(t, cookies, 4)
		require.True(t, strings.HasPrefix(cookies[0], "io="+b.session("A").ID()+";"), "%q", cookies)
		require.Equal(t, []string{"admit=1", "a=1", "app=new; Path=/; HttpOnly"}, cookies[1:])

		r = b.fetch("POST", "EIO=4&transport=polling&sid=A", "Cookie: app=mine; io=x", "Content-Length: 0")
		require.Equal(t, []string{"a=1", "app=mine; Path=/; HttpOnly"}, r.Header.Values("Set-Cookie"))
		r = b.fetch("GET", "EIO=4&transport=websocket", append([]string{"Cookie: app=mine"}, upgradeHeaders...)...)
		require.Equal(t, 101, r.StatusCode)
		require.Equal(t, []string{"admit=1", "a=1", "app=mine; Path=/; HttpOnly"}, r.Header.Values("Set-Cookie"))
		b.finish()
	})
}

// Nothing that an application puts into a header field ends it.
func TestNoResponseSplitting(t *testing.T) {
	const evil = "x\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200 OK\r\n"
	fill := func(h http.Header) {
		h["X-Value"] = []string{evil, "a\nX-Evil: 1", "b\rX-Evil: 1"}
		h["X-Name\r\nX-Evil: 1\r\nX"] = []string{"1"}
		h["X-Evil: 1\n"] = []string{"1"}
		h["X-Evil "] = []string{"1"}
		h[""] = []string{"1"}
		h["content-length"] = []string{"0"} // not in its canonical form
		h["Transfer-Encoding"] = []string{"chunked"}
		h["connection"] = []string{"close"}
	}
	for _, where := range []string{"middleware", "admit", "refused", "headers"} {
		b := newSpec(t, 1, Options{Middleware: []wrapper{passes(func(w http.ResponseWriter, _ *http.Request) {
			if where == "middleware" {
				fill(w.Header())
			}
		})}}, func(_ *bench, e *Events) {
			e.Admit = func(a *Admission) error {
				if where == "admit" || where == "refused" {
					fill(a.ResponseHeader())
				}
				if where == "refused" {
					return fmt.Errorf("no")
				}
				return nil
			}
			e.Headers = func(_ *Request, h http.Header) {
				if where == "headers" {
					fill(h)
				}
			}
		})
		for _, headers := range [][]string{nil, upgradeHeaders} {
			query := "EIO=4&transport=polling"
			if headers != nil {
				query = "EIO=4&transport=websocket"
			}
			r := b.fetch("GET", query, headers...)
			require.Len(t, r.Header.Values("X-Value"), 3, where)
			for name := range r.Header {
				require.NotContains(t, name, "Evil", where)
			}
			require.Empty(t, r.TransferEncoding)
			if r.StatusCode != 101 {
				body, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				require.NotEmpty(t, body, where)
			}
		}
		b.finish()
	}
}

// The request is net/http's, for middlewares that look at it.
func TestMiddlewareRequest(t *testing.T) {
	var seen []string
	b := newSpec(t, 1, Options{Middleware: []wrapper{passes(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		seen = append(seen, fmt.Sprint(r.Method, " ", r.Proto, " ", r.Host, " ", r.RequestURI, " ", r.URL.Path, " ", r.FormValue("x"), " ",
			r.Header.Get("X-A"), " ", r.RemoteAddr, " ", len(body), err))
	})}}, nil)
	b.play(`get EIO=4&transport=polling&x=a%20b header=X-A:1 version=1.0`)
	require.Equal(t, []string{"GET HTTP/1.0 turbine /engine.io/?EIO=4&transport=polling&x=a%20b /engine.io/ a b 1 " +
		b.clients[0].peer.Addr().String() + " 0 <nil>"}, seen)
	seen = nil
	b.play("post sid=A 4hello")
	require.Contains(t, seen[0], "POST HTTP/1.1")
	require.Contains(t, seen[0], " 0 <nil>", "the body belongs to the session")
	require.Equal(t, `open A; message A "hello"`, b.events())
	b.finish()
}

// A status without a body has none: what is written would be taken for the
// next response.
func TestMiddlewareAnswersWithoutBody(t *testing.T) {
	for _, status := range []int{http.StatusNoContent, http.StatusNotModified} {
		b := newSpec(t, 1, Options{Middleware: []wrapper{answers(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\n")
			require.ErrorIs(t, err, http.ErrBodyNotAllowed)
		})}}, nil)
		require.Equal(t, []string{fmt.Sprint("p: ", status)}, b.play(hsPolling+" conn=p"))
		require.Equal(t, []string{fmt.Sprint("p: ", status)}, b.play(hsPolling+" conn=p"))
		b.finish()
	}
}

// What middlewares have added stays while the application takes its time, for
// whatever it decides.
func TestMiddlewareBeforeVerdict(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, c := range []struct {
			decide      func(v *Verdict)
			poll, frame string
		}{
			{(*Verdict).Accept, "200", "101"},
			{func(v *Verdict) { v.Refuse(Refuse("no")) }, "403", "400"},
			{nil, "503", "503"},
		} {
			p := newParking(t, loops, Options{Middleware: []wrapper{adds("X-One", "1")}, Access: Access{CORS: &CORS{AnyOrigin: true}}})
			const show = " header=Origin:http://a show=x-one,access-control-allow-origin"
			require.Empty(t, p.play(hsPolling+" conn=p"+show, hsWebSocket+show))
			for _, v := range p.verdicts {
				if c.decide != nil {
					c.decide(v)
				}
			}
			if c.decide == nil {
				p.world.Advance(10 * time.Second)
			}
			got := p.collect()
			require.NotEmpty(t, got)
			require.True(t, strings.HasPrefix(got[0], "p: "+c.poll+" [x-one: 1] [access-control-allow-origin: http://a]"), "%q", got)
			require.True(t, strings.HasPrefix(got[1], "w: "+c.frame+" [x-one: 1] [access-control-allow-origin: http://a]"), "%q", got)
			p.finish()
		}
	})
}

// A middleware's own answer is not marked as one of ours.
func TestMiddlewareCaching(t *testing.T) {
	b := newBench(t, 1, Options{Middleware: []func(http.Handler) http.Handler{func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = w.Write([]byte("mine"))
		})
	}}})
	p := b.world.Dial()
	p.Write([]byte("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"))
	b.world.Run()
	answer := string(p.Read())
	require.Contains(t, answer, "\r\nCache-Control: max-age=60\r\n")
	require.NotContains(t, answer, "no-store")
	p.CloseWrite()
	b.finish()
}
