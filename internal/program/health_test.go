package program

import (
	"bytes"
	"fmt"
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
		want string
		says string
	}{
		{name: "the default", args: with(), want: "tcp :3000 false localhost/healthz"},
		{name: "the first address", args: with("--addr=127.0.0.1:80,:81"), want: "tcp 127.0.0.1:80 false localhost/healthz"},
		{name: "a Unix socket", args: with("--addr=unix:/run/t.sock"), want: "unix /run/t.sock false localhost/healthz"},
		{name: "TLS", args: withTLS(), want: "tcp :3000 true localhost/healthz"},
		{name: "a Unix socket beside TLS", args: withTLS("--addr=:443,unix:/run/t.sock"), want: "unix /run/t.sock false localhost/healthz"},
		{name: "plain HTTP beside TLS", args: withTLS("--tls-addr=:443"), want: "tcp :3000 false localhost/healthz"},
		{name: "an address that is both", args: withTLS("--tls-addr=:3000"), want: "tcp :3000 true localhost/healthz"},
		{name: "not where a PROXY header is wanted", args: with("--addr=:80,:81", "--proxy-protocol=:80"), want: "tcp :81 false localhost/healthz"},
		{name: "TLS where plain HTTP wants a PROXY header", args: withTLS("--tls-addr=:443", "--proxy-protocol=:3000"), want: "tcp :443 true localhost/healthz"},
		{name: "a certificate that may be left out", args: withTLS("--tls-client-ca=ca.pem", "--tls-client-auth=optional"), want: "tcp :3000 true localhost/healthz"},
		{name: "no path", want: "tcp 127.0.0.1:3001 false localhost:3001/healthz"},
		{name: "no path, operations elsewhere", args: []string{"--ops-addr=[::1]:81"}, want: "tcp [::1]:81 false localhost:81/healthz"},
		{name: "a port by name", args: []string{"--ops-addr=localhost:http"}, want: "tcp localhost:http false localhost:80/healthz"},
		{name: "operations on a Unix socket", args: []string{"--ops-addr=unix:/run/ops.sock"}, want: "unix /run/ops.sock false localhost/healthz"},
		{name: "operations over TLS", args: []string{"--ops-addr=:81", "--ops-tls-cert=c", "--ops-tls-key=k"}, want: "tcp :81 true localhost:81/healthz"},
		{name: "operations at no address", args: []string{"--ops-addr=3001"}, says: `--ops-addr: "3001" is no address`},
		{name: "no path and no operations", args: []string{"--ops-addr="}, says: "neither --health-path nor --ops-addr"},
		{name: "operations where clients need a PROXY header", args: with("--proxy-protocol=all"), want: "tcp 127.0.0.1:3001 false localhost:3001/healthz"},
		{name: "operations where clients need a certificate", args: withTLS("--tls-client-ca=ca.pem"), want: "tcp 127.0.0.1:3001 false localhost:3001/healthz"},
		{name: "no address", args: with("--addr=3000"), says: `--addr: "3000" is no address`},
		{name: "PROXY headers everywhere", args: with("--proxy-protocol=all", "--ops-addr="), says: "one more in --addr"},
		{name: "a certificate wanted", args: withTLS("--tls-client-ca=ca.pem", "--ops-addr="), says: "one more in --addr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parsed(t, c.args...)
			d, err := f.healthDoor()
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, fmt.Sprintf("%s %s %v %s%s", d.network, d.address, d.tls, d.host, d.path))
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
