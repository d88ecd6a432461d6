package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"turbine/internal/race"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// Sessions that fill PendingBudget, each with little, while the application is slow do
// not keep it from the messages of others: those that hold most, and longest, are ended.
func TestPendingBudgetServesWhoSendsLittle(t *testing.T) {
	for _, events := range []int{2, 10, 30, 100} { // that each hostile session has waiting: 800 bytes to 40 KB
		t.Run(fmt.Sprint(events), func(t *testing.T) {
			const budget, good, rounds = 400 * eventSize, 20, 10 / min(race.Less, 5)
			b := newHeld(t, 1, Options{Limits: Limits{PendingBudget: budget}}, func(_ *bench, e *Events) { e.Admit = nil })
			for i := range good {
				b.begin(fmt.Sprintf("ws EIO=4&transport=websocket conn=g%d", i))
			}
			hostile := 0
			for round := range rounds {
				for n := 0; n < 2*budget/eventSize; n += events {
					name := fmt.Sprintf("h%d", hostile)
					hostile++
					b.play("ws EIO=4&transport=websocket conn=" + name)
					b.client(name, "").peer.Write([]byte(strings.Repeat(string(frame(ws.OpText, "4x")), events-1)))
					b.world.Run()
					require.LessOrEqual(t, b.server.Stats().Pending, int64(budget+eventSize))
				}
				for i := range good {
					b.play(fmt.Sprintf("frame g%d text 4round%d", i, round))
				}
				b.play("advance 10ms")
				b.rest()
				heard := b.events()
				for i := range good {
					require.Equal(t, 1, strings.Count(heard, fmt.Sprintf("message %s \"round%d\"", letters(i), round)), "round %d, %d", round, i)
				}
			}
			for i := range good {
				require.Equal(t, StateOpen, b.sessions[i].State())
			}
			require.Positive(t, b.server.Stats().Limits[LimitPendingBudget])
			b.rest()
			require.Zero(t, b.server.Stats().Pending)
			b.ends[ReasonOverflow] = b.server.Stats().Closed[ReasonOverflow] // also those that nobody was told of
			b.finish()
		})
	}
}

// goes is an Executor that has a goroutine for each task.
type goes struct{}

func (goes) Submit(task func()) error { go task(); return nil }

// A session that is ended while a worker has some of its events in its hands hears of
// these and of its end, and of nothing between.
func TestPendingBudgetEndsWhoIsBeingServed(t *testing.T) {
	began, goOn, heard := make(chan bool), make(chan bool), make(chan string, 300)
	b := newSpec(t, 1, Options{Limits: Limits{PendingBudget: 200 * eventSize}, Executor: goes{}}, func(_ *bench, e *Events) {
		*e = Events{
			Message: func(_ *Session, m Message) {
				if string(m.Data) == "first" {
					began <- true
					<-goOn
				}
				heard <- string(m.Data)
			},
			Close: func(_ *Session, r Reason, err error) { heard <- fmt.Sprint(r, ": ", err) },
		}
	})
	b.play("ws EIO=4&transport=websocket conn=w", "frame w text 4first")
	<-began
	var burst []byte
	for i := range 300 {
		burst = append(burst, frame(ws.OpText, fmt.Sprintf("4%d", i))...)
	}
	b.client("w", "").peer.Write(burst)
	b.world.Run()
	require.EqualValues(t, 1, b.server.Stats().Closed[ReasonOverflow])
	require.EqualValues(t, 1, b.server.Stats().Limits[LimitPendingBudget])
	close(goOn)
	require.Equal(t, "first", <-heard)
	require.Equal(t, "queue overflow: "+ErrPendingBudget.Error(), <-heard)
	require.Eventually(t, b.server.dispatch.idle, 10*time.Second, time.Millisecond)
	require.Zero(t, b.server.Stats().Pending)
	require.Empty(t, heard)
	b.ends[ReasonOverflow] = 1
	b.finish()
}
