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

// Cookie, T046 to T054.
func TestSpecCookie(t *testing.T) {
	for _, c := range []struct {
		number string
		cookie *Cookie
		want   string
	}{
		{"T046", &Cookie{}, "io=A; Path=/; HttpOnly; SameSite=Lax"},
		{"T047", &Cookie{Name: "woot"}, "woot=A; Path=/; HttpOnly; SameSite=Lax"},
		{"T048", &Cookie{Path: "/custom"}, "io=A; Path=/custom; HttpOnly; SameSite=Lax"},
		{"T049", &Cookie{NoPath: true}, "io=A; HttpOnly; SameSite=Lax"},
		{"T050", &Cookie{NoHTTPOnly: false}, "io=A; Path=/; HttpOnly; SameSite=Lax"},
		{"T051", &Cookie{SameSite: SameSiteStrict}, "io=A; Path=/; HttpOnly; SameSite=Strict"},
		{"T052", &Cookie{NoHTTPOnly: true}, "io=A; Path=/; SameSite=Lax"},
		{"T054", nil, ""},
	} {
		t.Run(c.number, func(t *testing.T) {
			b := newSpec(t, 1, Options{Cookie: c.cookie}, nil)
			want := "200 [Set-Cookie: " + c.want + "] 0{"
			if c.want == "" {
				want = "200 [no Set-Cookie] 0{"
			}
			got := b.play(hsPolling + " show=Set-Cookie")
			require.Len(t, got, 1)
			require.True(t, strings.HasPrefix(got[0], want), "%s", got[0])
			b.finish()
		})
	}
}

// T055: the cookie comes with the handshake, not with polls and posts, nor with
// a WebSocket.
func TestSpecCookieOnce(t *testing.T) {
	b := newSpec(t, 1, Options{Cookie: &Cookie{}}, nil)
	b.echo = true
	b.play(hsPolling)
	require.Equal(t, []string{"200 [no Set-Cookie] ok", "200 [no Set-Cookie] 4hi"},
		b.play("post sid=A 4hi show=Set-Cookie", "get sid=A show=Set-Cookie"))
	require.Equal(t, "w: 101 [no Set-Cookie]", b.play(hsWebSocket + " show=Set-Cookie")[0])
	require.Equal(t, "x: 101 [no Set-Cookie]", b.play("ws sid=A conn=x show=Set-Cookie")[0])
	b.finish()
}

// T229: InitialHeaders adds to the handshake's response, behind the engine's
// cookie, and to no other. T230: Headers adds to each.
func TestSpecHeadersPolling(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		for _, initial := range []bool{true, false} {
			b := newSpec(t, loops, Options{Cookie: &Cookie{}}, func(_ *bench, e *Events) {
				add := func(_ *Request, h http.Header) {
					h.Set("Test", "123")
					h.Add("Set-Cookie", "mycookie=456")
				}
				if initial {
					e.InitialHeaders = add
				} else {
					e.Headers = add
				}
			})
			got := b.play(hsPolling + " show=test,set-cookie")
			require.Len(t, got, 1)
			require.True(t, strings.HasPrefix(got[0],
				"200 [test: 123] [set-cookie: io=A; Path=/; HttpOnly; SameSite=Lax] [set-cookie: mycookie=456] 0{"), "%s", got[0])
			want := "200 [test: 123] [set-cookie: mycookie=456] ok"
			if initial {
				want = "200 [no test] [no set-cookie] ok"
			}
			require.Equal(t, []string{want}, b.play("post sid=A 4 show=test,set-cookie"))
			b.finish()
		}
	})
}

// T231: InitialHeaders adds to the 101. T232: once a session, whatever it does.
// T233: Headers runs for each response.
func TestSpecHeadersWebSocket(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		initial, all := 0, 0
		b := newSpec(t, loops, Options{}, func(_ *bench, e *Events) {
			e.InitialHeaders = func(_ *Request, h http.Header) {
				initial++
				h.Set("Test", "123")
				h.Add("Set-Cookie", "mycookie=456")
			}
			e.Headers = func(*Request, http.Header) { all++ }
		})
		require.Equal(t, "w: 101 [Test: 123] [Set-Cookie: mycookie=456]", b.play(hsWebSocket + " show=Test,Set-Cookie")[0])
		require.Equal(t, 1, initial)
		require.Equal(t, 1, all)

		initial, all = 0, 0
		b.play(hsPolling, "get sid=B conn=p", "post sid=B 4hi")
		require.Equal(t, "x: 101 [no Test]", b.play("ws sid=B conn=x show=Test")[0])
		b.play("frame x text 2probe", "frame x text 5")
		require.Equal(t, 1, initial, "InitialHeaders of one session")
		require.Equal(t, 4, all, "handshake, poll, post, upgrade")
		b.finish()
	})
}

// T234: the answer to a preflight. T235: what other responses get of it. T236:
// another origin, which is refused here. T237: everything set.
func TestSpecCORS(t *testing.T) {
	const origin = "Origin: https://example.com"
	common := CORS{AnyOrigin: true, Headers: []string{"my-header"}, Credentials: true}
	full := CORS{
		Origins: []string{"https://example.com"}, Methods: []string{"GET", "POST"}, Headers: []string{"a", "b"},
		ExposedHeaders: []string{"c", "d"}, Credentials: true, MaxAge: 123 * time.Second, PreflightStatus: 200,
	}
	for _, c := range []struct {
		number, method string
		cors           CORS
		status         int
		want           string // Origin, Credentials, Methods, Headers, Expose, Max-Age
	}{
		{"T234", "OPTIONS", common, 204, "https://example.com|true|GET,HEAD,PUT,PATCH,POST,DELETE|my-header||"},
		{"T235", "GET", common, 200, "https://example.com|true||||"},
		{"T236", "OPTIONS", CORS{Origins: []string{"https://good-domain.com"}}, 204, "||GET,HEAD,PUT,PATCH,POST,DELETE|||"},
		{"T236", "GET", CORS{Origins: []string{"https://good-domain.com"}}, 403, "|||||"},
		{"T237", "OPTIONS", full, 200, "https://example.com|true|GET,POST|a,b|c,d|123"},
		{"T237", "GET", full, 200, "https://example.com|true|||c,d|"},
	} {
		t.Run(c.number+" "+c.method, func(t *testing.T) {
			b := newSpec(t, 1, Options{Access: Access{CORS: &c.cors}}, nil)
			r := b.fetch(c.method, "EIO=4&transport=polling", origin)
			require.Equal(t, c.status, r.StatusCode)
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			require.Equal(t, c.method == "OPTIONS", len(body) == 0)
			var got []string
			for _, name := range []string{"Allow-Origin", "Allow-Credentials", "Allow-Methods", "Allow-Headers", "Expose-Headers", "Max-Age"} {
				got = append(got, r.Header.Get("Access-Control-"+name))
			}
			require.Equal(t, c.want, strings.Join(got, "|"))
			b.finish()
		})
	}
}

// T032: a refusal also has the headers of CORS. T238: an echo works with CORS.
func TestSpecCORSElsewhere(t *testing.T) {
	b := newSpec(t, -3, Options{Access: Access{CORS: &CORS{Origins: []string{"http://engine.io"}, Credentials: true}}}, nil)
	b.echo = true
	const show = ` "header=Origin: http://engine.io" show=Access-Control-Allow-Credentials,Access-Control-Allow-Origin`
	const fields = "[Access-Control-Allow-Credentials: true] [Access-Control-Allow-Origin: http://engine.io]"
	require.Equal(t, []string{"400 " + fields + ` {"code":3,"message":"Bad request"}`}, b.play("get EIO=4&transport=websocket"+show))
	b.play(hsPolling)
	require.Equal(t, []string{"200 " + fields + " ok", "200 " + fields + " 4hi"}, b.play("post sid=A 4hi"+show, "get sid=A"+show))
	require.Equal(t, []string{"400 " + fields + ` {"code":1,"message":"Session ID unknown"}`}, b.play("get EIO=4&transport=polling&sid=test"+show))
	b.finish()
}

// adds is a middleware that adds a header field; T248 and T250 have it added as
// late as the header is written.
func adds(name, value string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add(name, value)
			next.ServeHTTP(w, r)
		})
	}
}

type lateWriter struct {
	http.ResponseWriter
	late func(h http.Header)
}

func (w lateWriter) WriteHeader(status int) {
	w.late(w.Header())
	w.ResponseWriter.WriteHeader(status)
}

// T242: what a middleware adds appears on responses to polls and posts, T243:
// and on the 101. T247, T248: fields like helmet's, T249, T250: a cookie like
// express-session's, which is added when the header is written.
func TestSpecMiddleware(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		cookie := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(lateWriter{w, func(h http.Header) { h.Add("Set-Cookie", "connect.sid=1; Path=/; HttpOnly") }}, r)
			})
		}
		b := newSpec(t, loops, Options{Middleware: []func(http.Handler) http.Handler{
			adds("Foo", "bar"), adds("X-Frame-Options", "SAMEORIGIN"), adds("X-Xss-Protection", "0"), cookie,
		}}, nil)
		const show = " show=foo,x-frame-options,set-cookie"
		const fields = "[foo: bar] [x-frame-options: SAMEORIGIN] [set-cookie: connect.sid=1; Path=/; HttpOnly]"
		require.True(t, strings.HasPrefix(b.play(hsPolling + show)[0], "200 "+fields+" 0{"))
		require.Equal(t, []string{"200 " + fields + " ok"}, b.play("post sid=A 4hi"+show))
		require.Equal(t, "w: 101 "+fields, b.play(hsWebSocket + show)[0])
		require.Equal(t, "x: 101 "+fields, b.play("ws sid=A conn=x" + show)[0])
		b.finish()
	})
}

// T244: middlewares run in their order, once for each request, wherever it ends
// up.
func TestSpecMiddlewareOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		var order []string
		note := func(name string) func(http.Handler) http.Handler {
			return func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					order = append(order, name)
					next.ServeHTTP(w, r)
				})
			}
		}
		b := newSpec(t, loops, Options{Middleware: []func(http.Handler) http.Handler{note("1"), note("2"), note("3")}}, nil)
		for _, command := range []string{hsPolling, hsWebSocket, "post sid=A 4x", "ws sid=A conn=x"} {
			order = nil
			b.play(command)
			require.Equal(t, []string{"1", "2", "3"}, order, command) // also when the connection moves to another loop
		}
		b.finish()
	})
}

// T245, T246: a middleware that answers by itself has the last word.
func TestSpecMiddlewareAnswers(t *testing.T) {
	b := newSpec(t, 1, Options{Middleware: []func(http.Handler) http.Handler{
		func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
		},
	}}, func(_ *bench, e *Events) {
		e.ConnectionError = func(_ *Request, err *HandshakeError) { t.Errorf("%v", err) }
	})
	require.Equal(t, []string{"503"}, b.play(hsPolling))
	require.Equal(t, []string{"w: 503", "w: closed"}, b.play(hsWebSocket))
	require.Empty(t, b.events(), "no session")
	b.finish()
}

// T251: a middleware that fails refuses the request, on both transports. A
// standard middleware has no other way to fail than to panic.
func TestSpecMiddlewareFails(t *testing.T) {
	var heard []string
	b := newSpec(t, 1, Options{Logger: slog.New(slog.DiscardHandler), Middleware: []func(http.Handler) http.Handler{
		func(http.Handler) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the middleware's fault") })
		},
	}}, func(_ *bench, e *Events) {
		e.ConnectionError = func(_ *Request, err *HandshakeError) { heard = append(heard, fmt.Sprint(err.Code, " ", err.Name)) }
	})
	require.Equal(t, []string{`400 {"code":3,"message":"Bad request"}`}, b.play(hsPolling))
	require.Equal(t, []string{"w: 400 Bad request", "w: closed"}, b.play(hsWebSocket))
	require.Equal(t, []string{"3 MIDDLEWARE_FAILURE", "3 MIDDLEWARE_FAILURE"}, heard)
	b.finish()
}

// T252: the limit of bodies holds behind a middleware.
func TestSpecMiddlewareLimit(t *testing.T) {
	b := newSpec(t, -3, Options{MaxPayload: 5, Middleware: []func(http.Handler) http.Handler{adds("Foo", "bar")}}, nil)
	b.play(hsPolling)
	require.Equal(t, []string{"413", "closed", "200 ok"}, b.play("post sid=A 4aaaaa", "post sid=A 4aaaa"))
	require.Equal(t, `open A; message A "aaaa"`, b.events())
	b.finish()
}
