package loop_test

import (
	"log/slog"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// A loop ends in a time that goes with the number of its connections, not with
// its square.
func TestCloseOfMany(t *testing.T) {
	w := looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, func(*loop.Conn) loop.Handler { return nobody{} })
	for range 200_000 {
		w.Dial()
	}
	w.Run()
	start := time.Now()
	w.Close()
	require.Less(t, time.Since(start), 2*time.Second)
}

type nobody struct{}

func (nobody) Data([]byte)  {}
func (nobody) Drained()     {}
func (nobody) EOF()         {}
func (nobody) Closed(error) {}
