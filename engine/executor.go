package engine

import (
	"errors"
	"sync/atomic"
)

// An Executor runs tasks on goroutines of its own, see Options.Executor.
// NewExecutor makes one; an *ants.Pool that was made with
// ants.WithNonblocking(true) is also one.
type Executor interface {
	// Submit lets another goroutine run task soon, or returns an error and lets
	// nobody run it. It must not block: it is called on event loops. Options.Executor
	// says what becomes of tasks that are taken and not run.
	Submit(task func()) error
}

// defaultGoroutines is what NewExecutor makes of a number below 1.
const defaultGoroutines = 1024

// NewExecutor returns an Executor of at most limit goroutines, 1,024 if limit is
// below 1. The goroutines exist only while they have something to do, so it need not
// be closed. When all are busy, Submit returns an error. Several servers may share
// one.
func NewExecutor(limit int) Executor {
	if limit < 1 {
		limit = defaultGoroutines
	}
	return &goroutines{limit: int64(limit)}
}

type goroutines struct {
	limit   int64
	running atomic.Int64
}

var errExecutorBusy = errors.New("engine: all goroutines of the executor are busy")

func (g *goroutines) Submit(task func()) error {
	if g.running.Add(1) > g.limit {
		g.running.Add(-1)
		return errExecutorBusy
	}
	go func() {
		defer g.running.Add(-1)
		task()
	}()
	return nil
}
