package engine_test

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/invariants"
	"turbine/internal/race"
	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

var (
	modelSeed     = flag.Uint64("model.seed", 0, "seed of the first model run; 0 chooses one")
	modelPacked   = flag.Int("model.packed", 4, "model runs of each kind with large messages")
	modelMessages = flag.Int("model.messages", 100_000, "messages of all model runs together, at least")
)

// A model's clients all have one address, and meet limits all the time.
var (
	modelExempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")}
	modelLog    = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
)

// modelSession is what the model knows of one session: what was sent from
// either side and what arrived.
type modelSession struct {
	client *modelClient

	mu       sync.Mutex
	random   *rand.Rand         // of the server's side
	session  *engine.Session    // nil before it is open
	accepted int                // messages that Send accepted
	arrived  int                // messages that came from the client
	ended    bool               // by Close or CloseWith
	told     engine.ClosedByApp // what CloseWith has accepted; zero after Close
	now      bool               // by CloseNow
	sents    []int              // messages whose SendOptions.Sent is due
	closed   bool
	home     *engine.Server // where it has begun
	gone     bool           // with its node
	reason   engine.Reason
	err      error
}

// modelRun is one server and its sessions under random operations.
type modelRun struct {
	t      *testing.T
	seed   uint64
	server *engine.Server
	faulty bool // connections break without anybody's doing
	budget bool // connections are cut that take too little of a response
	busy   *modelBusy
	order  *modelOrder
	packs  *modelPacks
	counts *modelCounts

	mu       sync.Mutex
	sessions []*modelSession // by name
}

// modelCounts are the figures of some runs together.
type modelCounts struct {
	messages, sessions, upgraded, told, violations atomic.Int64
	runs                                           int

	mu     sync.Mutex
	ends   map[string]int // of sessions, by reason
	met    [engine.NumLimits]int64
	faults map[string]int64 // by kind
}

func (c *modelCounts) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d messages, %d sessions (%d on WebSocket at their end, %d told a code), %d runs, %d violations, ends: %v, faults: %v",
		c.messages.Load(), c.sessions.Load(), c.upgraded.Load(), c.told.Load(), c.runs, c.violations.Load(), c.ends, c.faults)
}

// modelSeeds calls run with one seed after another until go on says no.
func modelSeeds(t *testing.T, counts *modelCounts, goOn func() bool, run func(seed uint64)) {
	t.Helper()
	counts.mu.Lock()
	counts.ends, counts.faults = map[string]int{}, map[string]int64{}
	counts.mu.Unlock()
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	first := seed
	for ; counts.runs == 0 || goOn(); seed++ {
		run(seed)
		counts.runs++
		if t.Failed() {
			t.Fatalf("seed: -model.seed=%d", seed)
		}
	}
	t.Logf("%v, seeds from %d", counts, first)
}

// TestModelDeliversOnceInOrder checks against a model that fits in a line:
// every message arrives once and in order, or the session has closed and what
// arrived is a beginning of what was sent. After Close and CloseWith it is all that
// was accepted before, and on WebSocket the code and the reason of CloseWith.
func TestModelDeliversOnceInOrder(t *testing.T) {
	target := int64(*modelMessages)
	if testing.Short() || race.Enabled { // one goroutine: the detector finds nothing here
		target /= 10
	}
	var counts modelCounts
	goOn := func() bool {
		return counts.messages.Load() < target || counts.told.Load() == 0 && counts.runs < 50
	}
	modelSeeds(t, &counts, goOn, func(seed uint64) {
		runModelInWorld(t, seed, nil, nil, &counts)
	})
	require.Positive(t, counts.told.Load(), "clients that were told a code and a reason")
}

// runModelInWorld is one run in memory. It goes the same way for the same seed.
func runModelInWorld(t *testing.T, seed uint64, faults *looptest.Faulty, executor *modelExecutor, counts *modelCounts) {
	runModelWith(t, newModelRun(t, seed, counts, executor.options), faults, executor)
}

// runModelWith is one run in memory of a model that was made for it.
func runModelWith(t *testing.T, r *modelRun, faults *looptest.Faulty, executor *modelExecutor) {
	random := rand.New(rand.NewPCG(r.seed, 1))
	o := loop.Options{HighWater: 8 << 10}
	if faults != nil {
		r.faulty, o.Faults = true, faults
	}
	loops := 1 + random.IntN(3)
	if r.busy != nil {
		loops = 1 // while one is busy, the time of others would stand still
	}
	world := looptest.NewWorld(loops, o, r.server.Driver().Accept)
	r.server.Driver().UseLoops(world.Loops())
	net := &worldNet{World: world, random: random, faulty: r.faulty, executor: executor}
	d := &modelDriver{run: r, net: net, random: random, steps: 1500}
	r.busy.begin(world, d)
	r.packs.begin(world)
	net.packs = r.packs
	if r.packs != nil {
		d.steps = packedSteps
	}
	if r.order != nil {
		d.steps = orderSteps
	}
	d.drive()
	r.busy.calm()
	r.order.calm()
	if r.busy == nil && r.order == nil && random.IntN(2) == 0 {
		d.drain(world)
	}
	r.packs.calm()
	if faults != nil {
		faults.Heal()
	}
	executor.hurry()
	for range 400 {
		d.catchUp()
		d.settle(1)
	}
	r.compare()
	r.server.CloseSessions()
	for range 50 {
		d.settle(1)
	}
	world.Advance(2 * time.Minute)
	executor.work()
	require.Zero(t, r.server.Stats().Pending)
	require.Zero(t, r.server.Stats().Sessions)
	world.Close()
	require.Zero(t, world.Sockets())
	require.Zero(t, r.server.Stats().Queued)
	if invariants.Enabled {
		require.Zero(t, engine.OnLoan())
	}
	r.count(faults)
}

// worldNet is a World as a modelNet.
type worldNet struct {
	*looptest.World
	random   *rand.Rand
	faulty   bool
	executor *modelExecutor
	packs    *modelPacks
}

func (n *worldNet) Dial() modelPeer { return n.World.Dial() }
func (n *worldNet) Between()        { n.Run() }
func (n *worldNet) Pass()           { n.Advance(time.Duration(n.random.IntN(50)) * time.Millisecond) }

// Patience counts: a World does not work while nobody looks.
func (n *worldNet) Patience() func() bool {
	steps := 0
	return func() bool { steps++; return steps <= 5000 }
}

// Settle lets rests end, too, and misleads the loops, where there are faults.
func (n *worldNet) Settle() {
	if n.packs.turns(n.random) {
		n.Run()
	}
	n.executor.work()
	if !n.faulty {
		return
	}
	n.Mislead(n.random.IntN(64))
	if n.random.IntN(8) == 0 {
		n.Pass()
	}
}

func newModelRun(t *testing.T, seed uint64, counts *modelCounts, change ...func(*engine.Options)) *modelRun {
	r := &modelRun{t: t, seed: seed, counts: counts}
	options := r.options()
	for _, f := range change {
		f(&options)
	}
	server, err := engine.New(options, r.events())
	require.NoError(t, err)
	r.server = server
	return r
}

func (r *modelRun) events() engine.Events {
	return engine.Events{Open: r.onOpen, Message: r.onMessage, Close: r.onClose}
}

// options are some that suit the seed.
func (r *modelRun) options() engine.Options {
	options := engine.Options{
		Loops: 4, PingInterval: 10 * time.Second, PingTimeout: 10 * time.Second, Timeouts: engine.Timeouts{Close: 2 * time.Second},
		Queue: engine.Queue{MaxBytes: 256 << 10, Overflow: engine.OverflowDrop}, Logger: modelLog, Limits: engine.Limits{Exempt: modelExempt},
	}
	switch rand.New(rand.NewPCG(r.seed, 2)).IntN(4) {
	case 0:
		options.Queue.Overflow, options.Queue.MaxBytes = engine.OverflowClose, 16<<10
	case 1:
		options.Queue.MaxPackets = 20
	case 2:
		options.Queue.Budget, r.budget = 256<<10, true
	}
	return options
}

// violation is what must never happen.
func (r *modelRun) violation(format string, args ...any) {
	r.counts.violations.Add(1)
	r.t.Errorf(format, args...)
}

func (r *modelRun) onOpen(s *engine.Session, request *engine.Request) {
	name, _ := strconv.Atoi(request.Query("name"))
	r.mu.Lock()
	m := r.sessions[name]
	r.mu.Unlock()
	m.mu.Lock()
	m.session, m.home = s, s.Server()
	m.mu.Unlock()
	s.SetValue(m)
}

func (r *modelRun) onMessage(s *engine.Session, message engine.Message) {
	m := s.Value().(*modelSession)
	r.busy.work()
	r.order.fromCallback(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	defer r.packs.panic()
	if n := number(message.Data); n != m.arrived {
		r.violation("server got message %d of %s, want %d", n, s.ID(), m.arrived)
	}
	m.arrived++
	r.counts.messages.Add(1)
	if r.order == nil && m.random.IntN(4) == 0 {
		m.send()
	}
}

func (r *modelRun) onClose(s *engine.Session, reason engine.Reason, err error) {
	m := s.Value().(*modelSession)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		r.violation("session %s closed twice", s.ID())
	}
	m.closed, m.reason, m.err = true, reason, err
	if r.busy != nil && reason == engine.ReasonPingTimeout && m.client.muteSince == 0 && !m.client.vanished {
		r.violation("session %d, which answers, has a ping timeout", m.client.name)
	}
	r.counts.mu.Lock()
	r.counts.ends[reason.String()]++
	r.counts.mu.Unlock()
}

// send sends the next message to the client. m.mu is held.
func (m *modelSession) send() {
	if m.session == nil {
		return
	}
	message := engine.Message{Data: m.client.packs.grow(m.random, numbered(m.random, m.accepted)), Binary: m.random.IntN(3) == 0}
	var err error
	if m.client.packs != nil {
		err = m.sendPacked(message)
	} else if m.random.IntN(4) == 0 {
		var p *engine.Prepared
		if p, err = engine.Prepare(message); err == nil {
			err = m.session.SendPrepared(p)
		}
	} else {
		err = m.session.Send(message)
	}
	if err == nil {
		m.accepted++
		if m.ended {
			m.client.fail("session %d has accepted a message after its Close", m.client.name)
		}
	}
}

// add makes a session to be.
func (r *modelRun) add(net modelNet, random *rand.Rand) *modelSession {
	m := &modelSession{random: rand.New(rand.NewPCG(random.Uint64(), 3))}
	m.client = &modelClient{net: net, random: random, revision: engine.Revision4, fail: func(format string, args ...any) {
		r.violation("client: "+format, args...)
	}}
	m.client.packs = r.packs
	r.busy.expect(m.client)
	if r.order != nil {
		m.client.heard = func(p []byte) { r.order.got(m, p) }
	}
	if random.IntN(2) == 0 {
		m.client.revision = engine.Revision3
		m.client.base64 = r.packs != nil && random.IntN(3) == 0
	}
	if _, nodes := net.(*nodesNet); nodes {
		m.client.jsonp = random.IntN(4) == 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.client.name = len(r.sessions)
	r.sessions = append(r.sessions, m)
	return m
}

// compare is for when all is at rest.
func (r *modelRun) compare() {
	for _, m := range r.sessions {
		r.compareOne(m)
	}
}

func (r *modelRun) compareOne(m *modelSession) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.client
	name := fmt.Sprintf("session %d (revision %d, upgraded %v, closed %v %v %v)", c.name, c.revision, c.upgraded, m.closed, m.reason, m.err)
	if m.arrived > c.sent {
		r.violation("%s: %d messages arrived at the server of %d sent", name, m.arrived, c.sent)
	}
	if c.received > m.accepted {
		r.violation("%s: %d messages arrived at the client of %d accepted", name, c.received, m.accepted)
	}
	byApp, isByApp := m.err.(*engine.ClosedByApp)
	if isByApp && (*byApp != m.told || m.reason != engine.ReasonForcedClose) {
		r.violation("%s: CloseWith was %+v", name, m.told)
	}
	if m.told.Code != 0 && !m.now && m.closed && m.err == nil && m.reason == engine.ReasonForcedClose {
		r.violation("%s: Close is not told what CloseWith was: %+v", name, m.told)
	}
	if c.vanished || m.gone || (r.faulty && c.over || r.budget && c.cut) && !(c.goodbye && m.closed) {
		return // a connection was lost: the session is over, whether the server knows yet or not
	}
	if m.session == nil && c.over && r.server.Stats().Limits[engine.LimitPendingBudget] > 0 {
		return // there was no room for its Open: it never began
	}
	orderly := m.closed && (m.reason == engine.ReasonForcedClose || m.reason == engine.ReasonShutdown) && (m.err == nil || isByApp) && !m.now
	if orderly && c.goodbye && c.upgraded {
		if c.told != m.told {
			r.violation("%s: the client is told %+v at its end, not %+v", name, c.told, m.told)
		}
		if isByApp {
			r.counts.told.Add(1)
		}
	}
	if r.order != nil {
		if (!m.closed || orderly) && !r.order.settled(m, orderly) {
			r.violation("%s: some of what callers had for the client has not arrived: %v", name, r.order.due[m])
		}
	} else if (!m.closed || orderly) && c.received != m.accepted {
		r.violation("%s: %d messages arrived at the client, all of %d should have", name, c.received, m.accepted)
	}
	if !m.closed && len(m.sents) > 0 {
		r.violation("%s: messages whose Sent was not called: %v", name, m.sents)
	}
	if !m.closed && (c.over || m.arrived != c.next || len(c.queue) > 0) {
		r.violation("%s: %d messages arrived at the server of %d, client over %v", name, m.arrived, c.next, c.over)
	}
}

// limits is how often a limit was met.
func (c *modelCounts) limits(limit engine.Limit) int64 { return c.met[limit] }

// count adds the run to the figures.
func (r *modelRun) count(faults *looptest.Faulty) {
	for limit, n := range r.server.Stats().Limits {
		r.counts.met[limit] += n
	}
	if faults != nil {
		r.counts.mu.Lock()
		for kind, n := range faults.Counts() {
			r.counts.faults[kind] += n
		}
		r.counts.mu.Unlock()
	}
	for _, m := range r.sessions {
		r.counts.messages.Add(int64(m.client.received))
		if m.session != nil {
			r.counts.sessions.Add(1)
		}
		if m.client.upgraded {
			r.counts.upgraded.Add(1)
		}
	}
}
