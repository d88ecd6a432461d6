package engine_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// What a middleware leaves of a body is no frame and no request, in TLS neither.
func TestMountedTLSUpgradeWithHiddenBody(t *testing.T) {
	hide := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > 0 {
				r.Body = io.NopCloser(io.LimitReader(r.Body, 1)) // it wants the first byte only
			}
			next.ServeHTTP(w, r)
		})
	}
	m := mount(t, engine.Options{Transports: []engine.Transport{engine.Polling}}, echoEvents, under("", hide), func(h *httptest.Server) { h.StartTLS() })
	client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + "/engine.io/"}
	client.open()
	smuggled := "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
	conn := m.tlsConn(t)
	body := "6" + smuggled
	_, err := fmt.Fprintf(conn, "POST /engine.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: %d\r\n\r\n%s", client.sid, len(body), body)
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	second, err := http.ReadResponse(r, nil)
	if err == nil {
		text, _ := io.ReadAll(second.Body)
		require.Fail(t, "the rest of the body was taken for a request", "%d %s", second.StatusCode, text)
	}
	_ = conn.Close()
	for s := range m.Sessions() {
		s.CloseNow()
	}
}

func (m *mounted) tlsConn(t *testing.T) net.Conn {
	conn, err := dial(m.address())
	require.NoError(t, err)
	return tls.Client(conn, &tls.Config{RootCAs: m.http.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com", NextProtos: []string{"http/1.1"}})
}
