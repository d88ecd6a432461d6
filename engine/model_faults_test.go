package engine_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/certs"
	"turbine/internal/invariants"
	"turbine/internal/race"
	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// modelRates let a connection live for some thousand calls.
var modelRates = looptest.Rates{
	Short: 500, NotNow: 300, Interrupted: 200, Shortage: 100, Broken: 20, Watch: 50, Accept: 300,
}

// TestModelOnFaults is TestModelDeliversOnceInOrder where system calls fail at
// random: connections break, and so do sessions, but nothing is lost of those
// that live, or that end in good order.
func TestModelOnFaults(t *testing.T) {
	target := int64(*modelMessages) / 4
	if testing.Short() || race.Enabled { // one goroutine: the detector finds nothing here
		target /= 10
	}
	var counts modelCounts
	modelSeeds(t, &counts, func() bool { return counts.messages.Load() < target }, func(seed uint64) {
		runModelInWorld(t, seed, looptest.NewFaulty(seed, modelRates), nil, &counts)
	})
	requireFaults(t, &counts, "short", "EAGAIN", "EINTR", "shortage")
}

// TestModelOnFaultySockets is the same on the real kernel, with several loops
// and clients that are plain sockets.
func TestModelOnFaultySockets(t *testing.T) { modelOnFaultySockets(t, false) }

// TestModelOverTLSOnFaultySockets is the same over TLS.
func TestModelOverTLSOnFaultySockets(t *testing.T) { modelOnFaultySockets(t, true) }

func modelOnFaultySockets(t *testing.T, secure bool) {
	steps := 500
	if testing.Short() {
		steps = 50
	}
	var counts modelCounts
	modelSeeds(t, &counts, func() bool { return false }, func(seed uint64) {
		runModelOnSockets(t, seed, steps, secure, &counts)
	})
	requireFaults(t, &counts, "short", "EAGAIN", "EINTR", "shortage")
}

func requireFaults(t *testing.T, counts *modelCounts, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		require.NotZero(t, counts.faults[kind], kind)
	}
}

const (
	socketDrivers = 6
	modelPatience = time.Minute
)

// runModelOnSockets is one run on a reactor of four loops. The faults are the
// same for the same seed, what they hit is not.
func runModelOnSockets(t *testing.T, seed uint64, steps int, secure bool, counts *modelCounts, change ...func(*engine.Options)) {
	serveModelOnSockets(t, newModelRun(t, seed, counts, change...), steps, secure)
}

// serveModelOnSockets is one run on sockets of a model that was made for it.
func serveModelOnSockets(t *testing.T, r *modelRun, steps int, secure bool) {
	seed := r.seed
	r.faulty = true
	faults := looptest.NewFaulty(seed, modelRates)
	o := r.server.Driver().LoopOptions()
	o.HighWater, o.Faults, o.Logger = 8<<10, faults, slog.New(slog.NewTextHandler(io.Discard, nil))
	accept, config := r.server.Driver().Accept, (*tls.Config)(nil)
	if secure {
		authority := certs.New(t)
		config = &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost"}
		accept = loop.NewTLS(loop.TLSOptions{
			Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}}, Logger: o.Logger,
		}).Accept(accept)
	}
	reactor, err := loop.Open(o, accept)
	require.NoError(t, err)
	r.server.Driver().UseLoops(reactor.Loops())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, reactor.Listen(listener, nil))
	served := make(chan error, 1)
	go func() { served <- reactor.Serve() }()

	drivers := make([]*modelDriver, socketDrivers)
	nets := make([]*socketNet, socketDrivers)
	for i := range drivers {
		random := rand.New(rand.NewPCG(seed, uint64(10+i)))
		nets[i] = newSocketNet(address, config, random)
		drivers[i] = &modelDriver{run: r, net: nets[i], random: random, steps: steps}
	}
	inParallel(drivers, (*modelDriver).drive)
	r.order.calm()
	faults.Heal()
	inParallel(drivers, func(d *modelDriver) {
		d.catchUp()
		d.until(d.quiet)
	})
	r.compare()
	r.server.CloseSessions()
	inParallel(drivers, func(d *modelDriver) {
		d.until(func() bool { now := r.server.Stats(); return now.Sessions == 0 && now.Pending == 0 })
	})
	require.Zero(t, r.server.Stats().Sessions)
	for _, n := range nets {
		n.close()
	}
	reactor.Stop()
	require.NoError(t, <-served)
	require.Zero(t, reactor.Stats().Conns)
	require.Zero(t, r.server.Stats().Queued)
	if invariants.Enabled {
		require.Zero(t, engine.OnLoan())
	}
	r.count(faults)
}

func inParallel(drivers []*modelDriver, f func(*modelDriver)) {
	var all sync.WaitGroup
	for _, d := range drivers {
		all.Go(func() { f(d) })
	}
	all.Wait()
}

// until settles until done says so, or nobody has patience any more.
func (d *modelDriver) until(done func() bool) {
	for end := time.Now().Add(modelPatience); !done() && time.Now().Before(end); {
		d.settle(1)
	}
}

// quiet reports whether nothing is under way.
func (d *modelDriver) quiet() bool {
	for _, m := range d.sessions {
		m.mu.Lock()
		c := m.client
		quiet := c.over || !m.closed && c.received == m.accepted && m.arrived == c.next
		m.mu.Unlock()
		if !quiet {
			return false
		}
	}
	return true
}
