//go:build linux

package loop_test

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"turbine/internal/certs"
	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// A served is a World with TLS, whose time is measured apart from its clients'.
type served struct {
	world *looptest.World
	spent time.Duration
}

func (s *served) run() {
	start := time.Now()
	s.world.Run()
	s.spent += time.Since(start)
}

func newServed(b *testing.B) (*served, *tls.Config) {
	authority := certs.New(b)
	filter := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(b, "server", nil).TLS(b)}}})
	s := &served{world: looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, filter.Accept(acceptEcho))}
	b.Cleanup(s.world.Close)
	return s, &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost"}
}

func (s *served) dial(b *testing.B, config *tls.Config) *looptest.TLSClient {
	c := looptest.NewTLSClient(s.world.Dial().Client(), config, s.run)
	c.Shake()
	require.NoError(b, c.Err())
	s.run()
	return c
}

func (s *served) report(b *testing.B) {
	b.ReportMetric(float64(s.spent.Nanoseconds())/float64(b.N), "server-ns/op")
}

// BenchmarkTLSHandshake is what a handshake with a P-256 certificate costs; the
// server's part alone is server-ns/op.
func BenchmarkTLSHandshake(b *testing.B) {
	for _, c := range []struct {
		name    string
		version uint16
		resumed bool
	}{
		{"1.2", tls.VersionTLS12, false}, {"1.2 resumed", tls.VersionTLS12, true},
		{"1.3", tls.VersionTLS13, false}, {"1.3 resumed", tls.VersionTLS13, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, config := newServed(b)
			config.MinVersion, config.MaxVersion = c.version, c.version
			if c.resumed {
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				first := s.dial(b, config)
				first.Send([]byte("x")) // the ticket comes with the echo
				s.run()
				first.Recv(10)
				first.Reset()
			}
			s.spent = 0
			for b.Loop() {
				client := s.dial(b, config)
				require.Equal(b, c.resumed, client.State().DidResume)
				client.Reset()
				s.world.Run()
			}
			s.report(b)
		})
	}
}

// BenchmarkTLSEcho is what an echo costs over TLS, and without.
func BenchmarkTLSEcho(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 16 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, config := newServed(b)
			c := s.dial(b, config)
			message := noise(size)
			s.spent = 0
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				c.Send(message)
				s.run()
				for got := 0; got < size; {
					n := len(c.Recv(size - got))
					if got += n; n == 0 {
						s.run()
					}
				}
			}
			s.report(b)
		})
	}
}
