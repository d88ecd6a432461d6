package engine_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// TLS that net/http speaks is the session's, too: admission sees it, cookies are
// for it, and a page that came without it is another origin's.
func TestMountedTLS(t *testing.T) {
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2: ", two), func(t *testing.T) {
			versions := make(chan uint16, 10)
			events := echoEvents
			events.Admit = func(a *engine.Admission) error {
				var version uint16
				if state := a.TLS(); state != nil {
					version = state.Version
				}
				versions <- version
				return nil
			}
			m := mount(t, engine.Options{Cookie: &engine.Cookie{}}, events, itself, func(h *httptest.Server) {
				h.EnableHTTP2 = two
				h.StartTLS()
			})
			client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + "/engine.io/"}
			response := client.open()
			require.Equal(t, uint16(tls.VersionTLS13), <-versions)
			require.Contains(t, response.Header.Get("Set-Cookie"), "; Secure")
			client.converse(3)
			client.leave()

			for origin, status := range map[string]int{"https": 200, "http": 403} {
				request, err := http.NewRequest("GET", client.url+"?EIO=4&transport=polling", nil)
				require.NoError(t, err)
				request.Header.Set("Origin", origin+"://"+m.address())
				response, err := m.http.Client().Do(request)
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				require.Equal(t, status, response.StatusCode, origin)
			}
			require.Equal(t, uint16(tls.VersionTLS13), <-versions)

			conn, r, status := m.webSocket("/engine.io/?EIO=4&transport=websocket", "")
			require.Equal(t, 101, status)
			require.NoError(t, expectText(r, "0{"))
			require.Equal(t, uint16(tls.VersionTLS13), <-versions)
			require.Equal(t, int64(1), engine.Carried(m.Server))
			require.NoError(t, conn.Close())
			for s := range m.Sessions() {
				s.CloseNow()
			}
			eventually(t, "nothing is known of connections that are gone", func() error { return same(0, int(engine.Carried(m.Server))) })
		})
	}
}

// Handlers under Fallback are served over the loops' TLS as over plain TCP, and
// see it.
func TestFallbackOverTLS(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/tls", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.TLS != nil && r.TLS.Version == tls.VersionTLS13)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	})
	s := secure(t, engine.Options{Fallback: mux, Timeouts: engine.Timeouts{Close: 2 * time.Second}}, engine.Events{})
	conn, err := s.dial(nil)
	require.NoError(t, err)
	c := &line{Conn: conn, t: t, r: bufio.NewReader(conn)}
	require.Equal(t, "200 true", c.get("/tls"))
	require.Equal(t, "200 0{", c.get("/engine.io/?EIO=4&transport=polling")[:6])
	large := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	sent := make(chan error, 1)
	go func() {
		_, err := fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(large), large)
		sent <- err
	}()
	_, body := c.hear("POST")
	require.NoError(t, <-sent)
	require.Equal(t, string(large), body)
	require.Equal(t, "200 true", c.get("/tls"))
	c.say("GET /hijack HTTP/1.1\r\nHost: x\r\n\r\nearly")
	_, err = http.ReadResponse(c.r, nil)
	require.NoError(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(c.r, got)
	require.NoError(t, err)
	require.Equal(t, "early", string(got))
	require.NoError(t, conn.CloseWrite())
	require.Empty(t, c.ended())
}
