package contract

import (
	"crypto/tls"
	"testing"

	"turbine/internal/certs"
	"turbine/loop"
	"turbine/loop/looptest"
)

// OverTLS is start with TLS of that version on every connection.
func OverTLS(start Start, version uint16) Start {
	return func(t *testing.T, n int, o loop.Options, accept func(*loop.Conn) loop.Handler) Machine {
		authority := certs.New(t)
		server := &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}, MinVersion: tls.VersionTLS12}
		m := &tlsMachine{
			filter: loop.NewTLS(loop.TLSOptions{Config: server, Logger: o.Logger}).Accept,
			far:    looptest.NewTLSClient,
			config: &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", MinVersion: version, MaxVersion: version}, // #nosec G402 -- a version that the test names
		}
		m.Machine = start(t, n, o, m.filter(accept))
		return m
	}
}

// AsTLSClient is OverTLS where the loops are TLS's clients, as on connections that a
// process has dialed.
func AsTLSClient(start Start, version uint16) Start {
	return func(t *testing.T, n int, o loop.Options, accept func(*loop.Conn) loop.Handler) Machine {
		authority := certs.New(t)
		client := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12}, Logger: o.Logger})
		m := &tlsMachine{
			filter: func(accept func(*loop.Conn) loop.Handler) func(*loop.Conn) loop.Handler {
				return client.Client("localhost", accept, nil)
			},
			far:    looptest.NewTLSServer,
			config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}, MinVersion: version, MaxVersion: version}, // #nosec G402 -- a version that the test names
		}
		m.Machine = start(t, n, o, m.filter(accept))
		return m
	}
}

type tlsMachine struct {
	Machine
	filter  func(accept func(*loop.Conn) loop.Handler) func(*loop.Conn) loop.Handler
	far     func(looptest.Client, *tls.Config, func()) *looptest.TLSClient
	config  *tls.Config
	clients []*looptest.TLSClient
}

func (m *tlsMachine) Dial() looptest.Client { return m.shake(m.Machine.Dial()) }

func (m *tlsMachine) Adopt(l *loop.Loop, accept func(*loop.Conn) loop.Handler) (looptest.Client, error) {
	if accept != nil {
		accept = m.filter(accept)
	}
	c, err := m.Machine.Adopt(l, accept)
	if err != nil {
		return c, err
	}
	return m.shake(c), nil
}

func (m *tlsMachine) Step() {
	for _, c := range m.clients {
		c.Flush()
	}
	m.Machine.Step()
}

func (m *tlsMachine) shake(inner looptest.Client) looptest.Client {
	c := m.far(inner, m.config, m.Step)
	m.clients = append(m.clients, c)
	c.Shake()
	return c
}
