//go:build linux

package loop_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"log/slog"
	"strings"
	"testing"
	"time"

	"turbine/internal/certs"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// A message of a handshake that is longer than any that means something is not
// collected until its end, for as many connections as there may be.
func TestTLSLongHandshakeMessage(t *testing.T) {
	for kernel, start := range kernels {
		t.Run(kernel, func(t *testing.T) {
			var log logged
			b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) {
				o.Timeout, o.Logger = time.Hour, slog.New(slog.NewTextHandler(&log, nil))
			})
			inner := b.Dial()
			record := "\x16\x03\x01\x40\x00" + strings.Repeat("x", 16<<10)
			rest := "\x16\x03\x01\x00\x04\x01\x00\xea\x60" + strings.Repeat(record, 3) // of 60,000 bytes
			b.until("it is closed", func() bool {
				rest = rest[inner.Send([]byte(rest)):]
				inner.Recv(100)
				return inner.EOF() || inner.Broken()
			})
			b.stats("it has failed", func(s loop.TLSStats) bool { return s.Failed == 1 })
			require.Contains(t, log.String(), "too long")
			inner.CloseWrite()
			b.quietly()
		})
	}
}

// Certificates of a client may take some room.
func TestTLSLongCertificate(t *testing.T) {
	for kernel, start := range kernels {
		t.Run(kernel, func(t *testing.T) {
			b := startTLS(t, start, func(b *tlsBench, o *loop.TLSOptions) {
				o.Timeout = time.Hour
				o.Config.ClientAuth, o.Config.ClientCAs = tls.RequireAndVerifyClientCert, b.authority.Pool()
			})
			long := b.authority.Issue(t, "long", func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: make([]byte, 24<<10)})
			}).TLS(t)
			config := b.client.Clone()
			config.Certificates = []tls.Certificate{long}
			c := b.shake(b.Dial(), config)
			require.NoError(t, c.Err())
			b.echoes(c, noise(100_000))
			b.leave(c)
			b.quietly()
		})
	}
}

// Nor is one behind the handshake, where a client has nothing to say that is
// longer than a few bytes.
func TestTLSLongMessageBehindHandshake(t *testing.T) {
	for _, kind := range []string{"\x0b", "\x18", "\x01"} {
		authority := certs.New(t)
		filter := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}}})
		var ended error
		w := looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, filter.Accept(func(c *loop.Conn) loop.Handler { return &sink{&ended} }))
		peer := w.Dial()
		var keyLog bytes.Buffer
		c := looptest.NewTLSClient(peer.Client(), &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", KeyLogWriter: &keyLog}, w.Run)
		c.Shake()
		require.NoError(t, c.Err())
		w.Run()
		s := newSealer(t, keyLog.String())
		peer.Write(s.record(nil, 22, kind+"\x00\xea\x60")) // of 60,000 bytes
		w.Run()
		require.False(t, peer.Closed())
		peer.Write(s.record(nil, 22, strings.Repeat("x", 2000)))
		w.Run()
		require.True(t, peer.Closed(), "%x", kind)
		require.ErrorContains(t, ended, "too long")
		w.Close()
		require.Zero(t, pool.Outstanding())
	}
}
