package sim

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"turbine/engine/ops"
)

// BenchmarkScrape is what Prometheus waits for, by the number of sessions, while the
// loops have their heartbeats and messages: go test -run '^$' -bench Scrape ./sim
func BenchmarkScrape(b *testing.B) {
	for _, sessions := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			w, err := newWorld(Options{Sessions: sessions, Opening: time.Duration(sessions) * 20 * time.Microsecond}.withDefaults())
			require.NoError(b, err)
			w.start()
			defer w.end()
			require.NoError(b, w.open(b.Context()))

			registry := prometheus.NewRegistry()
			registry.MustRegister(ops.Collector(w.server))
			page := promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
			request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			b.ReportAllocs()
			var longest time.Duration
			for b.Loop() {
				began := time.Now()
				answer := httptest.NewRecorder()
				page.ServeHTTP(answer, request)
				longest = max(longest, time.Since(began))
				if answer.Code != http.StatusOK {
					b.Fatal(answer.Body)
				}
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
		})
	}
}
