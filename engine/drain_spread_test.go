package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// As clients see it: nobody is told of the end during the delay, about as many in each
// tenth of the period, whatever their transport, their loop and the order in which they
// came, and everybody when the period is over.
func TestDrainSpreadsTheEndOverThePeriod(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		const sessions, parts, delay, over = 600, 10, 10 * time.Second, 100 * time.Second
		random := rand.NewChaCha8([32]byte{1})
		b := newSpec(t, loops, Options{PingInterval: time.Hour}, nil)
		for i := range sessions {
			for _, sh := range b.server.shards { // the moments are of the secrets
				_, _ = random.Read(sh.entropy.bytes[:])
				sh.entropy.left = len(sh.entropy.bytes)
			}
			if i%2 == 0 {
				b.play(fmt.Sprintf("ws EIO=4&transport=websocket conn=%d", i))
			} else {
				b.play(hsPolling, fmt.Sprintf("get sid=%s conn=%d", letters(i), i))
			}
		}
		b.events()
		b.server.beginDrain(delay, over)
		b.world.Run()
		begin := b.world.Now()
		told := map[int]time.Duration{} // since the drain began, by session
		listen := func() {
			for _, line := range b.collect() {
				var i int
				_, err := fmt.Sscanf(line, "%d:", &i)
				require.NoError(t, err, line)
				_, what, _ := strings.Cut(line, ": ")
				switch what {
				case "close", "200 1": // the close frame, and the close packet of a poll
					require.NotContains(t, told, i)
					told[i] = b.world.Now() - begin
				default:
					require.Equal(t, "closed", what, line)
				}
			}
		}
		const step = over / 200
		for b.world.Now() < begin+delay {
			listen()
			b.world.Advance(step)
		}
		require.Empty(t, told, "sessions that were told during the delay")
		for b.world.Now() < begin+delay+over+b.options.tick() {
			listen()
			b.world.Advance(step)
		}
		listen()
		require.Len(t, told, sessions)

		for name, of := range map[string]func(i int) bool{
			"WebSocket":             func(i int) bool { return i%2 == 0 },
			"polling":               func(i int) bool { return i%2 == 1 },
			"those that came first": func(i int) bool { return i < sessions/2 },
			"those that came last":  func(i int) bool { return i >= sessions/2 },
			"the first loop":        func(i int) bool { return b.sessions[i].loop.Index() == 0 },
			"the last loop":         func(i int) bool { return b.sessions[i].loop.Index() == len(b.server.shards)-1 },
		} {
			var all int
			var counts [parts]int
			for i, at := range told {
				if of(i) {
					all++
					counts[min(int((at-delay)*parts/over), parts-1)]++
				}
			}
			require.Greater(t, all, sessions/16, name)
			for part, n := range counts {
				require.InDelta(t, all/parts, n, 4*math.Sqrt(float64(all*(parts-1))/(parts*parts)), "%s, part %d: %v", name, part, counts)
			}
		}
		require.EqualValues(t, sessions, b.server.Stats().Closed[ReasonShutdown])
		b.finish()
	})
}
