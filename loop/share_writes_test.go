package loop_test

import (
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// costly is a kernel whose writes take time.
type costly struct {
	world *busyWorld
	each  time.Duration
}

func (c *costly) Kernel(_ int, k loop.Kernel) loop.Kernel { return &costlyKernel{k, c} }
func (c *costly) Accept() error                           { return nil }

type costlyKernel struct {
	loop.Kernel
	costly *costly
}

func (k *costlyKernel) Write(fd int, p []byte, more bool) (int, error) {
	k.costly.world.Spend(k.costly.each)
	return k.Kernel.Write(fd, p, more)
}

func (k *costlyKernel) Writev(fd int, v [][]byte, more bool) (int, error) {
	k.costly.world.Spend(k.costly.each)
	return k.Kernel.Writev(fd, v, more)
}

// What tasks write, at the end of their portion, is part of it: alarms have as much
// time, however many write, and whatever a write costs.
func TestAlarmsRingBesideTasksThatWrite(t *testing.T) {
	const alarms, every = 5_000, 100 * time.Microsecond // a tenth of the loop's time
	for _, c := range []struct {
		name         string
		tasks, conns int           // each task writes to so many
		write, read  time.Duration // what one takes
	}{
		{"walk", 1, 64, 10 * time.Microsecond, 0},
		{"sends", 256, 1, 10 * time.Microsecond, 0},
		{"walk with large messages", 1, 64, 500 * time.Microsecond, 0},
		{"sends of large messages", 256, 1, 500 * time.Microsecond, 0},
		{"walk beside sockets", 1, 64, 10 * time.Microsecond, 20 * time.Microsecond},
		{"sends beside sockets", 256, 1, 10 * time.Microsecond, 20 * time.Microsecond},
		{"large walk beside sockets", 1, 64, 500 * time.Microsecond, 20 * time.Microsecond},
		{"large sends beside sockets", 256, 1, 500 * time.Microsecond, 20 * time.Microsecond},
		{"large sends beside slow sockets", 256, 1, 500 * time.Microsecond, time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &busyWorld{each: c.read}
			var conns []*loop.Conn
			o := loop.Options{Tick: tick, Faults: &costly{b, c.write}}
			b.World = looptest.NewWorld(1, o, func(conn *loop.Conn) loop.Handler {
				conns = append(conns, conn)
				return &busyHandler{b, conn}
			})
			b.loop = b.Loops()[0]
			for range 1_024 {
				b.peers = append(b.peers, b.Dial())
			}
			b.Run()
			next := 0
			var again loop.Func
			again = func() {
				for range c.conns {
					conns[next%len(conns)].Write([]byte("x"))
					next++
				}
				_ = b.loop.Post(again)
			}
			for range c.tasks {
				require.NoError(t, b.loop.Post(again))
			}
			rings := &bells{world: b, cost: every / 10}
			for i := range alarms {
				rings.add(time.Duration(i) * every)
			}
			for rounds := 0; rings.rang < alarms && rounds < 100_000; rounds++ {
				if c.read > 0 {
					b.round()
				} else {
					b.Turn()
				}
			}
			require.Equal(t, alarms, rings.rang)
			portion := time.Duration(c.tasks*c.conns) * c.write
			require.LessOrEqual(t, rings.latest, tick+5*portion+time.Millisecond)
		})
	}
}
