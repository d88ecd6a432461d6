package engine_test

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/invariants"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

var (
	modelSeed     = flag.Uint64("model.seed", 0, "seed of the first model run; 0 chooses one")
	modelMessages = flag.Int("model.messages", 100_000, "messages of all model runs together, at least")
)

// A model's clients all have one address, and meet limits all the time.
var (
	modelExempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	modelLog    = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
)

// modelSession is what the model knows of one session: what was sent from
// either side and what arrived.
type modelSession struct {
	client   *modelClient
	session  *engine.Session
	accepted int // messages that Send accepted
	refused  int // messages that Send refused for a full queue
	arrived  int // messages that came from the client
	closed   bool
	reason   engine.Reason
	err      error
}

// modelRun is one World with some sessions under random operations.
type modelRun struct {
	t        *testing.T
	random   *rand.Rand
	world    *looptest.World
	server   *engine.Server
	sessions []*modelSession
	opening  *modelSession
	draining bool
	messages int
}

// TestModelDeliversOnceInOrder checks against a model that fits in a line:
// every message arrives once and in order, or the session has closed and what
// arrived is a beginning of what was sent.
func TestModelDeliversOnceInOrder(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	target := *modelMessages
	if testing.Short() {
		target /= 10
	}
	total, sessions, runs, upgraded := 0, 0, 0, 0
	reasons := map[string]int{}
	for ; total < target; seed++ {
		r := newModelRun(t, seed)
		r.run()
		total += r.messages
		sessions += len(r.sessions)
		runs++
		for _, s := range r.sessions {
			if s.client.upgraded {
				upgraded++
			}
			reasons[s.reason.String()]++
		}
		if t.Failed() {
			t.Fatalf("run with -model.seed=%d", seed)
		}
	}
	t.Logf("%d messages, %d sessions (%d on WebSocket at their end), %d runs, last seed %d, ends: %v",
		total, sessions, upgraded, runs, seed-1, reasons)
}

func newModelRun(t *testing.T, seed uint64) *modelRun {
	r := &modelRun{t: t, random: rand.New(rand.NewPCG(seed, 1))}
	options := engine.Options{MaxQueue: 256 << 10, Overflow: engine.OverflowDrop, Logger: modelLog, Exempt: modelExempt}
	switch r.random.IntN(4) {
	case 0:
		options.Overflow, options.MaxQueue = engine.OverflowClose, 16<<10
	case 1:
		options.MaxQueuePackets = 20
	case 2:
		options.QueueBudget = 256 << 10
	}
	server, err := engine.New(options, engine.Events{
		Open:    r.onOpen,
		Message: r.onMessage,
		Close:   r.onClose,
	})
	require.NoError(t, err)
	r.server = server
	r.world = looptest.NewWorld(1+r.random.IntN(3), loop.Options{HighWater: 8 << 10}, server.Accept)
	server.Bind(r.world.Loops())
	return r
}

func (r *modelRun) onOpen(s *engine.Session, _ *engine.Request) {
	r.opening.session = s
	s.SetValue(r.opening)
}

func (r *modelRun) onMessage(s *engine.Session, m engine.Message) {
	model := s.Value().(*modelSession)
	if n := number(m.Data); n != model.arrived {
		r.t.Errorf("server got message %d of %s, want %d", n, s.ID(), model.arrived)
	}
	model.arrived++
	r.messages++
	if r.random.IntN(4) == 0 {
		r.send(model)
	}
}

func (r *modelRun) onClose(s *engine.Session, reason engine.Reason, err error) {
	model := s.Value().(*modelSession)
	if model.closed {
		r.t.Errorf("session %s closed twice", s.ID())
	}
	model.closed, model.reason, model.err = true, reason, err
}

func (r *modelRun) send(model *modelSession) {
	if model.session == nil {
		return
	}
	p := numbered(r.random, model.accepted)
	m := engine.Message{Data: p, Binary: r.random.IntN(3) == 0}
	var err error
	if r.random.IntN(4) == 0 {
		err = model.session.SendPrepared(engine.Prepare(m))
	} else {
		err = model.session.Send(m)
	}
	switch err {
	case nil:
		model.accepted++
	case engine.ErrQueueFull, engine.ErrBudget:
		model.refused++
	}
}

const (
	modelClients = 6
	modelSteps   = 1500
)

func (r *modelRun) run() {
	for range modelClients {
		r.open()
	}
	for range modelSteps {
		r.operate(r.sessions[r.random.IntN(len(r.sessions))])
		r.settle(1 + r.random.IntN(3))
	}
	if r.random.IntN(2) == 0 {
		r.drain()
	}
	r.finish()
}

// drain closes all sessions, each in its turn, while everything goes on.
func (r *modelRun) drain() {
	const steps, step = 200, 10 * time.Millisecond
	r.draining = true
	engine.BeginDrain(r.server, time.Duration(r.random.IntN(steps/4))*step, time.Duration(r.random.IntN(steps/2))*step)
	for range steps {
		r.operate(r.sessions[r.random.IntN(len(r.sessions))])
		r.settle(1 + r.random.IntN(3))
		r.world.Advance(step)
	}
	for i, m := range r.sessions {
		if m.session.State() == engine.StateOpen {
			r.t.Errorf("session %d was not asked to end", i)
		}
	}
}

// open begins a session and waits until it is there.
func (r *modelRun) open() {
	revision := engine.Revision4
	if r.random.IntN(2) == 0 {
		revision = engine.Revision3
	}
	model := &modelSession{}
	model.client = &modelClient{world: r.world, random: r.random, revision: revision, fail: func(format string, args ...any) {
		r.t.Errorf("client: "+format, args...)
	}}
	r.sessions = append(r.sessions, model)
	r.opening = model
	transport := "polling"
	if r.random.IntN(4) == 0 {
		transport = "websocket"
	}
	model.client.connect(transport)
	for range 5000 {
		r.settle(1)
		if model.client.sid != "" {
			return
		}
	}
	r.t.Fatalf("no session: %+v", model.client)
}

func (r *modelRun) operate(m *modelSession) {
	switch n := r.random.IntN(1000); {
	case n < 400:
		for range 1 + r.random.IntN(4) {
			m.client.message()
		}
	case n < 800:
		for range 1 + r.random.IntN(6) {
			r.send(m)
		}
	case n < 850:
		m.client.startUpgrade()
	case n < 870:
		if w := wsPeer(m.client.websocket); w != nil {
			w.SetWindow(1 + r.random.IntN(2000))
		}
	case n < 880:
		r.world.Advance(time.Duration(r.random.IntN(50)) * time.Millisecond)
	case n < 884:
		m.session.Close()
	case n < 887:
		m.client.control(closePacket(m.client.revision))
	case n < 890:
		m.client.vanish()
	case n < 900 && m.client.websocket != nil && !m.client.upgraded:
		m.client.websocket.peer.Reset() // the probe is lost
		m.client.lostWS()
	}
	if m.closed && !r.draining && len(r.sessions) < 8*modelClients && r.random.IntN(4) == 0 {
		r.open()
	}
}

func closePacket(engine.Revision) string { return "1" }

// settle lets both sides work for some rounds.
func (r *modelRun) settle(rounds int) {
	for range rounds {
		r.world.Run()
		for _, m := range r.sessions {
			m.client.step()
		}
	}
}

// finish lets all slow readers catch up, and compares.
func (r *modelRun) finish() {
	for range 400 {
		for _, m := range r.sessions {
			for _, p := range []*looptest.Peer{peerOf(m.client.poll), peerOf(m.client.post), wsPeer(m.client.websocket)} {
				if p != nil {
					p.SetWindow(1 << 20)
				}
			}
		}
		r.settle(1)
	}
	for i, m := range r.sessions {
		r.compare(i, m)
	}
	r.server.CloseSessions()
	for range 50 {
		r.settle(1)
	}
	r.world.Advance(2 * time.Minute)
	require.Zero(r.t, r.server.Stats().Sessions)
	r.world.Close()
	require.Zero(r.t, r.world.Sockets())
	require.Zero(r.t, r.server.Stats().Queued)
	if invariants.Enabled {
		require.Zero(r.t, pool.Outstanding())
	}
}

func (r *modelRun) compare(i int, m *modelSession) {
	c := m.client
	r.messages += c.received
	name := fmt.Sprintf("session %d (revision %d, upgraded %v, closed %v %v %v)", i, c.revision, c.upgraded, m.closed, m.reason, m.err)
	if m.arrived > c.sent {
		r.t.Errorf("%s: %d messages arrived at the server of %d sent", name, m.arrived, c.sent)
	}
	if c.received > m.accepted {
		r.t.Errorf("%s: %d messages arrived at the client of %d accepted", name, c.received, m.accepted)
	}
	if c.vanished {
		return
	}
	orderly := m.closed && (m.reason == engine.ReasonForcedClose || m.reason == engine.ReasonShutdown) && m.err == nil
	if (!m.closed || orderly) && c.received != m.accepted {
		r.t.Errorf("%s: %d messages arrived at the client, all of %d should have", name, c.received, m.accepted)
	}
	if !m.closed && (c.over || m.arrived != c.next || len(c.queue) > 0) {
		r.t.Errorf("%s: %d messages arrived at the server of %d, client over %v", name, m.arrived, c.next, c.over)
	}
}
