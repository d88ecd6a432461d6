package mounts

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"turbine/engine"

	"github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
)

// record is the log of an http.Server.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Split(strings.TrimSuffix(r.text.String(), "\n"), "\n")
}

// gin's compression writes the end of its stream on connections that were taken,
// of which net/http complains. It writes nothing where it is told to leave the path
// alone. The clients notice neither.
func TestGinCompression(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []gzip.Option
		want    string // in each line of the log
	}{
		{"of everything", nil, "http: response.Write on hijacked connection"},
		{"of all but the path", []gzip.Option{gzip.WithExcludedPaths([]string{"/engine.io/"})}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, err := engine.New(engine.Options{Loops: 2}, engine.Events{
				Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
			})
			require.NoError(t, err)
			gin.SetMode(gin.ReleaseMode)
			r := gin.New()
			r.Use(gin.LoggerWithWriter(io.Discard), gin.Recovery(), gzip.Gzip(gzip.DefaultCompression, c.options...),
				func(c *gin.Context) { c.Header("X-Seen", "gin") })
			r.Any("/engine.io/*rest", gin.WrapH(server))
			r.GET("/page", func(c *gin.Context) { c.String(http.StatusOK, "a page") })
			h := httptest.NewUnstartedServer(r)
			told := new(record)
			h.Config.ErrorLog = log.New(told, "", 0)
			h.Start()
			poll(t, h, "gin")
			webSocket(t, h)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			require.NoError(t, server.Shutdown(ctx))
			h.Client().CloseIdleConnections()
			h.Close()
			if c.want == "" {
				require.Equal(t, []string{""}, told.lines())
				return
			}
			for _, line := range told.lines() {
				require.Contains(t, line, c.want)
			}
		})
	}
}
