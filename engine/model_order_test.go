package engine_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"turbine/engine"
	"turbine/internal/race"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

const (
	orderCrowd  = 240 // sessions: on each of three loops more than a walk visits in one turn
	orderGroups = 3   // of each caller
	orderSteps  = 60
)

// modelOrder is callers that send, publish, join, leave and close, and what each
// client is still to get of each of them, in the order of the calls. Callers are
// the drivers, and the callbacks of each session. A nil one is none.
type modelOrder struct {
	run *modelRun

	mu      sync.Mutex // held around each call, so that a client cannot be early
	crowd   []*modelSession
	callers map[int]*modelCaller
	due     map[*modelSession]map[int][]int // numbers of messages, by caller
	closer  map[*modelSession]int           // the callers that have closed it
	drivers int
	size    int                  // of the crowd
	ready   int                  // drivers whose part of the crowd is there
	opened  sync.WaitGroup       // for all of them
	over    bool                 // no more calls: clients are to come to rest, each by itself
	fanned  int                  // messages for many
	asked   int64                // Done is asked for
	dones   atomic.Int64         // Done was called
	keyed   map[int]map[int]bool // messages with the key of their caller, by caller; true if they merge
	gone    int                  // messages that another one of their key has replaced
	merged  int                  // messages that arrived in one with others
}

// modelCaller is one goroutine, or the callbacks of one session. It alone uses its
// groups, so what it publishes has to reach exactly those that it has joined.
type modelCaller struct {
	id, calls int
	random    *rand.Rand
	last      *modelSession // that it called for; mostly for several calls, so that its messages meet
	members   [orderGroups]map[*modelSession]bool
}

func newModelOrder(r *modelRun, drivers int) *modelOrder {
	o := &modelOrder{
		run: r, callers: map[int]*modelCaller{}, due: map[*modelSession]map[int][]int{}, closer: map[*modelSession]int{}, keyed: map[int]map[int]bool{},
		drivers: drivers, size: orderCrowd,
	}
	o.opened.Add(drivers)
	return o
}

// orderOptions let no message be dropped for want of room.
func orderOptions(o *engine.Options) {
	o.Queue.Overflow, o.Queue.MaxBytes, o.Queue.MaxPackets, o.Queue.Budget = engine.OverflowClose, 64<<20, 1<<20, 1<<30
}

// caller finds the caller of that number. o.mu is held.
func (o *modelOrder) caller(id int) *modelCaller {
	c := o.callers[id]
	if c == nil {
		c = &modelCaller{id: id, random: rand.New(rand.NewPCG(o.run.seed, uint64(100+id)))}
		for i := range c.members {
			c.members[i] = map[*modelSession]bool{}
		}
		o.callers[id] = c
	}
	return c
}

// drive is modelDriver.drive for a crowd of which only those that are closed leave.
func (o *modelOrder) drive(d *modelDriver) {
	for range o.size / o.drivers {
		d.open()
	}
	for patient := d.net.Patience(); !d.begun() && patient(); {
		d.settle(1)
	}
	o.mu.Lock()
	id := 2 * o.ready // those of sessions are odd
	o.ready++
	for _, m := range d.sessions {
		if m.opened() {
			o.crowd = append(o.crowd, m)
		}
	}
	o.mu.Unlock()
	o.opened.Done()
	o.opened.Wait()
	for range d.steps {
		for range d.random.IntN(4) {
			d.sessions[d.random.IntN(len(d.sessions))].client.message() // its callbacks are a caller
		}
		for range 1 + d.random.IntN(8) {
			o.act(id)
			if d.random.IntN(3) == 0 {
				d.net.Turn()
			}
		}
		c := d.sessions[d.random.IntN(len(d.sessions))].client
		switch n := d.random.IntN(40); {
		case n < 20:
			c.startUpgrade()
		case n < 24 && c.websocket != nil:
			c.websocket.peer.SetWindow(1 + d.random.IntN(2000))
		case n == 24:
			c.control(closePacket(c.revision))
		case n == 25:
			c.vanish()
		case n == 26:
			d.net.Pass()
		}
		d.settle(1 + d.random.IntN(2))
	}
}

// begun reports whether each session is there, or cannot be.
func (d *modelDriver) begun() bool {
	for _, m := range d.sessions {
		if !m.client.over && !m.opened() {
			return false
		}
	}
	return true
}

func (m *modelSession) opened() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.session != nil
}

// fromCallback is what the callbacks of m do: now and then nothing.
func (o *modelOrder) fromCallback(m *modelSession) {
	if o == nil {
		return
	}
	for n := o.calling(m); n > 0; n-- {
		o.act(2*m.client.name + 1)
	}
}

func (o *modelOrder) calling(m *modelSession) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ready < o.drivers || o.over {
		return 0 // not all are there, or those that are come to rest
	}
	return o.caller(2*m.client.name + 1).random.IntN(4)
}

// calm is for when all is to come to rest.
func (o *modelOrder) calm() {
	if o != nil {
		o.mu.Lock()
		o.over = true
		o.mu.Unlock()
	}
}

// act is one call of the caller of that number.
func (o *modelOrder) act(id int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	c := o.caller(id)
	c.calls++
	if c.last == nil || c.random.IntN(6) == 0 {
		c.last = o.crowd[c.random.IntN(len(o.crowd))]
	}
	m := c.last
	in := c.random.IntN(orderGroups)
	group := fmt.Sprintf("%d of %d", in, c.id)
	part := c.random.IntN(3)
	keep := func(s *engine.Session) bool { return s.Value().(*modelSession).client.name%3 == part }
	kept := func(m *modelSession) bool { return m.client.name%3 == part }
	member := func(m *modelSession) bool { return c.members[in][m] }
	server := o.run.server
	switch n := c.random.IntN(100); {
	case n < 30:
		text := o.next(c)
		o.owe(c, m)
		o.answered(c, m, m.session.SendWith(engine.Message{Data: text, Binary: n%2 == 0}, o.options(c)))
	case n < 40:
		p := o.prepare(c)
		o.owe(c, m)
		o.answered(c, m, m.session.SendPrepared(p))
	case n < 47:
		o.oweAll(c, func(*modelSession) bool { return true })
		_ = server.Broadcast(o.prepare(c))
	case n < 50:
		o.oweAll(c, kept)
		_ = server.PublishTo(engine.Audience{Keep: keep}, o.prepare(c))
	case n < 62:
		o.oweAll(c, member)
		_ = server.Publish(group, o.prepare(c))
	case n < 68:
		a, to := o.audience(c)
		if c.random.IntN(2) == 0 {
			a.Keep = keep
			o.oweAll(c, func(m *modelSession) bool { return to(m) && kept(m) })
		} else {
			o.oweAll(c, to)
		}
		if server.PublishTo(a, o.prepare(c)) == nil {
			o.asked++
		}
	case n < 80:
		c.members[in][m] = true
		m.session.Join(group)
	case n < 86: // as many as fill more than a portion
		for _, m := range o.crowd[c.random.IntN(len(o.crowd)):] {
			c.members[in][m] = true
			m.session.Join(group)
		}
	case n < 98:
		delete(c.members[in], m)
		m.session.Leave(group)
	case n < 99 && len(o.closer) < len(o.crowd)/4:
		if _, closed := o.closer[m]; !closed {
			o.closer[m] = c.id
		}
		m.close(c.random)
	}
}

// audience is made at random, of groups of the caller and of sessions. It also returns
// which sessions are in it.
func (o *modelOrder) audience(c *modelCaller) (a engine.Audience, to func(*modelSession) bool) {
	var groups, except [orderGroups]bool
	listed, out := map[*modelSession]bool{}, map[*modelSession]bool{}
	everybody := c.random.IntN(4) == 0
	for i := range orderGroups {
		name := fmt.Sprintf("%d of %d", i, c.id)
		if !everybody && c.random.IntN(2) == 0 {
			a.Groups, groups[i] = append(a.Groups, name, name), true
		}
		if c.random.IntN(4) == 0 {
			a.Except, except[i] = append(a.Except, name), true
		}
	}
	for range c.random.IntN(5) {
		m := o.crowd[c.random.IntN(len(o.crowd))]
		if !everybody {
			a.Sessions, listed[m] = append(a.Sessions, m.session, m.session), true
		}
		m = o.crowd[c.random.IntN(len(o.crowd))]
		a.ExceptSessions, out[m] = append(a.ExceptSessions, m.session), true
	}
	everybody = a.Groups == nil && a.Sessions == nil
	a.Done = func(int, int) { o.dones.Add(1) }
	in := func(m *modelSession, of [orderGroups]bool) bool {
		for i := range of {
			if of[i] && c.members[i][m] {
				return true
			}
		}
		return false
	}
	return a, func(m *modelSession) bool {
		return (everybody || listed[m] || in(m, groups)) && !out[m] && !in(m, except)
	}
}

// next is the caller's next message: its number, behind that of the caller.
func (o *modelOrder) next(c *modelCaller) []byte {
	return append(fmt.Appendf(nil, "%d ", c.id), o.run.packs.grow(c.random, numbered(c.random, c.calls))...)
}

// prepare is next for many; what is owed was written down before.
func (o *modelOrder) prepare(c *modelCaller) *engine.Prepared {
	p, err := engine.Prepare(engine.Message{Data: o.next(c), Binary: c.random.IntN(3) == 0})
	if err != nil {
		o.run.violation("a message cannot be prepared: %v", err)
	}
	return p.With(o.options(c))
}

// owe notes that m is to get what c sends now. After Close nothing is sent.
func (o *modelOrder) owe(c *modelCaller, m *modelSession) {
	if _, closed := o.closer[m]; closed {
		return
	}
	if o.due[m] == nil {
		o.due[m] = map[int][]int{}
	}
	o.due[m][c.id] = append(o.due[m][c.id], c.calls)
	m.mu.Lock()
	m.accepted++
	m.mu.Unlock()
}

// answered undoes owe if the call was refused, as it has to be after Close.
func (o *modelOrder) answered(c *modelCaller, m *modelSession, err error) {
	if err == nil {
		if _, closed := o.closer[m]; closed {
			o.run.violation("session %d has accepted a message after its Close", m.client.name)
		}
		return
	}
	all := o.due[m][c.id]
	if len(all) == 0 || all[len(all)-1] != c.calls {
		return
	}
	o.due[m][c.id] = all[:len(all)-1]
	m.mu.Lock()
	m.accepted--
	m.mu.Unlock()
}

func (o *modelOrder) oweAll(c *modelCaller, to func(*modelSession) bool) {
	o.fanned++
	for _, m := range o.crowd {
		if to(m) {
			o.owe(c, m)
		}
	}
}

// got looks at what has come to the client of m.
func (o *modelOrder) got(m *modelSession, p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id, parts := number(p), parts(p)
	all := o.due[m][id]
	if len(all) > 0 && len(parts) == 1 && all[0] == parts[0] {
		o.due[m][id] = all[1:]
		return
	}
	left, ok := o.conflated(id, all, parts)
	if !ok {
		o.run.violation("session %d got message %v of caller %d, want %v", m.client.name, parts, id, all[:min(len(all), 8)])
		return
	}
	gone := len(all) - len(left) - 1
	o.due[m][id] = left
	o.gone += gone + 1 - len(parts)
	o.merged += len(parts) - 1
	m.mu.Lock()
	m.accepted -= gone
	m.mu.Unlock()
}

// settled reports whether m has got all that it was to get, once it is at rest: of
// the caller that has closed it, or of all callers.
func (o *modelOrder) settled(m *modelSession, orderly bool) bool {
	closer, closed := o.closer[m]
	if closed {
		return !orderly || len(o.due[m][closer]) == 0
	}
	for _, all := range o.due[m] {
		if len(all) > 0 {
			return false
		}
	}
	return true
}

func newOrderRun(t *testing.T, seed uint64, counts *modelCounts, drivers int, change ...func(*engine.Options)) *modelRun {
	r := newModelRun(t, seed, counts, append(change, orderOptions)...)
	r.budget, r.order = false, newModelOrder(r, drivers)
	return r
}

// TestModelKeepsTheOrderOfCallers checks that what one caller sends and publishes
// reaches each client once and in the order of the calls, whatever the targets. A
// message with a key may take the place of an earlier message with the same key, or
// come merged with it: then nothing is lost and nothing comes twice. A Join or a Leave counts for what is published after it. All of this holds in memory,
// where nothing fails and where system calls do, on loops and with an Executor.
func TestModelKeepsTheOrderOfCallers(t *testing.T) {
	target, runs := int64(*modelMessages)/4, 3
	if testing.Short() || race.Enabled { // one goroutine: the detector finds nothing here
		target, runs = target/10, 1
	}
	for _, faulty := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("faults: %v, Executor: %v", faulty, late), func(t *testing.T) {
				var counts modelCounts
				gone, merged := 0, 0
				modelSeeds(t, &counts, func() bool {
					return counts.messages.Load() < target || counts.runs < runs || (gone == 0 || merged == 0) && counts.runs < 50
				}, func(seed uint64) {
					var faults *looptest.Faulty
					if faulty {
						faults = looptest.NewFaulty(seed, orderRates)
					}
					var executor *modelExecutor
					if late {
						executor = newModelExecutor(seed)
					}
					r := newOrderRun(t, seed, &counts, 1, executor.options)
					runModelWith(t, r, faults, executor)
					require.Positive(t, r.order.fanned)
					require.Positive(t, r.order.asked)
					require.Equal(t, r.order.asked, r.order.dones.Load(), "calls of Audience.Done")
					gone += r.order.gone
					merged += r.order.merged
				})
				require.Positive(t, gone, "messages that others of their key have replaced")
				require.Positive(t, merged, "messages that came merged with others of their key")
			})
		}
	}
}

// orderRates leave most of a crowd alive.
var orderRates = looptest.Rates{Short: 500, NotNow: 300, Interrupted: 200, Shortage: 100, Broken: 2, Watch: 5, Accept: 300}

// TestModelKeepsTheOrderOfCallersOnSockets is the same on the real kernel, with
// callers that run at the same time.
func TestModelKeepsTheOrderOfCallersOnSockets(t *testing.T) {
	steps := orderSteps
	switch {
	case testing.Short():
		steps /= 6
	case race.Enabled:
		steps /= 3
	}
	for loops := 1; loops <= 3; loops++ {
		var counts modelCounts
		modelSeeds(t, &counts, func() bool { return false }, func(seed uint64) {
			r := newOrderRun(t, seed, &counts, socketDrivers, func(o *engine.Options) { o.Loops = loops })
			serveModelOnSockets(t, r, steps, false)
			require.Equal(t, r.order.asked, r.order.dones.Load(), "calls of Audience.Done")
		})
	}
}
