package engine_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A halfCloser is a connection that ends one of its directions: over TLS, by
// close_notify.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// A client that ends its direction right behind a request gets the response that
// is ready, on whatever loop its session lives, and the connection's end.
func TestHalfClosedClientsAreAnswered(t *testing.T) {
	alone := func(loops int) func(t *testing.T) func() halfCloser {
		return func(t *testing.T) func() halfCloser {
			s := run(t, engine.Options{Loops: loops}, echoEvents)
			return func() halfCloser { return dialHalf(t, s.address) }
		}
	}
	for name, start := range map[string]func(t *testing.T) func() halfCloser{
		"1 loop":  alone(1),
		"2 loops": alone(2),
		"3 loops": alone(3),
		"TLS": func(t *testing.T) func() halfCloser {
			s := secure(t, engine.Options{}, engine.Events{})
			return func() halfCloser { return tls.Client(dialHalf(t, s.address), s.config()) }
		},
		"mounted": func(t *testing.T) func() halfCloser {
			m := mount(t, engine.Options{}, echoEvents, itself, plain)
			return func() halfCloser { return dialHalf(t, m.address()) }
		},
		"mounted, TLS": func(t *testing.T) func() halfCloser {
			m := mount(t, engine.Options{}, echoEvents, itself, (*httptest.Server).StartTLS)
			return func() halfCloser { return m.tlsConn(t).(*tls.Conn) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			dial := start(t)
			for _, before := range []int{0, 1, 2} { // requests on the kept connection
				for range 20 {
					halfClosedSession(t, dial, before)
				}
			}
		})
	}
}

func dialHalf(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, memoryPatience)
	require.NoError(t, err)
	return conn.(*net.TCPConn)
}

// halfClosedSession has one session whose requests all end their connection's
// direction, which has served so many handshakes before.
func halfClosedSession(t *testing.T, dial func() halfCloser, before int) {
	t.Helper()
	ask := func(method, query, body string) string {
		conn := dial()
		defer func() { _ = conn.Close() }()
		require.NoError(t, conn.SetDeadline(time.Now().Add(memoryPatience)))
		in := bufio.NewReader(conn)
		exchange := func(method, query, body string, last bool) string {
			_, err := fmt.Fprintf(conn, "%s /engine.io/?EIO=4&transport=polling%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, query, len(body), body)
			require.NoError(t, err)
			if last {
				require.NoError(t, conn.CloseWrite())
			}
			response, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			return fmt.Sprint(response.StatusCode, " ", string(text))
		}
		for range before {
			_, rest, _ := strings.Cut(exchange("GET", "", "", false), `"sid":"`)
			sid, _, _ := strings.Cut(rest, `"`)
			require.Equal(t, "200 ok", exchange("POST", "&sid="+sid, "1", false))
		}
		got := exchange(method, query, body, true)
		_, err := in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		return got
	}
	opened := ask("GET", "", "")
	require.Contains(t, opened, `200 0{"sid":"`)
	_, rest, _ := strings.Cut(opened, `"sid":"`)
	sid, _, _ := strings.Cut(rest, `"`)
	require.Equal(t, "200 ok", ask("POST", "&sid="+sid, "4hello"))
	require.Equal(t, "200 4hello", ask("GET", "&sid="+sid, ""))
	require.Equal(t, "200 ok", ask("POST", "&sid="+sid, "1"))
}
