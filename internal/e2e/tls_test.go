package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"turbine/internal/certs"

	"github.com/stretchr/testify/require"
)

// A tlsServer is a binary with a certificate.
type tlsServer struct {
	*server
	t         *testing.T
	authority *certs.Authority
	dir       string
}

func certificate(t *testing.T) (a *certs.Authority, dir string, args []string) {
	a, dir = certs.New(t), t.TempDir()
	certFile, keyFile := a.Issue(t, "first", nil).Write(t, dir)
	return a, dir, []string{"--tls-cert", certFile, "--tls-key", keyFile}
}

func serveTLS(t *testing.T, args ...string) *tlsServer {
	t.Helper()
	a, dir, with := certificate(t)
	return &tlsServer{serve(t, append(with, args...)...), t, a, dir}
}

func (s *tlsServer) dial(config *tls.Config) (*tls.Conn, error) {
	if config == nil {
		config = &tls.Config{RootCAs: s.authority.Pool(), ServerName: "localhost"}
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.addr, config)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c, c.SetDeadline(time.Now().Add(3 * patience))
}

// certificateServed is the common name of the certificate that is shown now.
func (s *tlsServer) certificateServed() string {
	s.t.Helper()
	c, err := s.dial(nil)
	require.NoError(s.t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func (s *tlsServer) says(text string) {
	s.t.Helper()
	s.logs(s.t, func() bool { return strings.Contains(s.stderr.String(), text) })
}

// ask sends a request on c and returns the answer's body.
func ask(t *testing.T, c net.Conn, method, query, body string) string {
	t.Helper()
	_, err := fmt.Fprintf(c, "%s /engine.io/?EIO=4&transport=polling%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", method, query, len(body), body)
	require.NoError(t, err)
	r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	require.NoError(t, err)
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, 200, r.StatusCode, "%s", text)
	return string(text)
}

func opens(t *testing.T, c net.Conn) (query string) {
	t.Helper()
	_, rest, ok := strings.Cut(ask(t, c, "GET", "", ""), `{"sid":"`)
	require.True(t, ok)
	return "&sid=" + rest[:27]
}

// The program speaks TLS on its address, and takes a new certificate when the
// files change and when SIGHUP comes, once it fits. Clients that are there continue.
func TestTLS(t *testing.T) {
	s := serveTLS(t)
	require.Contains(t, s.stdout.String(), "(TLS)")
	c, err := s.dial(nil)
	require.NoError(t, err)
	sid := opens(t, c)
	require.Equal(t, "first", s.certificateServed())

	second := s.authority.Issue(t, "second", nil)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "cert.pem"), second.Cert, 0o600))
	s.says("TLS files cannot be used; the old ones stay in use")
	s.says("private key does not match public key")
	require.Equal(t, "first", s.certificateServed())
	second.Write(t, s.dir)
	s.says("TLS files read")
	require.Equal(t, "second", s.certificateServed())
	require.Equal(t, 1, strings.Count(s.stderr.String(), "cannot be used"), "once is enough")

	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	s.logs(t, func() bool { return strings.Count(s.stderr.String(), "TLS files read") >= 2 })
	s.authority.Issue(t, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).Write(t, s.dir)
	s.says("TLS certificate has expired; clients will refuse it")

	require.Equal(t, "ok", ask(t, c, "POST", sid, "4hello"))
	require.Equal(t, "4hello", ask(t, c, "GET", sid, ""))
	require.Equal(t, "ok", ask(t, c, "POST", sid, "1"))
}

// Plain and TLS addresses live side by side; on the latter, who speaks HTTP is
// told so.
func TestTLSBesidePlain(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	secured := free.Addr().String()
	require.NoError(t, free.Close())
	s := serveTLS(t, "--tls-addr", secured)
	plain, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	defer plain.Close()
	sid := opens(t, plain)
	s.addr = secured
	c, err := s.dial(nil)
	require.NoError(t, err)
	require.Equal(t, "ok", ask(t, c, "POST", sid, "4hello"))
	require.Equal(t, "4hello", ask(t, plain, "GET", sid, ""))
	require.Equal(t, "ok", ask(t, plain, "POST", sid, "1"))

	wrong, err := net.Dial("tcp", secured)
	require.NoError(t, err)
	defer wrong.Close()
	_, err = io.WriteString(wrong, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	answer, err := io.ReadAll(wrong)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(answer), "HTTP/1.0 400 Bad Request\r\n"), "%s", answer)
	require.True(t, strings.HasSuffix(string(answer), "Client sent an HTTP request to an HTTPS server.\n"), "%s", answer)
}

// Another process takes over: connections of the old one continue until it ends, and
// clients begin a new TLS session with the new one, which knows no tickets of the
// old.
func TestTLSTakeover(t *testing.T) {
	supervisor := newSystemd(t)
	authority, dir, args := certificate(t)
	cmd := command(context.Background(), t, append(args, "--addr", "127.0.0.1:0", "--drain-period", "100ms", "--drain-timeout", "10s")...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+supervisor.path)
	s := &tlsServer{start(t, cmd), t, authority, dir}
	pid := supervisor.ready(patience)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	config := &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	old, err := s.dial(config)
	require.NoError(t, err)
	sid := opens(t, old)
	again, err := s.dial(config)
	require.NoError(t, err)
	require.True(t, again.ConnectionState().DidResume)

	authority.Issue(t, "second", nil).Write(t, dir)
	require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	next := supervisor.ready(patience)
	require.NotContains(t, []int{0, pid}, next)
	pid = next
	require.Equal(t, "ok", ask(t, old, "POST", sid, "4hello"))
	require.Equal(t, "4hello", ask(t, old, "GET", sid, ""))
	require.Equal(t, "1", ask(t, old, "GET", sid, ""), "the old process closes the session")
	fresh, err := s.dial(config)
	require.NoError(t, err)
	require.False(t, fresh.ConnectionState().DidResume)
	require.Equal(t, "second", fresh.ConnectionState().PeerCertificates[0].Subject.CommonName)
	require.Equal(t, "ok", ask(t, fresh, "POST", opens(t, fresh), "1"))
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.True(t, s.ends(stopPatience), "a process still runs")
}

// Clients have to show a certificate where the program is told which.
func TestTLSClientCertificates(t *testing.T) {
	for _, auth := range []string{"require", "optional"} {
		t.Run(auth, func(t *testing.T) {
			authority := certs.New(t)
			caFile := filepath.Join(t.TempDir(), "clients.pem")
			require.NoError(t, os.WriteFile(caFile, authority.PEM, 0o600))
			s := serveTLS(t, "--tls-client-ca", caFile, "--tls-client-auth", auth, "--tls-min-version", "1.3")
			config := &tls.Config{RootCAs: s.authority.Pool(), ServerName: "localhost"}
			c, err := s.dial(config)
			if auth == "optional" {
				require.NoError(t, err)
				require.Equal(t, "ok", ask(t, c, "POST", opens(t, c), "1"))
			} else {
				if err == nil {
					_, err = c.Read(make([]byte, 1))
				}
				require.ErrorContains(t, err, "certificate required")
			}
			config.Certificates = []tls.Certificate{authority.Issue(t, "ann", nil).TLS(t)}
			c, err = s.dial(config)
			require.NoError(t, err)
			require.Equal(t, "ok", ask(t, c, "POST", opens(t, c), "1"))
			config.MaxVersion = tls.VersionTLS12
			_, err = s.dial(config)
			require.ErrorContains(t, err, "protocol version not supported")
		})
	}
}

// What cannot be used is told at the start, with the exit code of a command line that makes no sense.
func TestTLSStart(t *testing.T) {
	_, dir, args := certificate(t)
	certFile, keyFile := args[1], args[3]
	_, _, others := certificate(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--tls-cert", certFile}, "--tls-cert and --tls-key go together"},
		{[]string{"--tls-cert", certFile, "--tls-key", others[3]}, "private key does not match public key"},
		{[]string{"--tls-cert", filepath.Join(dir, "none"), "--tls-key", keyFile}, "no such file or directory"},
		{[]string{"--tls-cert", certFile, "--tls-key", keyFile, "--tls-min-version", "1.1"}, "--tls-min-version must be one of"},
	} {
		cmd := command(t.Context(), t, append([]string{"--addr", "127.0.0.1:0"}, c.args...)...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Equal(t, 2, cmd.ProcessState.ExitCode(), "%q", c.args)
		require.Contains(t, string(out), c.want)
		require.Equal(t, 1, strings.Count(string(out), "\n"), "%s", out)
	}
}
