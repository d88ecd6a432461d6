package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"turbine/cluster"
	"turbine/cluster/embedded"
	"turbine/engine"
)

const patience = 20 * time.Second

// node is a server of a cluster in this process.
type node struct {
	*cluster.Cluster
	server *engine.Server
	served chan error
	url    string // of its clients, when it has joined
	once   sync.Once

	mu     sync.Mutex
	events []string
}

// givenPorts are those that free has given away. Each module and package has a range of its
// own, because their tests run side by side.
var givenPorts sync.Map

// free returns an address for somebody to listen on. Its port is none of those that the
// system gives away by itself, so nobody takes it meanwhile.
func free(t *testing.T) string {
	t.Helper()
	var err error
	for range 100 {
		port := 17_000 + rand.IntN(7_000)
		if _, taken := givenPorts.LoadOrStore(port, true); taken {
			continue // by a test that has not listened yet
		}
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	require.NoError(t, err)
	return ""
}

// prepare makes a node that has not joined.
func prepare(t *testing.T, name, listen string, change func(*cluster.Options, *engine.Options), routes ...string) *node {
	t.Helper()
	n := &node{served: make(chan error, 1)}
	o := cluster.Options{
		Name: "test", NodeName: name, NATSListen: listen, Routes: routes, Embedded: embedded.Start, Logger: slog.New(slog.DiscardHandler),
		Event: func(e cluster.Event) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.events = append(n.events, strings.TrimSpace(e.Kind.String()+" "+e.Name))
		},
	}
	eo := engine.Options{Loops: 1, Logger: o.Logger}
	if change != nil {
		change(&o, &eo)
	}
	var err error
	n.Cluster, err = cluster.New(o)
	require.NoError(t, err)
	eo.Node = n.Node()
	n.server, err = engine.New(eo, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
	})
	require.NoError(t, err)
	return n
}

// start makes a node that serves.
func start(t *testing.T, name, listen string, routes ...string) *node {
	t.Helper()
	n := prepare(t, name, listen, nil, routes...)
	n.join(t)
	return n
}

func (n *node) join(t *testing.T) {
	t.Helper()
	require.NoError(t, n.Join(t.Context(), n.server))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n.url = "http://" + l.Addr().String() + "/engine.io/?EIO=4&transport=polling"
	go func() { n.served <- n.server.Serve(l) }()
	require.Eventually(t, func() bool { return n.server.Stats().Phase == engine.PhaseServing }, patience, time.Millisecond)
	t.Cleanup(func() { n.kill(t) }) // where it has not left
}

// leave stops the server and leaves the cluster, at the same time.
func (n *node) leave(t *testing.T) {
	t.Helper()
	n.once.Do(func() {
		left := make(chan error, 1)
		go func() { left <- n.Leave(context.Background()) }()
		require.NoError(t, n.server.Shutdown(context.Background()))
		require.NoError(t, <-left)
		require.ErrorIs(t, <-n.served, engine.ErrServerClosed)
	})
}

// kill ends a node as kill -9 does.
func (n *node) kill(t *testing.T) {
	t.Helper()
	n.once.Do(func() {
		n.Kill()
		require.NoError(t, n.server.Close())
	})
}

// sees waits until n sees the others as the list says, such as "b alive".
func (n *node) sees(t *testing.T, others ...string) {
	t.Helper()
	slices.Sort(others)
	var got []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		got = nil
		for _, m := range n.Members()[1:] {
			got = append(got, m.Name+" "+m.State.String())
		}
		slices.Sort(got)
		if slices.Equal(got, others) {
			return
		}
	}
	require.Equal(t, others, got)
}

func (n *node) told(event string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.events, event)
}

func goroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
			if time.Now().After(end) {
				all := make([]byte, 1<<20)
				t.Fatalf("goroutines are left: %s", all[:runtime.Stack(all, true)])
			}
		}
	})
}

func TestNodesJoinAndLeave(t *testing.T) {
	goroutines(t)
	first := free(t)
	a := start(t, "a", first, first)
	b := start(t, "b", "127.0.0.1:0", first)
	b.sees(t, "a alive") // when Join returns already
	c := start(t, "c", "127.0.0.1:0", first)
	c.sees(t, "a alive", "b alive")
	a.sees(t, "b alive", "c alive")
	b.sees(t, "a alive", "c alive")
	for _, n := range []*node{a, b, c} {
		self := n.Members()[0]
		require.True(t, self.Self)
		require.Equal(t, n.Node().ID, self.ID)
		require.Equal(t, 3, n.Stats().Members[cluster.StateAlive])
		require.True(t, n.Stats().NATSUp)
		require.True(t, n.NATS().IsConnected())
		for _, m := range n.Members() {
			require.NotEmpty(t, m.Address)
			require.Len(t, m.Boot, 32)
		}
	}
	require.ErrorIs(t, a.Join(t.Context(), a.server), cluster.ErrJoined)
	require.True(t, a.told("up b"))
	b.leave(t)
	a.sees(t, "b gone", "c alive")
	require.True(t, a.told("draining b"))
	require.True(t, a.told("gone b"))
	require.False(t, a.told("dead b"))
	require.True(t, b.NATS().IsClosed())
	d := start(t, "b", "127.0.0.1:0", first)
	a.sees(t, "b gone", "b alive", "c alive")
	require.NotEqual(t, b.Node().ID, d.Node().ID, "a new process is another node")
}

// Nodes that start at the same moment find each other, whichever has the address of
// routes.
func TestNodesJoinAtOnce(t *testing.T) {
	goroutines(t)
	first := free(t)
	names := []string{"a", "b", "c"}
	joined := make(chan error, len(names))
	var nodes []*node
	for _, name := range names {
		n := prepare(t, name, first, nil, first)
		t.Cleanup(func() { n.kill(t) })
		nodes = append(nodes, n)
		go func() { joined <- n.Join(t.Context(), n.server) }()
	}
	for range names {
		require.NoError(t, <-joined)
	}
	for i, n := range nodes {
		n.sees(t, names[(i+1)%3]+" alive", names[(i+2)%3]+" alive")
	}
}

func TestJoinFails(t *testing.T) {
	goroutines(t)
	first := free(t)
	start(t, "a", first)
	over := errors.New("over")
	for _, row := range []struct {
		name   string
		change func(*cluster.Options, *engine.Options)
		says   string
	}{
		{"another path", func(_ *cluster.Options, o *engine.Options) { o.Path = "/other" }, "Options.Path"},
		{"binding", func(_ *cluster.Options, o *engine.Options) {
			o.Access.Bind = func(*engine.Request) string { return "" }
		}, "Options.Access.Bind"},
		{"NATS that is not there", func(o *cluster.Options, _ *engine.Options) { o.NATS = "nats://user:secret@127.0.0.1:1" }, "over"},
		{"embedded NATS that cannot start", func(o *cluster.Options, _ *engine.Options) {
			o.Embedded = func(cluster.EmbeddedConfig) (string, func(), error) { return "", nil, over }
		}, "over"},
		{"a port that is taken", func(o *cluster.Options, _ *engine.Options) { o.Listen = first }, "Options.Listen"},
		{"NATS that takes small messages", func(o *cluster.Options, _ *engine.Options) {
			o.Embedded = func(c cluster.EmbeddedConfig) (string, func(), error) { c.MaxPayload--; return embedded.Start(c) }
		}, "max_payload"},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := prepare(t, "b", "127.0.0.1:0", row.change, first)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if strings.HasPrefix(row.name, "NATS that is not") {
				cancel(over)
			}
			err := n.Join(ctx, n.server)
			require.ErrorContains(t, err, row.says)
			require.NotContains(t, fmt.Sprint(err), "secret")
			require.NoError(t, n.Leave(t.Context()), "there is nothing to leave")
			require.NoError(t, n.server.Close())
		})
	}
}
