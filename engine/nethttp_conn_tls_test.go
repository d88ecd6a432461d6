package engine_test

import (
	"bufio"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// The loops' TLS is also known to a session that comes through a handler of Fallback
// whose ResponseWriter cannot be hijacked, or is wrapped.
func TestFallbackOverTLSIsSecure(t *testing.T) {
	for name, wrap := range map[string]middleware{"hiding": hiding, "wrapping": wrapping, "plain": func(h http.Handler) http.Handler { return h }} {
		t.Run(name, func(t *testing.T) {
			var server atomic.Pointer[engine.Server]
			inside := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.StripPrefix("/app", wrap(server.Load())).ServeHTTP(w, r)
			})
			known := make(chan bool, 4)
			s := secure(t, engine.Options{Fallback: inside, Cookie: &engine.Cookie{}, Timeouts: engine.Timeouts{Close: 2 * time.Second}}, engine.Events{
				Admit: func(a *engine.Admission) error { known <- a.TLS() != nil; return nil },
			})
			server.Store(s.Server)
			conn, err := s.dial(nil)
			require.NoError(t, err)
			c := &line{Conn: conn, t: t, r: bufio.NewReader(conn)}
			c.say("GET /app/engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n")
			response, _ := c.hear("GET")
			require.Equal(t, 200, response.StatusCode)
			require.True(t, <-known)
			require.Contains(t, response.Header.Get("Set-Cookie"), "; Secure")
			c.say("GET /app/engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n")
			response, _ = c.hear("GET")
			require.Equal(t, 403, response.StatusCode)
			require.NoError(t, conn.Close())
		})
	}
}
