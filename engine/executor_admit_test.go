package engine

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Clients that wait for an Admit that does not come are bounded, also where
// their time is up and the Executor has not got to them.
func TestExecutorAdmitIsBounded(t *testing.T) {
	b := newHeld(t, 1, Options{Limits: Limits{MaxAdmitting: 3}}, func(_ *bench, e *Events) {
		e.Admit = func(*Admission) error { return nil }
	})
	for round := range 20 {
		for i := range 5 {
			b.play(fmt.Sprintf("get EIO=4&transport=polling conn=r%dc%d", round, i))
		}
		b.play("advance 11s")
	}
	require.LessOrEqual(t, b.server.dispatch.admitting, 3)
	require.Positive(t, b.server.Stats().Limits[LimitAdmitting])
	b.rest()
	require.Zero(t, b.server.dispatch.admitting)
	b.begin("get EIO=4&transport=polling conn=last")
	b.finish()
}
