package engine_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A client that no address is known of, because a middleware has taken it from
// what the client said, is no proxy on a Unix socket: the address that it claims
// for its client is not believed. Proxies on one are believed.
func TestMountedUnknownIsNoUnixSocket(t *testing.T) {
	unknown := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = "unknown"
			next.ServeHTTP(w, r)
		})
	}
	for _, c := range []struct {
		name, network, want string
		around              []middleware
		start               func(*httptest.Server)
	}{
		{"TLS", "tcp", "0.0.0.0:0", []middleware{unknown}, func(h *httptest.Server) { h.StartTLS() }},
		{"hidden", "tcp", "0.0.0.0:0", []middleware{hiding, unknown}, plain},
		{"wrapped", "tcp", "127.0.0.1:", []middleware{wrapping}, plain},
		{"Unix socket", "unix", "198.51.100.1:0", nil, plain},
		{"Unix socket, hidden", "unix", "198.51.100.1:0", []middleware{hiding, unknown}, plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := make(chan string, 1)
			events := engine.Events{Open: func(s *engine.Session, r *engine.Request) {
				seen <- r.RemoteAddr().String()
				s.CloseNow()
			}}
			path := filepath.Join(t.TempDir(), "socket")
			m := mount(t, engine.Options{Proxies: engine.Proxies{TrustUnixSockets: true}}, events, under("", c.around...), func(h *httptest.Server) {
				if c.network == "unix" {
					require.NoError(t, h.Listener.Close())
					l, err := net.Listen("unix", path)
					require.NoError(t, err)
					h.Listener = l
				}
				c.start(h)
			})
			client, url := m.http.Client(), m.http.URL
			if c.network == "unix" {
				client = &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
				url = "http://x"
				t.Cleanup(client.CloseIdleConnections)
			}
			request, err := http.NewRequestWithContext(t.Context(), "GET", url+"/engine.io/?EIO=4&transport=polling", nil)
			require.NoError(t, err)
			request.Header.Set("X-Forwarded-For", "198.51.100.1")
			response, err := client.Do(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, 200, response.StatusCode)
			require.True(t, strings.HasPrefix(<-seen, c.want), c.want)
		})
	}
}

// Nor is one whose connection is a loop's by a pair of sockets, which are Unix
// sockets themselves.
func TestMountedUnknownOnRelayIsNoUnixSocket(t *testing.T) {
	late := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Forwarded-For") == "" {
				next.ServeHTTP(w, r)
				return
			}
			r.RemoteAddr = "unknown"
			hiding(next).ServeHTTP(w, r)
		})
	}
	seen := make(chan string, 2)
	events := engine.Events{Open: func(s *engine.Session, r *engine.Request) {
		seen <- r.RemoteAddr().String()
		s.CloseNow()
	}}
	m := mount(t, engine.Options{Proxies: engine.Proxies{TrustUnixSockets: true}}, events, under("", late), func(h *httptest.Server) {
		h.Listener = wrappedListener{h.Listener}
		h.Start()
	})
	for _, claim := range []string{"", "198.51.100.1"} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", m.http.URL+"/engine.io/?EIO=4&transport=polling", nil)
		require.NoError(t, err)
		if claim != "" {
			request.Header.Set("X-Forwarded-For", claim)
		}
		response, err := m.http.Client().Do(request)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, 200, response.StatusCode)
	}
	require.Contains(t, <-seen, "127.0.0.1:")
	require.Equal(t, "0.0.0.0:0", <-seen)
}
