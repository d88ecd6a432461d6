package program

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// turbine health asks an address that it can speak to, plain HTTP first.
func TestHealthDoor(t *testing.T) {
	with := func(args ...string) []string { return append([]string{"--health-path=/healthz"}, args...) }
	withTLS := func(args ...string) []string {
		return append([]string{"--health-path=/healthz", "--tls-cert=cert.pem", "--tls-key=key.pem"}, args...)
	}
	for _, c := range []struct {
		name string
		args []string
		want door
		says string
	}{
		{name: "the default", args: with(), want: door{"tcp", ":3000", false}},
		{name: "the first address", args: with("--addr=127.0.0.1:80,:81"), want: door{"tcp", "127.0.0.1:80", false}},
		{name: "a Unix socket", args: with("--addr=unix:/run/t.sock"), want: door{"unix", "/run/t.sock", false}},
		{name: "TLS", args: withTLS(), want: door{"tcp", ":3000", true}},
		{name: "a Unix socket beside TLS", args: withTLS("--addr=:443,unix:/run/t.sock"), want: door{"unix", "/run/t.sock", false}},
		{name: "plain HTTP beside TLS", args: withTLS("--tls-addr=:443"), want: door{"tcp", ":3000", false}},
		{name: "an address that is both", args: withTLS("--tls-addr=:3000"), want: door{"tcp", ":3000", true}},
		{name: "not where a PROXY header is wanted", args: with("--addr=:80,:81", "--proxy-protocol=:80"), want: door{"tcp", ":81", false}},
		{name: "TLS where plain HTTP wants a PROXY header", args: withTLS("--tls-addr=:443", "--proxy-protocol=:3000"), want: door{"tcp", ":443", true}},
		{name: "a certificate that may be left out", args: withTLS("--tls-client-ca=ca.pem", "--tls-client-auth=optional"), want: door{"tcp", ":3000", true}},
		{name: "no path", says: "--health-path"},
		{name: "no address", args: with("--addr=3000"), says: `--addr: "3000" is no address`},
		{name: "PROXY headers everywhere", args: with("--proxy-protocol=all"), says: "one more in --addr"},
		{name: "a certificate wanted", args: withTLS("--tls-client-ca=ca.pem"), says: "one more in --addr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parsed(t, c.args...)
			d, err := f.healthDoor()
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, d)
		})
	}
}

// The exit code is what a supervisor goes by, and the text what an operator reads.
func TestHealth(t *testing.T) {
	var answer atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/healthz" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(int(answer.Load()))
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	local := httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	local.Start()
	defer local.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())

	for _, c := range []struct {
		name   string
		args   []string
		answer int32
		code   int
		says   string
	}{
		{"plain HTTP", []string{"--addr=" + plain.Listener.Addr().String()}, 200, 0, "ok"},
		{"TLS", []string{"--addr=" + secure.Listener.Addr().String(), "--tls-cert=c", "--tls-key=k"}, 200, 0, "ok"},
		{"a Unix socket", []string{"--addr=unix:" + socket}, 200, 0, "ok"},
		{"a server that drains", []string{"--addr=unix:" + socket}, 503, 1, "drains"},
		{"another server", []string{"--addr=unix:" + socket}, 501, 1, "501 Not Implemented; does the server have --health-path /healthz?"},
		{"nobody", []string{"--addr=" + gone.Addr().String()}, 200, 1, "does not answer"},
		{"TLS that is none", []string{"--addr=" + plain.Listener.Addr().String(), "--tls-cert=c", "--tls-key=k"}, 200, 1, "does not answer"},
		{"an address that is none", []string{"--addr=here"}, 200, 2, "is no address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer.Store(c.answer)
			f := parsed(t, append(c.args, "--health-path=/healthz")...)
			var stdout, stderr bytes.Buffer
			require.Equal(t, c.code, f.health(&stdout, &stderr), stderr.String())
			require.Equal(t, c.code == 0, stderr.Len() == 0)
			require.Contains(t, stdout.String()+stderr.String(), c.says)
		})
	}
}
