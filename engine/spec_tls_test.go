package engine_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"turbine/engine"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"
)

// TestSpecBehindTLS has what ends TLS in front of the server, as a proxy does:
// T154 with client certificates over polling, T155 without, T156 with client
// certificates over WebSocket.
func TestSpecBehindTLS(t *testing.T) {
	server, err := engine.New(engine.Options{}, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
	})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	authority, certificate := newAuthority(t)
	for _, auth := range []tls.ClientAuthType{tls.NoClientCert, tls.RequireAndVerifyClientCert} {
		front := frontTLS(t, l.Addr().String(), &tls.Config{
			Certificates: []tls.Certificate{certificate}, ClientCAs: authority, ClientAuth: auth,
		})
		config := &tls.Config{RootCAs: authority, ServerName: "127.0.0.1"}
		if auth != tls.NoClientCert {
			config.Certificates = []tls.Certificate{certificate}
		}
		pollOverTLS(t, "https://"+front, config)
		echoOverTLS(t, front, config)
	}

	ctx, cancel := context.WithTimeout(t.Context(), memoryPatience)
	defer cancel()
	server.CloseSessions()
	for s := range server.Sessions() {
		s.CloseNow()
	}
	require.NoError(t, server.Shutdown(ctx))
	require.ErrorIs(t, <-served, engine.ErrServerClosed)
}

// TestSpecTLS is the same, T154 to T156, where the server speaks TLS itself: T154
// and T156 with client certificates, T155 without.
func TestSpecTLS(t *testing.T) {
	authority, certificate := newAuthority(t)
	for _, auth := range []tls.ClientAuthType{tls.NoClientCert, tls.RequireAndVerifyClientCert} {
		s := secure(t, engine.Options{TLS: &engine.TLS{Config: &tls.Config{
			Certificates: []tls.Certificate{certificate}, ClientCAs: authority, ClientAuth: auth,
		}}}, engine.Events{})
		config := &tls.Config{RootCAs: authority, ServerName: "127.0.0.1"}
		if auth != tls.NoClientCert {
			config.Certificates = []tls.Certificate{certificate}
		}
		pollOverTLS(t, "https://"+s.address, config)
		echoOverTLS(t, s.address, config)
	}
}

// newAuthority makes a certificate for 127.0.0.1 that vouches for itself, good
// for servers and clients.
func newAuthority(t *testing.T) (*x509.CertPool, tls.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// frontTLS ends TLS and passes the bytes on to address, both ways, until the
// test is over.
func frontTLS(t *testing.T, address string, config *tls.Config) string {
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	var pipes sync.WaitGroup
	pipes.Go(func() {
		for {
			outer, err := l.Accept()
			if err != nil {
				return
			}
			inner, err := net.Dial("tcp", address)
			if err != nil {
				_ = outer.Close()
				return
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.Close()
				_ = from.Close()
			}
			pipes.Go(func() { pass(inner, outer) })
			pipes.Go(func() { pass(outer, inner) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		pipes.Wait()
	})
	return l.Addr().String()
}

func pollOverTLS(t *testing.T, origin string, config *tls.Config) {
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: memoryPatience}
	read := func(r *http.Response, err error) string {
		require.NoError(t, err)
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return string(body)
	}
	url := origin + "/engine.io/?EIO=4&transport=polling"
	open := read(client.Get(url))
	_, rest, ok := strings.Cut(open, `{"sid":"`)
	require.True(t, ok, open)
	url += "&sid=" + rest[:27]
	require.Equal(t, "ok", read(client.Post(url, "text/plain", strings.NewReader("4hello"))))
	require.Equal(t, "4hello", read(client.Get(url)))
	require.Equal(t, "ok", read(client.Post(url, "text/plain", strings.NewReader("1"))))
}

func echoOverTLS(t *testing.T, front string, config *tls.Config) {
	dialer := ws.Dialer{TLSConfig: config, Timeout: memoryPatience}
	conn, early, _, err := dialer.Dial(t.Context(), "wss://"+front+"/engine.io/?EIO=4&transport=websocket")
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(memoryPatience)))
	stream := struct {
		io.Reader
		io.Writer
	}{conn, conn}
	if early != nil {
		stream.Reader = early
	}
	open, err := wsutil.ReadServerText(stream)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(open), `0{"sid":"`), "%q", open)
	require.NoError(t, wsutil.WriteClientText(conn, []byte("4hello")))
	stream.Reader = io.MultiReader(stream.Reader, conn)
	echo, err := wsutil.ReadServerText(stream)
	require.NoError(t, err)
	require.Equal(t, "4hello", string(echo))
}
