package loop

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const tick = 10 * time.Millisecond

// clocked is a wheel under test and its clock.
type clocked struct {
	*Loop
	now time.Duration
}

func newClocked(start time.Duration) *clocked {
	c := &clocked{now: start}
	c.Loop, _ = newFake(&c.now, tick)
	return c
}

// to moves the clock to at, tick by tick, as the ticker does.
func (c *clocked) to(at time.Duration) {
	for c.now < at {
		c.now = min((c.now/tick+1)*tick, at)
		c.Tick()
	}
}

// bell is an Alarm that remembers when it rang.
type bell struct {
	loop *Loop
	slot Slot
	rang []time.Duration
	then func(*bell)
}

func (b *bell) Alarm() {
	b.rang = append(b.rang, b.loop.Now())
	if b.then != nil {
		b.then(b)
	}
}

func (c *clocked) bell() *bell {
	b := &bell{loop: c.Loop}
	b.slot = c.Claim(b)
	return b
}

func TestWheelRingsAtTheFirstTickNotBefore(t *testing.T) {
	const start = time.Hour + 3*time.Millisecond
	const hour = time.Hour
	for _, c := range []struct {
		name     string
		at, want time.Duration
	}{
		{"now", start, hour + tick},
		{"in the past", start - time.Minute, hour + tick},
		{"before any time", math.MinInt64 / 2, hour + tick},
		{"within the tick", start + 1, hour + tick},
		{"on a tick", hour + 5*tick, hour + 5*tick},
		{"just behind a tick", hour + 5*tick + 1, hour + 6*tick},
		{"just before a tick", hour + 5*tick - 1, hour + 5*tick},
		{"the last bucket", hour + (buckets-1)*tick, hour + (buckets-1)*tick},
		{"the horizon", hour + buckets*tick, hour + (buckets-1)*tick},
		{"far behind the horizon", hour + time.Hour, hour + (buckets-1)*tick},
		{"never", math.MaxInt64, hour + (buckets-1)*tick},
	} {
		w := newClocked(start)
		b := w.bell()
		w.Arm(b.slot, c.at)
		w.to(start + 2*buckets*tick)
		require.Equal(t, []time.Duration{c.want}, b.rang, c.name)
	}
}

func TestWheelEarlierAndLaterArms(t *testing.T) {
	w := newClocked(time.Hour)
	b := w.bell()
	w.Arm(b.slot, w.now+5*tick)
	w.Arm(b.slot, w.now+9*tick) // postponed: costs nothing, rings at 5
	require.Equal(t, 1, w.wheel.entries)
	w.Arm(b.slot, w.now+3*tick) // earlier: rings at 3, the entry at 5 is stale
	w.to(time.Hour + 20*tick)
	require.Equal(t, []time.Duration{time.Hour + 3*tick}, b.rang)
	require.Zero(t, w.wheel.entries)
	require.False(t, w.ticks, "an empty wheel needs no ticks")
}

func TestWheelDisarm(t *testing.T) {
	w := newClocked(time.Hour)
	b := w.bell()
	w.Disarm(b.slot)
	w.Arm(b.slot, w.now+5*tick)
	w.Disarm(b.slot)
	w.to(w.now + 10*tick)
	require.Empty(t, b.rang)
	w.Arm(b.slot, w.now+5*tick)
	w.to(w.now + 10*tick)
	require.Len(t, b.rang, 1)
	for range 10_000 { // a pair for each request leaves nothing behind
		w.Arm(b.slot, w.now+50*tick)
		w.Disarm(b.slot)
	}
	require.Equal(t, 1, w.wheel.entries)
	w.Arm(b.slot, w.now+2*tick)
	w.to(w.now + 100*tick)
	require.Len(t, b.rang, 2)
}

func TestWheelArmInAlarm(t *testing.T) {
	w := newClocked(time.Hour)
	b := w.bell()
	b.then = func(b *bell) { w.Arm(b.slot, w.Now()) } // at once, which is the next tick
	w.Arm(b.slot, w.now)
	w.to(w.now + 5*tick)
	require.Len(t, b.rang, 5)
	b.then = nil
	w.to(w.now + 5*tick)
	require.Len(t, b.rang, 6)

	// A deadline far away is reached in hops.
	far := w.now + 5*buckets*tick + 7
	b.rang, b.then = nil, func(b *bell) {
		if w.Now() < far {
			w.Arm(b.slot, far)
		}
	}
	w.Arm(b.slot, far)
	w.to(far + 10*tick)
	require.Len(t, b.rang, 6)
	require.Equal(t, (far/tick+1)*tick, b.rang[5])
}

func TestWheelSlotReuse(t *testing.T) {
	w := newClocked(time.Hour)
	first := w.bell()
	w.Arm(first.slot, w.now+3*tick)
	w.Release(first.slot)
	second := w.bell()
	require.Equal(t, first.slot, second.slot)
	require.Same(t, second, w.Owner(second.slot))
	w.Arm(second.slot, w.now+8*tick)
	w.to(w.now + 20*tick)
	require.Empty(t, first.rang)
	require.Equal(t, []time.Duration{time.Hour + 8*tick}, second.rang)
	w.Release(second.slot)
	require.Nil(t, w.Owner(second.slot))
	require.Nil(t, w.Owner(1000))
	require.Nil(t, w.Owner(1<<32-1), "also where an int has 32 bits")
	require.Nil(t, w.Owner(0))
	require.EqualValues(t, 2, w.Slots())

	// An alarm that releases others of its bucket silences them.
	a, b := w.bell(), w.bell()
	a.then = func(*bell) { w.Release(b.slot) }
	w.Arm(a.slot, w.now+tick)
	w.Arm(b.slot, w.now+tick)
	w.to(w.now + 5*tick)
	require.Len(t, a.rang, 1)
	require.Empty(t, b.rang)
}

// The time in which a process is stopped does not bring its deadlines nearer.
func TestWheelSuspendedProcess(t *testing.T) {
	for _, gap := range []time.Duration{(maxGap + 1) * tick, buckets*tick + 1, time.Hour + 7, 300 * 24 * time.Hour} {
		w := newClocked(time.Hour)
		b := w.bell()
		w.Arm(b.slot, w.now+5*tick)
		w.to(w.now + 2*tick)
		before := w.Now()
		w.now += gap
		w.Tick()
		require.Empty(t, b.rang, "%v", gap)
		require.Less(t, w.Now()-before, 2*tick, "%v", gap)
		require.Positive(t, w.Now()-before, "it goes on")
		require.Zero(t, (w.now-w.Now())%tick, "in step with the kernel's ticks")
		w.to(w.now + 10*tick)
		require.Equal(t, []time.Duration{time.Hour + 5*tick}, b.rang)
	}
}

// A loop without alarms does not tick: it has slept, but nobody stopped it.
func TestIdleLoopLosesNoTime(t *testing.T) {
	w := newClocked(time.Hour)
	w.now += time.Hour
	w.enter()
	require.Equal(t, w.now, w.Now())
}

// Sockets may keep a loop so busy that its ticks have no turn.
func TestWheelThatFellBehind(t *testing.T) {
	for _, gap := range []time.Duration{buckets * tick, 3 * buckets * tick} {
		w := newClocked(time.Hour)
		var all []*bell
		for i := range 100 {
			b := w.bell()
			w.Arm(b.slot, w.now+time.Duration(i*10)*tick)
			all = append(all, b)
		}
		for end := w.now + gap; w.now < end; {
			w.enter()
			w.now += maxGap * tick // in a callback
			w.idle = w.now
		}
		w.Tick()
		for _, b := range all {
			require.Equal(t, []time.Duration{w.Now()}, b.rang, "once, at once")
		}
		b := all[0]
		b.rang = nil
		w.Arm(b.slot, w.now+3*tick)
		w.to(w.now + 10*tick)
		require.Len(t, b.rang, 1)
	}
}

func TestWheelIdleForLong(t *testing.T) {
	w := newClocked(time.Hour)
	b := w.bell()
	w.now += 300 * 24 * time.Hour // over 2^31 ticks: no ticks were posted meanwhile
	w.enter()
	w.Arm(b.slot, w.now+7*tick)
	w.to(w.now + 20*tick)
	require.Equal(t, []time.Duration{time.Hour + 300*24*time.Hour + 7*tick}, b.rang)
}

func TestWheelTickNumbersWrap(t *testing.T) {
	const wrap = (1 << 32) * tick
	for before := range 20 {
		for ahead := range 40 {
			w := newClocked(wrap - time.Duration(before)*tick)
			b := w.bell()
			due := w.now + time.Duration(ahead)*tick
			w.Arm(b.slot, due)
			w.to(due + 3*tick)
			require.Len(t, b.rang, 1, "%d before the wrap, %d ahead", before, ahead)
			require.LessOrEqual(t, max(b.rang[0]-due, due-b.rang[0]), 2*tick) // number 0 is skipped
		}
	}
}

// TestWheelModel compares with the simplest timer there is: a list.
func TestWheelModel(t *testing.T) {
	for _, start := range []time.Duration{time.Hour, (1<<32)*tick - 3*time.Second} {
		random := rand.New(rand.NewPCG(1, uint64(start)))
		w := newClocked(start)
		type owner struct {
			*bell
			deadline time.Duration // 0 = none
		}
		var owners []*owner
		for range 200 {
			o := &owner{bell: w.bell()}
			o.then = func(b *bell) {
				switch {
				case o.deadline == 0:
					require.Fail(t, "rang without a deadline")
				case w.Now() < o.deadline:
					w.Arm(b.slot, o.deadline)
				default:
					require.Less(t, w.Now()-o.deadline, 2*tick, "late")
					o.deadline = 0
				}
			}
			owners = append(owners, o)
		}
		for range 20_000 {
			o := owners[random.IntN(len(owners))]
			switch random.IntN(4) {
			case 0:
				o.deadline = 0
				w.Disarm(o.slot)
			case 1:
				w.to(w.now + time.Duration(random.Int64N(int64(3*tick))))
				for _, o := range owners {
					require.True(t, o.deadline == 0 || w.now-o.deadline < 2*tick, "forgotten")
				}
			default:
				o.deadline = w.now + time.Duration(random.Int64N(int64(20*time.Second)))
				w.Arm(o.slot, o.deadline)
			}
		}
		w.to(w.now + 30*time.Second)
		for _, o := range owners {
			require.Zero(t, o.deadline)
		}
		require.Zero(t, w.wheel.entries)
	}
}

func TestWheelDoesNotAllocate(t *testing.T) {
	w := newClocked(time.Hour)
	b := w.bell()
	turn := func() {
		w.Arm(b.slot, w.now+tick)
		w.now += tick
		w.Tick()
	}
	for range buckets { // each bucket once
		turn()
	}
	require.Zero(t, testing.AllocsPerRun(1000, turn))
}

func BenchmarkArm(b *testing.B) {
	w := newClocked(time.Hour)
	const n = 1 << 16
	var slots [n]Slot
	for i := range slots {
		slots[i] = w.bell().slot
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%n == 0 && i > 0 {
			b.StopTimer()
			w.to(w.now + buckets*tick)
			b.StartTimer()
		}
		w.Arm(slots[i%n], w.now+time.Duration(i%1000)*tick)
	}
}

// again is an alarm that arms itself again.
type again struct {
	loop *Loop
	slot Slot
}

func (a *again) Alarm() { a.loop.Arm(a.slot, a.loop.now+500*tick) }

// BenchmarkRing counts one alarm that rings and is armed again.
func BenchmarkRing(b *testing.B) {
	w := newClocked(time.Hour)
	const n = 1 << 20
	all := make([]again, n)
	for i := range all {
		all[i].loop = w.Loop
		all[i].slot = w.Claim(&all[i])
		w.Arm(all[i].slot, w.now+time.Duration(i%500)*tick)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ { // 500 ticks ring all
		if i%(n/500) == 0 {
			w.now += tick
			w.Tick()
		}
	}
}

// The sockets have their turn between the alarms of one tick, and what happens
// there to alarms that are due holds.
func TestAlarmsOfOneTickRingInPortions(t *testing.T) {
	now := time.Hour
	l, k := newFake(&now, tick)
	const portion = 2 * lookEvery
	var all []*bell
	for range 3 * portion {
		b := &bell{loop: l, then: func(*bell) { now += quantum / portion }}
		b.slot = l.Claim(b)
		l.Arm(b.slot, now+tick)
		all = append(all, b)
	}
	rang := func() (n int) {
		for _, b := range all {
			n += len(b.rang)
		}
		return n
	}
	now += tick
	l.Tick()
	require.Equal(t, portion, rang())
	require.EqualValues(t, 1, k.awake.Load(), "the rest is not forgotten")
	require.True(t, k.ticks)

	silent, again, gone := all[portion], all[portion+1], all[portion+2]
	l.Disarm(silent.slot)
	l.Arm(again.slot, now+5*tick) // it rings at once, as armed before, and looks
	l.Release(gone.slot)
	heir := &bell{loop: l}
	heir.slot = l.Claim(heir)
	require.Equal(t, gone.slot, heir.slot)
	l.Arm(heir.slot, now)

	require.True(t, l.Mail())
	require.False(t, l.Mail())
	require.Equal(t, 3*portion-2, rang(), "all but the silent and the gone")
	require.Len(t, again.rang, 1)
	require.Empty(t, heir.rang, "not on its predecessor's account")
	now += tick
	l.Tick()
	require.Len(t, heir.rang, 1)
	require.Empty(t, silent.rang)
	require.False(t, k.ticks)
}

// Owners shows who holds which slot, some at a time, to a goroutine that is not the
// loop's.
func TestOwners(t *testing.T) {
	c := newClocked(0)
	require.Zero(t, c.Owners(0, make([]Alarm, 4)), "nobody yet")
	require.Zero(t, c.Owners(1<<32-1, make([]Alarm, 4)))
	var bells []*bell
	for range 10 {
		bells = append(bells, c.bell())
	}
	c.Release(bells[3].slot)
	done := make(chan []Alarm)
	go func() {
		var all []Alarm
		room := make([]Alarm, 4)
		for {
			n := c.Owners(Slot(len(all)), room)
			all = append(all, room[:n]...)
			if n < len(room) {
				done <- all
				return
			}
		}
	}()
	for range 1000 { // meanwhile others come and go
		c.Release(c.bell().slot)
	}
	all := <-done
	require.GreaterOrEqual(t, len(all), 11, "slot 0 is nobody's")
	for i, b := range bells {
		if i != 3 {
			require.True(t, all[b.slot] == Alarm(b), i)
		}
	}
	require.Nil(t, all[0])
	require.Zero(t, c.Owners(1000, make([]Alarm, 4)))
}

// A loop notes how late it comes to the first tick that is due, once for each time that
// it comes there.
func TestLagIsHowLateTheFirstTickIs(t *testing.T) {
	const start = time.Hour
	c := newClocked(start)
	c.to(start + time.Second)
	n, _ := lagOf(c.Loop)
	require.Zero(t, n, "nothing is armed: it does not tick")

	b := c.bell()
	c.Arm(b.slot, start+time.Hour)
	c.to(start + time.Second + 5*tick)
	n, sum := lagOf(c.Loop)
	require.EqualValues(t, 5, n)
	require.Zero(t, sum)

	c.now += 4*tick - 1 // the fourth is not due: the first of three is late by three ticks less a moment
	c.Tick()
	n, sum = lagOf(c.Loop)
	require.EqualValues(t, 6, n)
	require.Equal(t, 3*tick-1, sum)
	c.Tick()
	n, _ = lagOf(c.Loop)
	require.EqualValues(t, 6, n, "no tick is due")

	c.now += time.Minute // the process did not run
	c.Tick()
	n, after := lagOf(c.Loop)
	require.EqualValues(t, 7, n)
	require.Less(t, after-sum, 3*tick, "that was not the loop's fault")
}

func lagOf(l *Loop) (n int64, sum time.Duration) {
	counts, sum := l.Lag()
	for _, c := range counts {
		n += c
	}
	return n, sum
}

// Whoever is told of ticks is told of each that the loop comes to, the one that stops
// the clock included, and of the end.
func TestTickedIsToldOfEachTick(t *testing.T) {
	c := newClocked(time.Hour)
	told := 0
	c.options.Ticked = func(l *Loop) {
		require.Same(t, c.Loop, l)
		told++
	}
	b := c.bell()
	c.Arm(b.slot, time.Hour+3*tick)
	c.to(time.Hour + 3*tick)
	require.Len(t, b.rang, 1)
	require.Equal(t, 3, told)
	require.False(t, c.ticks, "nothing is armed")
	c.Release(b.slot)
	c.Close()
	require.Equal(t, 4, told)
}
