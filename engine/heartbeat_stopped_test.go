package engine_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"turbine/engine"
	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// stoppedNet is a World in which the server does nothing while clients send.
type stoppedNet struct{ *worldNet }

func (stoppedNet) Between() {}

// A process that was stopped for longer than the heartbeat takes finds its
// clients where it left them: what they sent meanwhile is read before anybody
// is late, and clients that are gone are found out in the time that was left.
func TestStoppedProcessKeepsItsClients(t *testing.T) {
	for _, gap := range []time.Duration{21 * time.Second, 10 * time.Minute, 100 * time.Hour} {
		t.Run(gap.String(), func(t *testing.T) {
			counts := modelCounts{ends: map[string]int{}}
			r := newModelRun(t, 1, &counts)
			world := looptest.NewWorld(2, loop.Options{}, r.server.Driver().Accept)
			r.server.Driver().UseLoops(world.Loops())
			random := rand.New(rand.NewPCG(1, 1))
			d := &modelDriver{run: r, net: stoppedNet{&worldNet{World: world, random: random}}, random: random}
			for range 12 { // of both revisions, on both transports
				d.open()
			}
			silent := d.sessions[:2]
			d.sessions = d.sessions[2:]
			unfinished := world.Dial()
			pass := func(total time.Duration) {
				for end := world.Now() + total; world.Now() < end; {
					world.Advance(100 * time.Millisecond)
					d.settle(2)
				}
			}
			pass(9 * time.Second)
			unfinished.Write([]byte("GET /engine.io/ HTTP/1.1\r\n"))
			world.Advance(time.Second) // pings have gone out

			for range 5 {
				for _, m := range d.sessions {
					m.client.message()
					m.client.step()
				}
			}
			world.Jump(gap)
			for _, l := range world.Loops() {
				l.Tick() // it may come before what waits in the sockets
			}
			d.settle(50)
			require.Empty(t, counts.ends, "sessions that ended")
			for _, m := range d.sessions {
				require.Equal(t, m.client.next, m.arrived)
				require.False(t, m.client.over)
			}
			require.False(t, unfinished.EOF(), "a request has the time that it had")

			pass(21 * time.Second)
			require.Equal(t, map[string]int{engine.ReasonPingTimeout.String(): len(silent)}, counts.ends)
			require.True(t, unfinished.EOF())
			world.Close()
		})
	}
}
