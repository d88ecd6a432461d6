package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Behind a box that lets the 101 pass and holds back what the server sends later,
// a client never hears the answer to its probe, and polls on until its upgrade's
// time is up. It is freed at once, and then once in noopPace.
func TestPollsDuringAProbe(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Timeouts: Timeouts{Upgrade: 10 * time.Second}}, nil)
		b.play(hsPolling)
		require.Empty(t, b.play("get sid=A conn=p"))
		require.Contains(t, b.play("ws sid=A conn=w", "frame w text 2probe"), "p: 200 6", "the waiting poll is answered at once")
		gets, noops, waits := 0, 0, false
		for elapsed := time.Duration(0); elapsed < 9*time.Second; elapsed += 2 * time.Millisecond {
			command := "advance 2ms"
			var out []string
			if !waits {
				gets, waits = gets+1, true
				out = b.play("get sid=A conn=p")
			}
			for _, line := range append(out, b.play(command)...) {
				if line == "p: 200 6" {
					noops, waits = noops+1, false
				}
			}
		}
		require.LessOrEqual(t, gets, 92, "polls in 9 s")
		require.GreaterOrEqual(t, noops, 45, "but the client is freed again and again")

		// What is sent does not wait for the pace.
		for !waits {
			b.play("get sid=A conn=p")
			waits = len(b.play("advance 1ms")) == 0
		}
		require.Equal(t, []string{"p: 200 4x"}, b.play("send A x"))
		b.finish()
	})
}
