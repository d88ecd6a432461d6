package engine_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/race"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

const (
	busyInterval = 4 * time.Second
	busyTimeout  = 4 * time.Second
	// busySlow is how long a callback on the loop takes at most. A ping comes half a
	// timeout and three callbacks late at most, see TestPingsDoNotWaitForPongsThatAreUnread,
	// and no later than a client waits for it.
	busySlow = busyTimeout / 6
	// busyGrace is how long after its deadline a session may end at most: the time
	// of some looks at all sockets, each with its callbacks.
	busyGrace = 8 * time.Second
)

// modelBusy is an application whose callbacks take their time: the World's clock
// goes on in them, and so do the clients. A nil one is none.
type modelBusy struct {
	random *rand.Rand
	slow   bool // few callbacks of seconds; else many of milliseconds, in floods
	pool   bool // callbacks are an Executor's, and do not hold up the loop
	world  *looptest.World
	driver *modelDriver
	quick  bool

	within bool          // a callback
	spent  time.Duration // in callbacks
	mutes  int           // clients that fell silent
}

func newModelBusy(seed uint64) *modelBusy {
	random := rand.New(rand.NewPCG(seed, 5))
	return &modelBusy{random: random, slow: random.IntN(2) == 0}
}

func (b *modelBusy) options(o *engine.Options) {
	o.PingInterval, o.PingTimeout, o.Loops = busyInterval, busyTimeout, 1
	o.Timeouts.SlowCallback = -1
}

func (b *modelBusy) begin(world *looptest.World, d *modelDriver) {
	if b != nil {
		b.world, b.driver = world, d
		d.net = &busyNet{worldNet: d.net.(*worldNet), busy: b}
	}
}

// calm is for when all is to come to rest.
func (b *modelBusy) calm() {
	if b != nil {
		b.quick = true
	}
}

// expect makes a client as impatient as the official one.
func (b *modelBusy) expect(c *modelClient) {
	if b != nil {
		c.patience, c.pingEvery = busyInterval+busyTimeout, busyInterval/2
	}
}

// work is a callback. Clients read and write meanwhile, in their own processes.
func (b *modelBusy) work() {
	if b == nil || b.quick || b.within {
		return
	}
	d := time.Duration(0)
	switch n := b.random.IntN(100); {
	case b.slow && b.pool && n < 5: // longer than a client waits for a ping
		d = time.Duration(b.random.IntN(12_000)) * time.Millisecond
	case b.slow && n < 10:
		d = time.Duration(b.random.Int64N(int64(busySlow)))
	case !b.slow && n < 50:
		d = time.Duration(b.random.IntN(20)) * time.Millisecond
	}
	if d == 0 {
		return
	}
	b.within = true
	pass := b.world.Spend
	if b.pool {
		pass = b.world.Advance
	}
	for left := d; left > 0; left -= 100 * time.Millisecond {
		pass(min(left, 100*time.Millisecond))
		b.driver.step()
	}
	b.within = false
	b.spent += d
}

// operate does to the session what other models do not, and looks whether those
// that fell silent are rid of in time.
func (b *modelBusy) operate(m *modelSession) bool {
	if b == nil {
		return false
	}
	for _, other := range b.driver.sessions {
		b.judge(other)
	}
	switch n := b.random.IntN(200); {
	case n < 4 && !b.slow && !m.client.over: // a flood
		for range 20 + b.random.IntN(60) {
			m.client.message()
		}
	case n == 4 && !m.client.over && m.client.sid != "":
		m.client.mute()
		b.mutes++
	default:
		return false
	}
	return true
}

func (b *modelBusy) judge(m *modelSession) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since := m.client.muteSince
	// Nobody is required to answer before what it has sent is dealt with, which
	// an Executor may not do for long.
	if since > 0 && !m.closed && !b.pool && b.world.Now()-since > busyInterval+busyTimeout+busyGrace {
		b.driver.run.violation("session %d fell silent %v ago and has not ended", m.client.name, b.world.Now()-since)
		m.client.muteSince = 0 // once is enough
	}
}

// busyNet is a World that does not come to rest between two steps of clients.
type busyNet struct {
	*worldNet
	busy *modelBusy
}

// Between does nothing: the server's callbacks let clients work, and one of them
// is at it.
func (n *busyNet) Between() {}

// Settle is one look at what is ready. If there is nothing, time passes.
func (n *busyNet) Settle() {
	n.executor.work()
	if !n.Turn() {
		n.Advance(time.Duration(1+n.random.IntN(20)) * time.Millisecond)
	}
}

// TestModelWithBusyLoads is TestModelDeliversOnceInOrder with an application
// that takes its time, and clients that send more than it can deal with. Every
// client is as impatient as the official one: no client that answers is ended for
// silence, nobody has reason to leave, and whoever is silent is ended. The same
// with an Executor, where clients that wait for it are pinged all the same.
func TestModelWithBusyLoads(t *testing.T) {
	const enough = 10 * (busyInterval + busyTimeout) // time in callbacks
	target := int64(*modelMessages) / 4
	if testing.Short() || race.Enabled { // one goroutine: the detector finds nothing here
		target /= 10
	}
	for _, pool := range []bool{false, true} {
		var counts modelCounts
		var spent time.Duration
		mutes := map[bool]int{} // by whether callbacks were slow
		goOn := func() bool {
			return counts.messages.Load() < target || (mutes[true] == 0 || mutes[false] == 0 || spent <= enough) && counts.runs < 50
		}
		modelSeeds(t, &counts, goOn, func(seed uint64) {
			busy := newModelBusy(seed)
			busy.pool = pool
			var executor *modelExecutor
			if pool {
				executor = newModelExecutor(seed)
			}
			r := newModelRun(t, seed, &counts, busy.options, executor.options)
			r.busy = busy
			runModelWith(t, r, nil, executor)
			spent += busy.spent
			mutes[busy.slow] += busy.mutes
		})
		t.Logf("%v in callbacks, %d clients fell silent, %d had to wait", spent, mutes[true]+mutes[false], counts.limits(engine.LimitPending))
		require.Greater(t, spent, enough)
		require.NotZero(t, counts.ends[engine.ReasonPingTimeout.String()])
	}
}
