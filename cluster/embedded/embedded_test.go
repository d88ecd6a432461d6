package embedded_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"turbine/cluster"
	"turbine/cluster/embedded"
	"turbine/internal/certs"
)

const patience = 20 * time.Second

// node is one process's server and its connection.
type node struct {
	*nats.Conn
	config cluster.EmbeddedConfig
	stop   func()
	log    *lines
}

// lines is a log whose records a test waits for.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// address is a free one of this machine for routes.
func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func start(t *testing.T, name, listen string, change func(*cluster.EmbeddedConfig), routes ...string) *node {
	t.Helper()
	n := &node{log: &lines{}}
	n.config = cluster.EmbeddedConfig{
		Name: name, Cluster: "test", Listen: listen, Routes: routes,
		RoutePassword: "route", ClientPassword: "client" + name, MaxPayload: 1 << 20,
		Logger: slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&n.config)
	}
	url, stop, err := embedded.Start(n.config)
	require.NoError(t, err)
	n.stop = stop
	t.Cleanup(stop)
	n.Conn, err = nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.IgnoreDiscoveredServers())
	require.NoError(t, err)
	t.Cleanup(n.Close)
	return n
}

// hears is a subscription of n, and asks of other nodes until each is heard there: how
// long interest takes from one server to another is nobody's promise.
func hears(t *testing.T, to *node, from ...*node) {
	t.Helper()
	subject := nats.NewInbox()
	sub, err := to.SubscribeSync(subject)
	require.NoError(t, err)
	defer sub.Unsubscribe()
	waiting := map[string]*node{}
	for _, n := range from {
		waiting[n.config.Name] = n
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(waiting) > 0 {
		for name, n := range waiting {
			_ = n.Publish(subject, []byte(name)) // where it is down, later again
			_ = n.FlushTimeout(patience)
		}
		next, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		m, err := sub.NextMsgWithContext(next)
		stop()
		if err == nil {
			delete(waiting, string(m.Data))
		}
		require.NoError(t, ctx.Err(), "%s does not hear %d others: %s", to.config.Name, len(waiting), to.log)
	}
}

// all holds that each node hears each other.
func all(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		hears(t, n, nodes...)
	}
}

// goroutines holds that a test leaves none.
func goroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Now().After(end) {
				all := make([]byte, 1<<20)
				t.Fatalf("goroutines are left: %s", all[:runtime.Stack(all, true)])
			}
		}
	})
}

func TestServersOfACluster(t *testing.T) {
	goroutines(t)
	first := address(t)
	a := start(t, "a", first, nil)
	b := start(t, "b", "127.0.0.1:0", nil, first)
	c := start(t, "c", "127.0.0.1:0", nil, first, first) // hears of b from a
	all(t, a, b, c)
	require.EqualValues(t, 1<<20, a.MaxPayload())
	require.Empty(t, a.DiscoveredServers(), "the ports of other processes are not for clients")

	a.stop()
	a.stop() // is done
	all(t, b, c)
	require.False(t, listens(first), "its port is closed")

	// The first comes back on its address, and the others find it there: it knows none.
	a = start(t, "a", first, nil)
	all(t, a, b, c)
	for _, n := range []*node{a, b, c} {
		require.NotContains(t, n.log.String(), "client"+n.config.Name)
		require.NotContains(t, n.log.String(), "turbine:")
	}
}

// alone holds that a does not hear what b publishes.
func alone(t *testing.T, a, b *node) {
	t.Helper()
	sub, err := a.SubscribeSync("x")
	require.NoError(t, err)
	require.NoError(t, a.Flush())
	require.NoError(t, b.Publish("x", nil))
	require.NoError(t, b.Flush())
	require.NoError(t, a.Publish("x", []byte("own")))
	m, err := sub.NextMsg(patience)
	require.NoError(t, err)
	require.Equal(t, "own", string(m.Data), "works alone")
	require.NoError(t, sub.Unsubscribe())
}

func listens(address string) bool {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func TestServersRefuseStrangers(t *testing.T) {
	goroutines(t)
	first := address(t)
	a := start(t, "a", first, nil)
	for _, row := range []struct {
		name   string
		change func(*cluster.EmbeddedConfig)
		says   string
	}{
		{"wrong key", func(c *cluster.EmbeddedConfig) { c.RoutePassword = "other" }, "Authorization"},
		{"other cluster", func(c *cluster.EmbeddedConfig) { c.Cluster = "other" }, "cluster name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := start(t, "b", "127.0.0.1:0", row.change, first)
			require.Eventually(t, func() bool {
				return strings.Contains(a.log.String()+b.log.String(), row.says)
			}, patience, 5*time.Millisecond)
			alone(t, a, b)
			b.stop()
		})
	}
	url := a.ConnectedUrl()
	for _, wrong := range []string{"nats://" + a.ConnectedAddr(), strings.Replace(url, "client", "other", 1)} {
		_, err := nats.Connect(wrong)
		require.ErrorIs(t, err, nats.ErrAuthorization)
	}
}

func TestServersSpeakTLS(t *testing.T) {
	goroutines(t)
	authority := certs.New(t)
	secure := func(pool *x509.CertPool) func(*cluster.EmbeddedConfig) {
		return func(c *cluster.EmbeddedConfig) {
			pair := authority.Issue(t, "localhost", func(c *x509.Certificate) {
				c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
			})
			c.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair.TLS(t)}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
		}
	}
	first := address(t)
	a := start(t, "a", first, secure(authority.Pool()))
	b := start(t, "b", "127.0.0.1:0", secure(authority.Pool()), first)
	all(t, a, b)
	stranger := start(t, "c", "127.0.0.1:0", secure(certs.New(t).Pool()), first)
	require.Eventually(t, func() bool {
		return strings.Contains(stranger.log.String(), "TLS route handshake error")
	}, patience, 5*time.Millisecond, "it does not trust the others")
	plain := start(t, "d", "127.0.0.1:0", nil, first)
	require.Eventually(t, func() bool {
		return strings.Contains(plain.log.String(), "Router connection closed")
	}, patience, 5*time.Millisecond)
	alone(t, a, stranger)
	alone(t, b, plain)
}

// Where the address is taken, as by a process that hands over to this one, a server
// listens beside it, and moves to the address when that is free.
func TestServerMovesToItsAddress(t *testing.T) {
	goroutines(t)
	first := address(t)
	old := start(t, "old", first, nil)
	next := start(t, "new", first, nil)
	other := start(t, "other", "127.0.0.1:0", nil, first)
	all(t, old, next, other)
	require.Contains(t, next.log.String(), "is taken")
	client := next.ConnectedAddr()
	old.stop()
	require.Eventually(t, func() bool { return strings.Contains(next.log.String(), "back on the configured address") }, patience, 5*time.Millisecond)
	all(t, next, other)
	require.Equal(t, client, next.ConnectedAddr(), "where this process finds it")
	require.True(t, listens(first))
	late := start(t, "late", "127.0.0.1:0", nil, "dns:localhost:"+first[strings.LastIndexByte(first, ':')+1:])
	all(t, next, other, late)
}

func TestStopDuringAMove(t *testing.T) {
	goroutines(t)
	first := address(t)
	old := start(t, "old", first, nil)
	next := start(t, "new", first, nil)
	old.stop()
	next.stop()
	require.False(t, listens(first))
}

func TestStartRefuses(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*cluster.EmbeddedConfig)
		says   string
	}{
		{"no address", func(c *cluster.EmbeddedConfig) { c.Listen = "" }, "address for routes"},
		{"no port", func(c *cluster.EmbeddedConfig) { c.Listen = "127.0.0.1" }, "missing port"},
		{"a port that is none", func(c *cluster.EmbeddedConfig) { c.Listen = "127.0.0.1:65536" }, "65536"},
		{"an address of another machine", func(c *cluster.EmbeddedConfig) { c.Listen = "192.0.2.1:0" }, "192.0.2.1"},
		{"a route without a port", func(c *cluster.EmbeddedConfig) { c.Routes = []string{"a"} }, "route"},
		{"a name without a port", func(c *cluster.EmbeddedConfig) { c.Routes = []string{"dns:a"} }, "route"},
		{"no password", func(c *cluster.EmbeddedConfig) { c.RoutePassword = "" }, "password"},
		{"no size", func(c *cluster.EmbeddedConfig) { c.MaxPayload = 0 }, "MaxPayload"},
		{"a size above what is sent at once", func(c *cluster.EmbeddedConfig) { c.MaxPayload = 65 << 20 }, "MaxPayload"},
	} {
		c := cluster.EmbeddedConfig{Name: "a", Cluster: "test", Listen: "127.0.0.1:0", RoutePassword: "route", ClientPassword: "client", MaxPayload: 1 << 20}
		row.change(&c)
		url, stop, err := embedded.Start(c)
		require.ErrorContains(t, err, row.says, row.name)
		require.Empty(t, url, row.name)
		require.Nil(t, stop)
	}
}
