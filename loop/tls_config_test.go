//go:build linux

package loop_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"runtime"
	"testing"

	"turbine/loop"
	"turbine/loop/looptest/contract"

	"github.com/stretchr/testify/require"
)

const slowName = "slow.example"

// waitingKey is a key that another machine signs with.
type waitingKey struct {
	crypto.Signer
	wait func(name string)
}

func (k waitingKey) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	k.wait(slowName)
	return k.Signer.Sign(random, digest, o)
}

// Whatever of the application has to be waited for holds up its own client alone:
// more such handshakes than there are places to compute, and another one passes.
func TestTLSCallbacksThatWait(t *testing.T) {
	type settings struct {
		server *tls.Config
		client *tls.Config // of the slow ones
		remote tls.Certificate
		wait   func(name string) // of slowName
	}
	inside := func(set func(*settings, *tls.Config)) func(*settings) {
		return func(s *settings) {
			inner := s.server.Clone()
			set(s, inner)
			s.server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }
		}
	}
	getCertificate := func(s *settings, c *tls.Config) {
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			s.wait(hello.ServerName)
			return &s.server.Certificates[0], nil
		}
	}
	verifyConnection := func(s *settings, c *tls.Config) {
		c.VerifyConnection = func(state tls.ConnectionState) error { s.wait(state.ServerName); return nil }
	}
	verifyPeer := func(s *settings, c *tls.Config) {
		c.ClientAuth = tls.RequestClientCert
		c.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) > 0 { // the slow ones show a certificate
				s.wait(slowName)
			}
			return nil
		}
		s.client.Certificates = s.server.Certificates
	}
	wrapSession := func(s *settings, c *tls.Config) {
		c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
			s.wait(state.ServerName)
			return s.server.EncryptTicket(state, session)
		}
	}
	ownKey := func(s *settings, c *tls.Config) {
		c.Certificates = append(c.Certificates[:1:1], s.remote)
	}
	keyOfGetCertificate := func(s *settings, c *tls.Config) {
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == slowName {
				return &s.remote, nil
			}
			return nil, nil
		}
	}
	base := func(set func(*settings, *tls.Config)) func(*settings) {
		return func(s *settings) { set(s, s.server) }
	}
	for name, set := range map[string]func(*settings){
		"GetCertificate": base(getCertificate),
		"GetConfigForClient": func(s *settings) {
			s.server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { s.wait(hello.ServerName); return nil, nil }
		},
		"VerifyConnection":                                base(verifyConnection),
		"VerifyPeerCertificate":                           base(verifyPeer),
		"WrapSession":                                     base(wrapSession),
		"key of Certificates":                             base(ownKey),
		"key of GetCertificate":                           base(keyOfGetCertificate),
		"GetCertificate of GetConfigForClient":            inside(getCertificate),
		"VerifyConnection of GetConfigForClient":          inside(verifyConnection),
		"VerifyPeerCertificate of GetConfigForClient":     inside(verifyPeer),
		"WrapSession of GetConfigForClient":               inside(wrapSession),
		"key of Certificates of GetConfigForClient":       inside(ownKey),
		"key of GetCertificate inside GetConfigForClient": inside(keyOfGetCertificate),
	} {
		for version, number := range versions {
			t.Run(name+"/"+version, func(t *testing.T) {
				waiting, release := make(chan struct{}, 100), make(chan struct{})
				s := &settings{client: &tls.Config{ServerName: slowName, InsecureSkipVerify: true, MinVersion: number, MaxVersion: number, ClientSessionCache: tls.NewLRUClientSessionCache(1)}}
				s.wait = func(name string) {
					if name == slowName {
						waiting <- struct{}{}
						<-release
					}
				}
				b := startTLS(t, startReactor, func(b *tlsBench, o *loop.TLSOptions) {
					s.server = o.Config
					s.remote = b.authority.Issue(t, "remote", func(c *x509.Certificate) { c.DNSNames = []string{slowName} }).TLS(t)
					s.remote.PrivateKey = waitingKey{s.remote.PrivateKey.(crypto.Signer), s.wait}
					set(s)
				})
				slow := runtime.GOMAXPROCS(0) + 3
				results := make(chan error, slow)
				for range slow {
					c := b.Dial().(*client).conn
					go func() { results <- tls.Client(c, s.client).HandshakeContext(context.Background()) }()
				}
				for range slow {
					<-waiting
				}
				c := b.shake(b.Dial(), nil)
				require.NoError(t, c.Err())
				b.echoes(c, []byte("hello"))
				b.stats("the slow ones are left", func(s loop.TLSStats) bool { return s.Now == slow })
				close(release)
				for range slow {
					require.NoError(t, <-results)
				}
				b.stats("all are done", func(s loop.TLSStats) bool { return s.Now == 0 && s.Done == uint64(slow)+1 })
			})
		}
	}
}

// Tickets that the application opens also hold up their own clients alone.
func TestTLSUnwrapSessionThatWaits(t *testing.T) {
	waiting, release := make(chan struct{}, 100), make(chan struct{})
	b := startTLS(t, startReactor, func(_ *tlsBench, o *loop.TLSOptions) {
		keys := o.Config.Clone()
		o.Config.WrapSession = keys.EncryptTicket
		o.Config.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
			waiting <- struct{}{}
			<-release
			return keys.DecryptTicket(ticket, state)
		}
	})
	config := b.client.Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	first := b.shake(b.Dial(), config)
	require.NoError(t, first.Err())
	b.echoes(first, []byte("hello")) // the ticket comes with it
	slow := runtime.GOMAXPROCS(0) + 3
	results := make(chan error, slow)
	for range slow {
		c := tls.Client(b.Dial().(*client).conn, config)
		go func() { results <- c.HandshakeContext(context.Background()) }()
	}
	for range slow {
		<-waiting
	}
	good := b.shake(b.Dial(), nil)
	require.NoError(t, good.Err())
	b.echoes(good, []byte("hello"))
	close(release)
	for range slow {
		require.NoError(t, <-results)
	}
	b.stats("all have resumed", func(s loop.TLSStats) bool { return s.Resumed == uint64(slow) })
}

// A callback that ends its goroutine, or panics, ends its own connection, and
// leaves the place to compute to others.
func TestTLSCallbackThatEndsItsGoroutine(t *testing.T) {
	for name, end := range map[string]func(){"Goexit": runtime.Goexit, "panic": func() { panic("callback") }} {
		t.Run(name, func(t *testing.T) {
			b := startTLS(t, startReactor, func(_ *tlsBench, o *loop.TLSOptions) {
				o.Config.VerifyConnection = func(state tls.ConnectionState) error {
					if state.ServerName == slowName {
						end()
					}
					return nil
				}
			})
			config := b.client.Clone()
			config.ServerName, config.InsecureSkipVerify, config.MaxVersion = slowName, true, tls.VersionTLS12
			for range runtime.GOMAXPROCS(0) + 3 {
				require.Error(t, b.shake(b.Dial(), config).Err())
			}
			c := b.shake(b.Dial(), nil)
			require.NoError(t, c.Err())
			b.echoes(c, []byte("hello"))
			b.leave(c)
			b.quietly()
			require.EqualValues(t, runtime.GOMAXPROCS(0)+3, b.tls.Stats().Failed)
		})
	}
}

// The Handlers are given what they speak, whatever else the application's configs
// have; a connection for something else is closed once its handshake is done.
func TestTLSProtocols(t *testing.T) {
	const acme = "acme-tls/1"
	for _, where := range []string{"Config", "GetConfigForClient"} {
		for _, c := range []struct {
			name             string
			configured       []string
			offered          []string
			negotiated       string
			refused, handled bool
		}{
			{"none is offered", []string{"h2", acme}, nil, "", false, true},
			{"ours is preferred", []string{"h2", acme, "http/1.1"}, []string{"h2", acme, "http/1.1"}, "http/1.1", false, true},
			{"ours is always there", nil, []string{"http/1.1"}, "http/1.1", false, true},
			{"an authority looks", []string{"h2", "http/1.1", acme}, []string{acme}, acme, false, false},
			{"HTTP/2 alone", []string{"h2", "http/1.1"}, []string{"h2"}, "", true, false},
			{"an authority, and nobody expects one", nil, []string{acme}, "", true, false},
		} {
			for kernel, start := range kernels {
				t.Run(where+"/"+c.name+"/"+kernel, func(t *testing.T) {
					b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) {
						o.Protocols = []string{"http/1.1"}
						o.Config.NextProtos = c.configured
						if where == "GetConfigForClient" {
							inner := o.Config.Clone()
							o.Config.NextProtos = []string{"other"}
							o.Config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }
						}
					})
					config := b.client.Clone()
					config.NextProtos = c.offered
					client := b.shake(b.Dial(), config)
					if c.refused {
						require.ErrorContains(t, client.Err(), "no application protocol")
						b.quietly()
						return
					}
					require.NoError(t, client.Err())
					require.Equal(t, c.negotiated, client.State().NegotiatedProtocol)
					if c.handled {
						b.echoes(client, []byte("hello"))
					}
					if !c.handled {
						client.Send([]byte("GET / HTTP/1.1\r\n\r\n"))
						b.until("close_notify", func() bool { require.Empty(t, client.Recv(1)); return client.EOF() })
						require.Zero(t, b.opened.Load())
					}
					b.leave(client)
					b.quietly()
				})
			}
		}
	}
}

// The keys of session tickets that an application changes on a config count from
// then on, also where GetConfigForClient returns the same config each time.
func TestTLSTicketKeysOfTheApplication(t *testing.T) {
	inner := &tls.Config{}
	b := startTLS(t, contract.WorldMachine, func(_ *tlsBench, o *loop.TLSOptions) {
		inner.Certificates = o.Config.Certificates
		o.Config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }
	})
	config := b.client.Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i, resumes := range []bool{false, true, true, false, true} {
		if i == 3 {
			inner.SetSessionTicketKeys([][32]byte{{3}})
		}
		if i == 0 {
			inner.SetSessionTicketKeys([][32]byte{{1}})
		}
		c := b.shake(b.Dial(), config)
		require.NoError(t, c.Err())
		require.Equal(t, resumes, c.State().DidResume, "%d", i)
		b.echoes(c, []byte("hello"))
		b.leave(c)
	}
	b.quietly()
}
