package engine_test

import (
	"math/rand/v2"
	"testing"

	"turbine/engine"
	"turbine/internal/race"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// modelExecutor is an Executor that takes its time, and goes the same way for
// the same seed. A nil one is none.
type modelExecutor struct {
	random *rand.Rand
	tasks  []func()
	quick  bool
}

func newModelExecutor(seed uint64) *modelExecutor {
	return &modelExecutor{random: rand.New(rand.NewPCG(seed, 4))}
}

// modelExecutorFor is for every second run.
func modelExecutorFor(seed uint64) *modelExecutor {
	if seed%2 == 0 {
		return nil
	}
	return newModelExecutor(seed)
}

func (e *modelExecutor) Submit(task func()) error {
	e.tasks = append(e.tasks, task)
	return nil
}

// options makes the server use it, with limits that are met.
func (e *modelExecutor) options(o *engine.Options) {
	if e == nil {
		return
	}
	o.Executor = e
	switch e.random.IntN(4) {
	case 0:
		o.Limits.MaxPending = 1
	case 1:
		o.Limits.MaxPending = 3000
	case 2:
		o.Limits.PendingBudget = 30_000
	}
}

// work runs some of the tasks, or none, in any order, and all in the end.
func (e *modelExecutor) work() {
	if e == nil {
		return
	}
	for len(e.tasks) > 0 && (e.quick || e.random.IntN(3) > 0) {
		i := e.random.IntN(len(e.tasks))
		task := e.tasks[i]
		e.tasks = append(e.tasks[:i], e.tasks[i+1:]...)
		task()
	}
}

// hurry is for when all is to come to rest.
func (e *modelExecutor) hurry() {
	if e != nil {
		e.quick = true
	}
}

// TestModelOnExecutor is TestModelDeliversOnceInOrder with an application that
// runs late on an Executor, and clients that wait for it; and the same where
// system calls fail.
func TestModelOnExecutor(t *testing.T) {
	target := int64(*modelMessages) / 4
	if testing.Short() || race.Enabled { // one goroutine: the detector finds nothing here
		target /= 10
	}
	for _, faulty := range []bool{false, true} {
		var counts modelCounts
		// Half of the runs have limits that make clients wait.
		goOn := func() bool {
			return counts.messages.Load() < target || counts.limits(engine.LimitPending) == 0 && counts.runs < 50
		}
		modelSeeds(t, &counts, goOn, func(seed uint64) {
			var faults *looptest.Faulty
			if faulty {
				faults = looptest.NewFaulty(seed, modelRates)
			}
			runModelInWorld(t, seed, faults, newModelExecutor(seed), &counts)
		})
		require.NotZero(t, counts.limits(engine.LimitPending), "nobody had to wait")
	}
}

// TestModelOnExecutorAndSockets is the same with goroutines that run at the same
// time.
func TestModelOnExecutorAndSockets(t *testing.T) {
	steps := 500
	if testing.Short() {
		steps = 50
	}
	var counts modelCounts
	modelSeeds(t, &counts, func() bool { return false }, func(seed uint64) {
		runModelOnSockets(t, seed, steps, false, &counts, func(o *engine.Options) {
			o.Executor, o.Limits.MaxPending = engine.NewExecutor(3), 4000
		})
	})
}
