// Package mounts tries the server as a route of other people's routers. It is a
// module of its own, so that nobody downloads them who embeds the engine.
package mounts

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"turbine/engine"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"
	"github.com/stretchr/testify/require"
)

// Each router has its usual middlewares, which wrap the ResponseWriter, a header
// field by one of its own, and a page beside the server.
var routers = map[string]func(*engine.Server) http.Handler{
	"gin": func(s *engine.Server) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		r := gin.New()
		r.Use(gin.LoggerWithWriter(io.Discard), gin.Recovery(), func(c *gin.Context) { c.Header("X-Seen", "gin") })
		r.Any("/engine.io/*rest", gin.WrapH(s))
		r.GET("/page", func(c *gin.Context) { c.String(http.StatusOK, "a page") })
		return r
	},
	"chi": func(s *engine.Server) http.Handler {
		r := chi.NewRouter()
		r.Use(chimiddleware.RequestID, chimiddleware.Logger, chimiddleware.Recoverer, chimiddleware.Compress(5), func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Seen", "chi")
				next.ServeHTTP(w, r)
			})
		})
		r.Handle("/engine.io/*", s)
		r.Get("/page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") })
		return r
	},
	"echo": func(s *engine.Server) http.Handler {
		e := echo.New()
		e.Use(echomiddleware.Recover(), echomiddleware.Gzip(), func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				c.Response().Header().Set("X-Seen", "echo")
				return next(c)
			}
		})
		e.Any("/engine.io/*", echo.WrapHandler(s))
		e.GET("/page", func(c echo.Context) error { return c.String(http.StatusOK, "a page") })
		return e
	},
}

const patience = 30 * time.Second

func TestRouters(t *testing.T) {
	for name, route := range routers {
		for _, start := range []struct {
			name string
			f    func(*httptest.Server)
		}{
			{"plain", (*httptest.Server).Start},
			{"TLS", (*httptest.Server).StartTLS},
			{"HTTP/2", func(h *httptest.Server) {
				h.EnableHTTP2 = true
				h.StartTLS()
			}},
		} {
			t.Run(name+" "+start.name, func(t *testing.T) {
				server, err := engine.New(engine.Options{Loops: 2}, engine.Events{
					Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
				})
				require.NoError(t, err)
				h := httptest.NewUnstartedServer(route(server))
				start.f(h)
				defer h.Close()
				defer func() {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					require.NoError(t, server.Shutdown(ctx))
					h.Client().CloseIdleConnections()
				}()
				poll(t, h, name)
				if start.name != "HTTP/2" {
					webSocket(t, h)
				}
			})
		}
	}
}

// poll opens a session, has messages echoed and closes it, with pages between.
func poll(t *testing.T, h *httptest.Server, name string) {
	ask := func(method, target, body string) (*http.Response, string) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, method, h.URL+target, strings.NewReader(body))
		require.NoError(t, err)
		response, err := h.Client().Do(request)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response, string(text)
	}
	response, open := ask("GET", "/engine.io/?EIO=4&transport=polling", "")
	require.Equal(t, 200, response.StatusCode, open)
	require.Equal(t, name, response.Header.Get("X-Seen"))
	_, rest, _ := strings.Cut(open, `"sid":"`)
	sid, _, _ := strings.Cut(rest, `"`)
	target := "/engine.io/?EIO=4&transport=polling&sid=" + sid
	for n := 1; n < 20_000; n *= 3 { // compressed from some size on, where compression is on
		text := "4" + strings.Repeat("hello", n)
		_, ok := ask("POST", target, text)
		require.Equal(t, "ok", ok)
		_, page := ask("GET", "/page", "")
		require.Equal(t, "a page", page)
		_, message := ask("GET", target, "")
		require.Equal(t, text, message)
	}
	_, ok := ask("POST", target, "1")
	require.Equal(t, "ok", ok)
}

func webSocket(t *testing.T, h *httptest.Server) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dialer := ws.Dialer{}
	if h.TLS != nil {
		dialer.TLSConfig = h.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		dialer.TLSConfig.ServerName, dialer.TLSConfig.NextProtos = "example.com", nil
	}
	url := strings.Replace(h.URL, "http", "ws", 1) + "/engine.io/?EIO=4&transport=websocket"
	conn, early, _, err := dialer.Dial(ctx, url)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	from := io.ReadWriter(conn)
	if early != nil {
		from = struct {
			io.Reader
			io.Writer
		}{io.MultiReader(early, conn), conn}
	}
	read := func() string {
		text, err := wsutil.ReadServerText(from)
		require.NoError(t, err)
		return string(text)
	}
	require.True(t, strings.HasPrefix(read(), "0{"))
	for _, text := range []string{"4hello", "4" + strings.Repeat("x", 100_000)} {
		require.NoError(t, wsutil.WriteClientText(conn, []byte(text)))
		require.Equal(t, text, read())
	}
}
