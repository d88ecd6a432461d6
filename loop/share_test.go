package loop_test

import (
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

const tick = 10 * time.Millisecond

// busyWorld is a World of one loop whose handlers take time: the clock goes on in
// them.
type busyWorld struct {
	*looptest.World
	loop  *loop.Loop
	each  time.Duration // what one Data takes
	reads int
	peers []*looptest.Peer
	ended int
}

func newBusyWorld(peers int, each time.Duration) *busyWorld {
	b := &busyWorld{each: each}
	b.World = looptest.NewWorld(1, loop.Options{Tick: tick}, func(c *loop.Conn) loop.Handler { return &busyHandler{b, c} })
	b.loop = b.Loops()[0]
	for range peers {
		b.peers = append(b.peers, b.Dial())
	}
	b.Run()
	return b
}

// round has every peer send and the loop look at its sockets once.
func (b *busyWorld) round() {
	for _, p := range b.peers {
		p.Write([]byte("x"))
	}
	b.Turn()
}

type busyHandler struct {
	world *busyWorld
	conn  *loop.Conn
}

func (h *busyHandler) Data([]byte) {
	h.world.reads++
	h.world.Jump(h.world.each)
}
func (h *busyHandler) Drained()     {}
func (h *busyHandler) EOF()         { h.conn.Abort() }
func (h *busyHandler) Closed(error) { h.world.ended++ }

// bells are alarms that cost something and are due one after another.
type bells struct {
	world  *busyWorld
	cost   time.Duration
	rang   int
	latest time.Duration
}

type bell struct {
	*bells
	slot loop.Slot
	due  time.Duration
}

func (b *bell) Alarm() {
	if b.world.loop.Now() < b.due {
		b.world.loop.Arm(b.slot, b.due)
		return
	}
	b.rang++
	b.latest = max(b.latest, b.world.Now()-b.due)
	b.world.Jump(b.cost)
}

// add arms an alarm that is due in so long.
func (b *bells) add(in time.Duration) {
	one := &bell{bells: b, due: b.world.Now() + in}
	one.slot = b.world.loop.Claim(one)
	b.world.loop.Arm(one.slot, one.due)
}

// However long a look at all sockets takes, alarms ring in between: late by a
// tick, a call, and what is due with them.
func TestAlarmsRingBesideBusySockets(t *testing.T) {
	for _, c := range []struct {
		name         string
		each, cost   time.Duration
		alarms       int
		every, bound time.Duration
	}{
		{"one after another", time.Millisecond, 5 * time.Microsecond, 500, time.Millisecond, tick + 2*time.Millisecond},
		{"all at once", time.Millisecond, 5 * time.Microsecond, 2_000, 0, tick + 25*time.Millisecond},
		{"beside short turns", 5 * time.Microsecond, 5 * time.Microsecond, 2_000, 0, tick + 25*time.Millisecond},
		{"beside slow callbacks", 300 * time.Millisecond, 5 * time.Microsecond, 500, time.Millisecond, tick + 310*time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newBusyWorld(1_000, c.each)
			b := &bells{world: w, cost: c.cost}
			for i := range c.alarms {
				b.add(time.Duration(i) * c.every)
			}
			for rounds := 0; b.rang < c.alarms && rounds < 100; rounds++ {
				w.round()
			}
			require.Equal(t, c.alarms, b.rang)
			require.LessOrEqual(t, b.latest, c.bound)
		})
	}
}

// Nor do alarms that are due hold up the sockets, whatever they cost.
func TestSocketsAreReadBesideManyAlarms(t *testing.T) {
	for _, cost := range []time.Duration{5 * time.Microsecond, 10 * time.Millisecond} {
		w := newBusyWorld(10, time.Microsecond)
		b := &bells{world: w, cost: cost}
		for range 10_000 {
			b.add(0)
		}
		w.Jump(tick)
		for rounds := range 20 {
			w.round()
			require.Equal(t, 10*(rounds+1), w.reads)
			require.LessOrEqual(t, b.rang, (rounds+1)*max(1, int(200*time.Microsecond/cost)))
		}
	}
}

// Tasks, ends of connections and closes are also done while a look at the
// sockets is under way.
func TestOtherWorkIsDoneBesideBusySockets(t *testing.T) {
	w := newBusyWorld(400, time.Millisecond)
	tasks, after := 0, 0
	for range 100 {
		require.NoError(t, w.loop.Post(loop.Func(func() {
			if tasks++; tasks == 100 {
				after = w.reads
			}
		})))
	}
	for _, p := range w.peers[:100] {
		p.Reset()
	}
	w.peers = w.peers[100:]
	w.round()
	require.Equal(t, 100, tasks)
	require.Less(t, after, 10, "tasks wait for a few reads only")
	require.Equal(t, 100, w.ended)
	require.Equal(t, 400, w.loop.Conns(), "their descriptors wait for the next look")
	w.round()
	w.round()
	require.Equal(t, 300, w.loop.Conns())
}

// A task that posts itself runs once in each share and holds up nothing.
func TestTaskThatPostsItself(t *testing.T) {
	w := newBusyWorld(100, time.Millisecond)
	runs := 0
	var again loop.Func
	again = func() {
		runs++
		w.Jump(50 * time.Microsecond)
		_ = w.loop.Post(again)
	}
	require.NoError(t, w.loop.Post(again))
	for range 10 {
		w.round()
	}
	require.Equal(t, 1_000, w.reads)
	require.LessOrEqual(t, runs, 1_100)
}

// The time that callbacks take passes; only a process that does not run while
// its loop waits loses time.
func TestTimePassesInCallbacks(t *testing.T) {
	w := newBusyWorld(1, 1500*time.Millisecond)
	b := &bells{world: w}
	b.add(time.Hour) // it ticks
	begun, clock := w.loop.Now(), w.Now()
	for range 10 {
		w.round()
	}
	w.Advance(tick)
	require.Equal(t, w.Now()-clock, w.loop.Now()-begun)
	require.GreaterOrEqual(t, w.loop.Now()-begun, 15*time.Second)

	before := w.loop.Now()
	w.Jump(time.Minute)
	w.Advance(tick)
	require.LessOrEqual(t, w.loop.Now()-before, 3*tick)
}

// judge is the owner of a deadline that a peer's bytes put off.
type judge struct {
	loop     *loop.Loop
	slot     loop.Slot
	deadline time.Duration
	blamed   bool
}

func (j *judge) Alarm() { j.blamed = j.loop.Late(j.slot, j.deadline) }

// Nobody is late before what waits in the sockets was read.
func TestLateIsForThoseWhoseSocketsWereRead(t *testing.T) {
	for _, answers := range []bool{true, false} {
		w := newBusyWorld(10, time.Second)
		j := &judge{loop: w.loop, deadline: w.loop.Now() + 3*time.Second}
		j.slot = w.loop.Claim(j)
		w.loop.Arm(j.slot, j.deadline)
		answered := w.peers[9]
		if answers {
			answered.Write([]byte("y"))
		}
		for _, p := range w.peers[:9] { // they take nine seconds ahead of it
			p.Write([]byte("x"))
		}
		for range 20 {
			unread := answered.Unread()
			w.Turn()
			require.False(t, j.blamed && unread > 0, "blamed with its answer unread")
		}
		w.Advance(tick)
		require.True(t, j.blamed)
	}
}
