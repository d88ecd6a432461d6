//go:build linux

package load

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// certificate is one for localhost, and the pool of a client that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func serveTLS(t *testing.T, cert tls.Certificate) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &rawServer{
		reply:   func(_ int, f ws.Frame) []ws.Frame { return []ws.Frame{f} },
		upgrade: upgradeRaw, conns: map[net.Conn]bool{},
	}
	s.serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}))
	t.Cleanup(s.stop)
	return l.Addr().String()
}

func TestEchoOverTLS(t *testing.T) {
	cert, pool := certificate(t)
	for _, p := range []Plan{
		{Sessions: 10, InFlight: 1, Size: 128},
		{Sessions: 3, InFlight: 16, Size: 128},
		{Sessions: 2, InFlight: 4, Size: 70_000},
	} {
		addr := serveTLS(t, cert)
		p.Kind, p.Dialect, p.Addr, p.Path, p.Duration = Echo, Raw, addr, "/", time.Minute
		p.TLS = &tls.Config{RootCAs: pool, ServerName: "localhost"}
		o, err := runUntil(t, p, func(o *Outcome) bool { return o.Operations >= 50 })
		require.NoError(t, err)
		perfect(t, o)
	}
}

// The first connection has no ticket yet; each of the others brings one.
func TestHandshakesThatResume(t *testing.T) {
	cert, pool := certificate(t)
	config := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	for _, cache := range []tls.ClientSessionCache{nil, tls.NewLRUClientSessionCache(1)} {
		config.ClientSessionCache = cache
		p := Plan{Kind: WebSocketHandshake, Dialect: Raw, Addr: serveTLS(t, cert), Path: "/", InFlight: 1, Duration: time.Minute, TLS: config}
		o, err := runUntil(t, p, func(o *Outcome) bool { return o.Operations >= 20 })
		require.NoError(t, err)
		perfect(t, o)
		if cache == nil {
			require.Zero(t, o.Resumed)
		} else {
			require.GreaterOrEqual(t, o.Resumed, 19)
		}
	}
}

// After a short read the socket is not read again before the next event, unless
// the stream ends there.
func TestTLSSocketReadsOnce(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fds[0]) })
	s := tlsSocket{fd: fds[0]}
	send := func(text string) {
		_, err := unix.Write(fds[1], []byte(text))
		require.NoError(t, err)
	}
	p := make([]byte, 4)
	send("abcdefg")
	for _, want := range []string{"abcd", "efg"} {
		n, err := s.Read(p)
		require.NoError(t, err)
		require.Equal(t, want, string(p[:n]))
	}
	send("h")
	_, err = s.Read(p)
	require.ErrorIs(t, err, errNotNow)
	require.NoError(t, unix.Close(fds[1]))
	s.drained, s.ended = false, true // as the event says
	n, err := s.Read(p)
	require.NoError(t, err)
	require.Equal(t, "h", string(p[:n]))
	_, err = s.Read(p)
	require.ErrorIs(t, err, io.EOF)
}

func TestServerThatNobodyTrusts(t *testing.T) {
	cert, _ := certificate(t)
	_, err := runSoon(t, Plan{
		Kind: Echo, Dialect: Raw, Addr: serveTLS(t, cert), Path: "/", Sessions: 1, Size: 10, Duration: moment,
		TLS: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"},
	})
	require.ErrorContains(t, err, "signed by unknown authority")
}
