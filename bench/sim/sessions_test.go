package sim

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"turbine/engine"
	"turbine/engine/ops"
)

// BenchmarkSessions is what lists of sessions cost, by the number of sessions, while the
// loops have their heartbeats and messages, and what these lose by it: how late loops and
// pings were meanwhile. "nothing" is the same without a list, for as long.
//
//	go test -run '^$' -bench Sessions -benchtime 5x ./sim
func BenchmarkSessions(b *testing.B) {
	for _, sessions := range []int{10_000, 1_000_000} {
		const interval = 25 * time.Second
		w, err := newWorld(Options{Sessions: sessions, Opening: interval, PingInterval: interval}.withDefaults())
		require.NoError(b, err)
		w.start()
		require.NoError(b, w.open(b.Context()))
		for _, d := range w.drivers {
			d.messages.Store(int64(w.options.Messages) / int64(len(w.drivers)))
		}
		require.NoError(b, pause(b.Context(), interval/2)) // now pings are due all the time
		keys, err := ops.ParseKeys([]byte("nobody health -"))
		require.NoError(b, err)
		h, err := ops.New(ops.Options{Server: w.server, Keys: keys, Open: []ops.Scope{ops.Read}, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(b, err)
		for _, list := range []struct{ name, target, accept string }{
			{"nothing", "", ""},
			{"page of 100", "/v1/sessions", ""},
			{"page of 1000", "/v1/sessions?limit=1000", ""},
			{"page of nobody", "/v1/sessions?transport=polling", ""},
			{"page by address of nobody", "/v1/sessions?address=203.0.113.7", ""},
			{"stream", "/v1/sessions", "application/x-ndjson"},
		} {
			b.Run(fmt.Sprint(sessions, "/", list.name), func(b *testing.B) {
				b.ReportAllocs()
				before := w.server.Stats()
				var longest time.Duration
				for b.Loop() {
					if list.target == "" {
						time.Sleep(time.Second)
						continue
					}
					r := httptest.NewRequest(http.MethodGet, list.target, nil)
					r.Header.Set("Accept", list.accept)
					answer := &discard{header: http.Header{}}
					began := time.Now()
					h.ServeHTTP(answer, r)
					longest = max(longest, time.Since(began))
					if answer.code != 0 || list.accept != "" && answer.lines != sessions {
						b.Fatal(answer.code, answer.lines)
					}
				}
				after := w.server.Stats()
				b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
				b.ReportMetric(late(before.LoopLag, after.LoopLag), "loop-lag-ms-p99")
				b.ReportMetric(latest(before.LoopLag, after.LoopLag), "loop-lag-ms-max")
				b.ReportMetric(late(before.PingLateness, after.PingLateness), "ping-ms-p99")
			})
		}
		w.end()
	}
}

// late is the bound below which 99 % of what was measured in between was, in ms.
func late(before, after engine.Delays) float64 { return quantile(before, after, 0.99) }

// latest is the bound below which all was.
func latest(before, after engine.Delays) float64 { return quantile(before, after, 1) }

func quantile(before, after engine.Delays, q float64) float64 {
	var n int64
	all := float64(after.Count() - before.Count())
	for i, bound := range engine.DelayBounds {
		if n += after.Counts[i] - before.Counts[i]; float64(n) >= q*all {
			return float64(bound.Microseconds()) / 1000
		}
	}
	return float64(time.Minute.Milliseconds())
}

// A discard counts the lines of an answer.
type discard struct {
	header http.Header
	code   int
	lines  int
}

func (d *discard) Header() http.Header  { return d.header }
func (d *discard) WriteHeader(code int) { d.code = code }

func (d *discard) Write(p []byte) (int, error) {
	d.lines += bytes.Count(p, []byte("\n"))
	return len(p), nil
}
