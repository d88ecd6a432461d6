package loop_test

import (
	"testing"
	"time"

	"turbine/internal/race"
	"turbine/loop"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// metronome rings at each of its loop's ticks.
type metronome struct {
	loop  *loop.Loop
	slot  loop.Slot
	left  int
	ended chan struct{}
}

func (m *metronome) Run() {
	m.slot = m.loop.Claim(m)
	m.loop.Arm(m.slot, m.loop.Now())
}

func (m *metronome) Alarm() {
	if m.left--; m.left == 0 {
		m.loop.Release(m.slot)
		close(m.ended)
		return
	}
	m.loop.Arm(m.slot, m.loop.Now())
}

// A tick is one wait of one thread. What wakes the runtime's own threads beside
// costs an idle server more than all its heartbeats.
func TestIdleTickWakesFewThreads(t *testing.T) {
	if race.Enabled {
		t.Skip("counts what the runtime does, to which the detector adds")
	}
	const ticks, most = 40, 15 // with gnet's own Polling: about 60
	r, err := loop.Open(loop.Options{Loops: 1, Tick: 50 * time.Millisecond}, acceptEcho)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- r.Serve() }()
	m := &metronome{loop: r.Loops()[0], left: ticks, ended: make(chan struct{})}

	before := contextSwitches(t)
	require.NoError(t, m.loop.Post(m))
	<-m.ended
	require.Less(t, contextSwitches(t)-before, int64(ticks*most))

	r.Stop()
	require.NoError(t, <-served)
}

// contextSwitches counts how often a thread of this process has waited.
func contextSwitches(t *testing.T) int64 {
	t.Helper()
	var usage unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &usage))
	return int64(usage.Nvcsw) //nolint:unconvert // it is 32 bits wide where a word is
}
