package enginetest

import (
	"testing"
	"time"

	"turbine/loop/looptest"
)

// SetPatience shortens the waits of a test of failures. Such tests do not run in
// parallel.
func SetPatience(t *testing.T, d time.Duration) {
	before := patience
	patience = d
	t.Cleanup(func() { patience = before })
}

// Raw connects a peer without a client.
func Raw(w *World) *looptest.Peer { return w.world.Dial() }

// Work lets the server work.
func Work(w *World) { w.work() }
