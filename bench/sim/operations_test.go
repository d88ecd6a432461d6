package sim

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"turbine/engine"
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
			for _, path := range append([]string{""}, o.paths(b)...) {
				b.Run(cmp.Or(path, "nothing"), func(b *testing.B) { o.measure(b, path) })
			}
		})
	}
}

// No loop is asked for what an operator looks at, so none is held up by it.
func TestLoopsAreNotAsked(t *testing.T) {
	w, err := newWorld(Options{
		Sessions: 300, Loops: 2, Opening: 50 * time.Millisecond, PingInterval: time.Hour, PingTimeout: time.Hour, Messages: -1, Garbage: -1,
	}.withDefaults())
	require.NoError(t, err)
	w.start()
	defer w.end()
	require.NoError(t, w.open(t.Context()))
	wakes := func() (n int64) {
		for _, d := range w.drivers {
			n += d.wakes.Load()
		}
		return n
	}
	o := newOperator(t, w)
	before := wakes()
	for _, path := range o.paths(t) {
		o.ask(t, path)
	}
	require.Equal(t, before, wakes())
	for s := range w.server.Sessions() {
		require.NoError(t, s.Send(engine.Text("this a loop is woken for")))
	}
	require.Greater(t, wakes(), before)
}

// operator asks a world's server over a real connection.
type operator struct {
	world  *world
	base   string
	client http.Client
}

func newOperator(b testing.TB, w *world) *operator {
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

// BenchmarkGroups is the same with a million groups, of ten for each session:
//
//	go test -run '^$' -bench Groups -benchtime 60x ./sim
func BenchmarkGroups(b *testing.B) {
	const sessions, each = 100_000, 10
	w, err := newWorld(Options{Sessions: sessions, Opening: 2 * time.Second}.withDefaults())
	require.NoError(b, err)
	w.watch = true
	w.start()
	defer w.end()
	require.NoError(b, w.open(b.Context()))
	n := 0
	for s := range w.server.Sessions() {
		for range each {
			s.Join(fmt.Sprintf("room:%07d", n))
			n++
		}
	}
	for w.server.Count(fmt.Sprintf("room:%07d", n-1)) == 0 { // the last one to join
		time.Sleep(between)
	}
	o := newOperator(b, w)
	for _, path := range []string{"", "/v1/groups", "/v1/groups?limit=1000", "/v1/groups?prefix=room:0500000", "/v1/groups?prefix=none"} {
		b.Run(cmp.Or(path, "nothing"), func(b *testing.B) { o.measure(b, path) })
	}
}

// between is from one question to the next, so that they are not what the machine is busy
// with; and so that no page of metrics is one that was made before.
const between = 260 * time.Millisecond

func (o *operator) measure(b *testing.B, path string) {
	for _, d := range o.world.drivers {
		d.held.Store(0)
	}
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		time.Sleep(between)
		if path == "" {
			time.Sleep(time.Second) // as long as others take, to meet what they meet
		}
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

// paths are what is asked for. The last page is of sessions of which there are none:
// it looks at all.
func (o *operator) paths(b testing.TB) []string {
	return []string{
		"/metrics", "/v1/stats", "/v1/groups", "/v1/sessions?limit=1000",
		"/v1/sessions?limit=1000&cursor=" + o.middle(b), "/v1/sessions?transport=polling", streamed,
	}
}

// streamed asks for a stream of all sessions.
const streamed = "/v1/sessions as NDJSON"

func (o *operator) ask(b testing.TB, path string) {
	target, stream := strings.CutSuffix(path, " as NDJSON")
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, o.base+target, nil)
	if err != nil {
		b.Fatal(err)
	}
	if stream {
		r.Header.Set("Accept", "application/x-ndjson")
	}
	answer, err := o.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		b.Fatal(path, answer.Status, err)
	}
}

// middle is a cursor in the middle of all sessions.
func (o *operator) middle(b testing.TB) string {
	n := 0
	for _, at := range o.world.server.SessionsFrom(engine.Cursor{}) {
		if n++; n > o.world.options.Sessions/2 {
			return at.String()
		}
	}
	b.Fatal("there is no middle")
	return ""
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
