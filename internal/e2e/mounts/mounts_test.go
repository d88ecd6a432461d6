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
	"turbine/engine/enginetest"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
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

// webSocket has messages echoed by a session on WebSocket, and by one that comes from
// polling.
func webSocket(t *testing.T, h *httptest.Server) {
	for _, transport := range []engine.Transport{engine.WebSocket, engine.Polling} {
		o := enginetest.Options{Transport: transport}
		if h.TLS != nil {
			o.TLS = h.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			o.TLS.ServerName, o.TLS.NextProtos = "example.com", nil
		}
		c := enginetest.Dial(t, h.URL, o)
		if transport == engine.Polling {
			c.Upgrade()
		}
		for _, text := range []string{"hello", strings.Repeat("x", 100_000)} {
			c.Send(engine.Message{Data: []byte(text)})
			require.Equal(t, text, c.NextText())
		}
	}
}
