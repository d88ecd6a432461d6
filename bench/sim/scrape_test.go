package sim

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"turbine/engine/ops"
)

// BenchmarkOperations is what an operator waits for, by the number of sessions, over the
// listener of operations, while the loops have heartbeats and messages:
//
//	go test -run '^$' -bench Operations -benchtime 100x ./sim
//
// ms-held is the longest CPU time for which a loop has done at a time what others asked
// it for: all of it for the operator. "nothing" is what there is of it when nobody asks.
func BenchmarkOperations(b *testing.B) {
	for _, sessions := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			w, err := newWorld(Options{Sessions: sessions, Opening: time.Duration(sessions) * 20 * time.Microsecond}.withDefaults())
			require.NoError(b, err)
			w.watch = true
			w.start()
			defer w.end()
			require.NoError(b, w.open(b.Context()))
			for _, d := range w.drivers {
				d.messages.Store(int64(w.options.Messages / len(w.drivers)))
			}
			o := newOperator(b, w)
			for _, path := range []string{"", "/metrics", "/v1/stats"} {
				b.Run(cmp.Or(path, "nothing"), func(b *testing.B) { o.measure(b, path) })
			}
		})
	}
}

// operator asks a world's server over a real connection.
type operator struct {
	world  *world
	base   string
	client http.Client
}

func newOperator(b *testing.B, w *world) *operator {
	handler, err := ops.New(ops.Options{Server: w.server})
	require.NoError(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	server := ops.NewServer(handler)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l, nil) }()
	o := &operator{world: w, base: "http://" + l.Addr().String(), client: http.Client{Transport: &http.Transport{}}}
	b.Cleanup(func() {
		o.client.CloseIdleConnections()
		_ = server.Close()
		require.ErrorIs(b, <-ended, http.ErrServerClosed)
	})
	return o
}

// between is from one question to the next, so that they are not what the machine is busy
// with.
const between = 20 * time.Millisecond

func (o *operator) measure(b *testing.B, path string) {
	for _, d := range o.world.drivers {
		d.held.Store(0)
	}
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		time.Sleep(between)
		b.StartTimer()
		if path == "" {
			continue
		}
		began := time.Now()
		o.ask(b, path)
		took = append(took, time.Since(began))
	}
	var held time.Duration
	for _, d := range o.world.drivers {
		held = max(held, time.Duration(d.held.Load()))
	}
	b.ReportMetric(ms(held), "ms-held")
	if len(took) > 0 {
		slices.Sort(took)
		b.ReportMetric(ms(took[len(took)/2]), "ms-median")
		b.ReportMetric(ms(took[len(took)-1]), "ms-longest")
	}
}

func (o *operator) ask(b *testing.B, path string) {
	answer, err := o.client.Get(o.base + path)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		b.Fatal(path, answer.Status, err)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
