package ops

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"turbine/engine"
	"turbine/engine/enginetest"
)

// samples are what a registry gathers: values by name and labels, as in
// `turbine_sessions{revision="4",transport="polling"}`. A histogram has those with _bucket,
// _sum and _count that its text form has.
func samples(t *testing.T, c ...prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c...)
	gathered, err := registry.Gather()
	require.NoError(t, err)
	all := map[string]float64{}
	for _, f := range gathered {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			name := f.GetName()
			key := func(suffix string, more ...string) string {
				if l := append(slices.Clone(labels), more...); len(l) > 0 {
					return name + suffix + "{" + strings.Join(l, ",") + "}"
				}
				return name + suffix
			}
			if h := m.GetHistogram(); h != nil {
				for _, b := range h.GetBucket() {
					all[key("_bucket", `le="`+strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64)+`"`)] = float64(b.GetCumulativeCount())
				}
				all[key("_sum")], all[key("_count")] = h.GetSampleSum(), float64(h.GetSampleCount())
				continue
			}
			all[key("")] = m.GetGauge().GetValue() + m.GetCounter().GetValue() // one of them is nil
		}
	}
	return all
}

// fixed is a collector of these figures.
func fixed(s engine.Stats) prometheus.Collector {
	return newCollector(func() engine.Stats { return s })
}

// numbered gives each number below v another value, from 1001 on, and returns these by
// the fields that lead there. The first of an array by a kind stands for none, and a
// histogram is a matter of its own.
func numbered(v reflect.Value, path string, next *int64, all map[string]float64) {
	switch kind := v.Kind(); {
	case v.Type() == reflect.TypeFor[engine.Delays](), v.Type() == reflect.TypeFor[engine.Phase]():
	case v.Type() == reflect.TypeFor[time.Duration]():
		*next++
		v.SetInt(*next * int64(time.Second))
		all[path] = float64(*next)
	case v.CanInt():
		*next++
		v.SetInt(*next)
		all[path] = float64(*next)
	case v.CanUint():
		*next++
		v.SetUint(uint64(*next))
		all[path] = float64(*next)
	case kind == reflect.Struct:
		for i := range v.NumField() {
			numbered(v.Field(i), path+"."+v.Type().Field(i).Name, next, all)
		}
	case kind == reflect.Array, kind == reflect.Slice:
		first := 1
		if kind == reflect.Slice || path == ".Limits" {
			first = 0
		}
		for i := first; i < v.Len(); i++ {
			numbered(v.Index(i), path+"."+strconv.Itoa(i), next, all)
		}
	}
}

// A field that somebody adds to Stats has to become a metric.
func TestEachFigureIsAMetric(t *testing.T) {
	stats := engine.Stats{Loops: make([]engine.LoopStats, 3)}
	figures, next := map[string]float64{}, int64(1000)
	numbered(reflect.ValueOf(&stats).Elem(), "", &next, figures)
	require.Greater(t, len(figures), 100)

	all := samples(t, fixed(stats))
	values := map[float64]string{}
	for key, value := range all {
		values[value] = key
	}
	for field, value := range figures {
		switch field {
		case ".Sessions": // is the sum of those by transport
		case ".Forbidden": // is in Refused
		default:
			require.Contains(t, values, value, "Stats%s is no metric", field)
		}
	}
	for key, want := range map[string]float64{
		`turbine_sessions{revision="3",transport="polling"}`:              figures[".ByTransport.1.Sessions.Revision3"],
		`turbine_sessions{revision="4",transport="websocket"}`:            figures[".ByTransport.2.Sessions.Revision4"],
		`turbine_sessions_opened_total{revision="4",transport="polling"}`: figures[".ByTransport.1.Opened.Revision4"],
		`turbine_messages_received_total{transport="websocket"}`:          figures[".ByTransport.2.In.Messages"],
		`turbine_messages_sent_bytes_total{transport="polling"}`:          figures[".ByTransport.1.Out.Bytes"],
		`turbine_sessions_closed_total{reason="ping_timeout"}`:            figures[".Closed."+strconv.Itoa(int(engine.ReasonPingTimeout))],
		`turbine_requests_refused_total{reason="foreign_origin"}`:         figures[".Refused."+strconv.Itoa(int(engine.CauseForeignOrigin))],
		`turbine_limits_met_total{limit="conns"}`:                         figures[".Limits."+strconv.Itoa(int(engine.LimitConns))],
		`turbine_limits_met_total{limit="fallback_waiting"}`:              figures[".Limits."+strconv.Itoa(int(engine.LimitFallbackWaiting))],
		`turbine_upgrades_ended_total{outcome="done"}`:                    figures[".Upgrades.Done"],
		`turbine_upgrades_ended_total{outcome="timeout"}`:                 figures[".Upgrades.Failed."+strconv.Itoa(int(engine.UpgradeTimeout))],
		`turbine_connections_refused_total{reason="per_ip"}`:              figures[".Accepts.OverPerIP"],
		`turbine_tls_handshakes_total{outcome="failed"}`:                  figures[".TLS.Failed"],
		`turbine_loop_queue_bytes{loop="2"}`:                              figures[".Loops.2.Queued"],
		`turbine_uptime_seconds`:                                          figures[".Uptime"],
		`turbine_loops`:                                                   3,
		`turbine_phase{phase="new"}`:                                      1,
		`turbine_phase{phase="serving"}`:                                  0,
	} {
		require.Contains(t, all, key)
		require.Equal(t, want, all[key], key)
	}
}

// A figure has the same name in a log and in the metrics.
func TestMetricsHaveTheNamesOfFigures(t *testing.T) {
	stats := engine.Stats{Loops: make([]engine.LoopStats, 2), Phase: engine.PhaseDraining}
	next := int64(1000)
	numbered(reflect.ValueOf(&stats).Elem(), "", &next, map[string]float64{})
	all := samples(t, fixed(stats))
	stats.Each(func(name, label string, value int64, isCounter bool) {
		require.Equal(t, isCounter, strings.HasSuffix(name, "_total"))
		key := "turbine_" + name
		if label != "" {
			labels := strings.Split(label, ",")
			slices.Sort(labels)
			key += "{" + strings.Join(labels, ",") + "}"
		}
		require.Contains(t, all, key)
		require.Equal(t, float64(value), all[key], key)
	})
}

func TestDelaysAreAHistogram(t *testing.T) {
	var stats engine.Stats
	stats.PingLateness.Counts[0] = 5                                // at most 1 ms
	stats.PingLateness.Counts[3] = 2                                // at most 10 ms
	stats.PingLateness.Counts[len(stats.PingLateness.Counts)-1] = 1 // above all
	stats.PingLateness.Sum = 7 * time.Second
	all := samples(t, fixed(stats))
	for key, want := range map[string]float64{
		`turbine_ping_lateness_seconds_bucket{le="0.001"}`: 5,
		`turbine_ping_lateness_seconds_bucket{le="0.005"}`: 5,
		`turbine_ping_lateness_seconds_bucket{le="0.01"}`:  7,
		`turbine_ping_lateness_seconds_bucket{le="5"}`:     7,
		`turbine_ping_lateness_seconds_count`:              8,
		`turbine_ping_lateness_seconds_sum`:                7,
		`turbine_loop_lag_seconds_count`:                   0,
	} {
		require.Contains(t, all, key)
		require.InDelta(t, want, all[key], 1e-9, key)
	}
}

// A limit of 0 would be one that is met.
func TestLimitsThatAreNotKnownAreAbsent(t *testing.T) {
	all := samples(t, fixed(engine.Stats{}))
	for _, name := range []string{"turbine_connections_limit", "turbine_descriptors_limit"} {
		require.NotContains(t, all, name)
	}
	require.Contains(t, all, "turbine_connections")
}

// How many series there are is a matter of the loops alone, whatever the clients do.
func TestSeriesAreBounded(t *testing.T) {
	few := samples(t, fixed(engine.Stats{Loops: make([]engine.LoopStats, 1)}))
	many := samples(t, fixed(engine.Stats{Loops: make([]engine.LoopStats, 256)}))
	require.Less(t, len(few), 250)
	require.Equal(t, len(few)+3*255, len(many))
}

func TestCollectorFollowsTheServer(t *testing.T) {
	world := enginetest.New(t, engine.Options{}, engine.Events{Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }})
	collector := Collector(world.Server())
	before := samples(t, collector)
	c := world.Dial(enginetest.Options{})
	c.Send(engine.Text("hello"))
	world.Advance(time.Second) // loops tell how much there was at their ticks
	after := samples(t, collector)
	for key, by := range map[string]float64{
		`turbine_messages_received_total`:       1,
		`turbine_messages_received_bytes_total`: 5,
		`turbine_messages_sent_total`:           1,
		`turbine_messages_sent_bytes_total`:     5,
		`turbine_sessions_opened_total`:         1,
		`turbine_sessions`:                      1,
	} {
		require.Equal(t, by, sum(after, key)-sum(before, key), key)
	}
	require.Equal(t, 1.0, after[`turbine_phase{phase="serving"}`])
}

// sum is that of all series of a metric.
func sum(all map[string]float64, name string) (total float64) {
	for key, value := range all {
		if key == name || strings.HasPrefix(key, name+"{") {
			total += value
		}
	}
	return total
}

func TestNamesFollowTheConventions(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(fixed(engine.Stats{Loops: make([]engine.LoopStats, 2)}), newBuildInfo("1.0.0", "0123abcd"), newNodeInfo(func() string { return "a" }), newClusterCollector(&nodes{}))
	gathered, err := registry.Gather()
	require.NoError(t, err)
	problems, err := promlint.NewWithMetricFamilies(gathered).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)

	labels := []string{"cause", "commit", "goversion", "limit", "loop", "node", "outcome", "phase", "reason", "result", "revision", "state", "transport", "version", "way"}
	for _, f := range gathered {
		require.Regexp(t, `^turbine_[a-z]+(_[a-z]+)*$`, f.GetName())
		require.Regexp(t, `^[A-Z1].*\.$`, f.GetHelp(), f.GetName())
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				require.Contains(t, labels, l.GetName(), f.GetName())
				if l.GetName() != "goversion" && l.GetName() != "version" && l.GetName() != "commit" {
					require.Regexp(t, `^[a-z0-9_]+$`, l.GetValue(), f.GetName())
				}
			}
		}
	}
}

// openMetrics is what Prometheus asks for.
const openMetrics = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"

func TestPageOfMetrics(t *testing.T) {
	world := enginetest.New(t, engine.Options{}, engine.Events{})
	c := world.Dial(enginetest.Options{})
	page := newMetrics(&Options{Server: world.Server(), Node: "paris-1", Version: "1.2.3", Commit: "0123abcd"})
	for _, c := range []struct {
		accept, contentType, end string
	}{
		{"", "text/plain; version=0.0.4", "\n"},
		{openMetrics, "application/openmetrics-text; version=1.0.0", "\n# EOF\n"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", c.accept)
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
		require.Contains(t, w.Header().Get("Content-Type"), c.contentType)
		text := w.Body.String()
		require.True(t, strings.HasSuffix(text, c.end))
		require.Contains(t, text, "\nturbine_node_info{node=\"paris-1\"} 1")
		require.Regexp(t, `(?m)^turbine_build_info\{commit="0123abcd",goversion="go[^"]+",version="1\.2\.3"\} 1`, text)
		require.Contains(t, text, "\ngo_goroutines ")
		require.Contains(t, text, "\ngo_memstats_heap_inuse_bytes ")
		require.NotContains(t, text, " # {", "no exemplar")
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.NotContains(t, w.Body.String(), c.ID(), "a session's id is its credential")

	w = httptest.NewRecorder()
	newMetrics(&Options{Server: world.Server()}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.NotContains(t, w.Body.String(), "turbine_node_info")
	require.Contains(t, w.Body.String(), "turbine_build_info{")
}

// A stalled response is one whose client does not read until it is released. It notes
// its deadline.
type stalled struct {
	header   http.Header
	code     int
	entered  chan<- struct{}
	released <-chan struct{}
	enter    sync.Once
	deadline time.Time
}

func (s *stalled) Header() http.Header { return s.header }

func (s *stalled) WriteHeader(code int) { s.code = code }

func (s *stalled) SetWriteDeadline(at time.Time) error {
	s.deadline = at
	return nil
}

func (s *stalled) Write(p []byte) (int, error) {
	s.enter.Do(func() {
		s.entered <- struct{}{}
		<-s.released
	})
	return len(p), nil
}

// A client that does not read its page keeps no place: it has a time, and others are
// served meanwhile.
func TestScrapesThatStallKeepNobodyOut(t *testing.T) {
	world := enginetest.New(t, engine.Options{}, engine.Events{})
	page := newMetrics(&Options{Server: world.Server()})
	scrape := func() *http.Request { return httptest.NewRequest(http.MethodGet, "/metrics", nil) }
	entered, released := make(chan struct{}), make(chan struct{})
	var all []*stalled
	var wait sync.WaitGroup
	for range 16 {
		w := &stalled{header: http.Header{}, entered: entered, released: released}
		all = append(all, w)
		wait.Go(func() { page.ServeHTTP(w, scrape()) })
		<-entered
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, scrape())
	require.Equal(t, http.StatusOK, w.Code)
	close(released)
	wait.Wait()
	for _, w := range all {
		require.False(t, w.deadline.IsZero())
		require.Zero(t, w.code, "it is 200 without a word")
	}
}

// Nor does such a client keep its connection when others need the place.
func TestScrapesThatStallGiveTheirConnectionAway(t *testing.T) {
	h, _ := newTest(t, Options{})
	g := &gate{most: 1}
	conn, _ := net.Pipe()
	c := &gated{Conn: conn, gate: g}
	require.True(t, g.admit(c))
	entered, released := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		r := request("GET", "/metrics", "")
		h.ServeHTTP(&stalled{header: http.Header{}, entered: entered, released: released}, r.WithContext(context.WithValue(r.Context(), connKey{}, net.Conn(c))))
	})
	<-entered
	other, _ := net.Pipe()
	require.True(t, g.admit(&gated{Conn: other, gate: g}))
	_, err := conn.Write(nil)
	require.ErrorIs(t, err, io.ErrClosedPipe)
	close(released)
	wait.Wait()
	require.Equal(t, 1, g.open)
	require.Equal(t, 1, g.idle.Len())
}

// What a scrape allocates is bounded by the series there are: a few objects each.
func TestScrapeAllocatesByItsSeries(t *testing.T) {
	stats := engine.Stats{Loops: make([]engine.LoopStats, 256)}
	for i := range stats.Loops {
		stats.Loops[i] = engine.LoopStats{Sessions: 1 << 20, Conns: 1 << 20, Queued: 1 << 40}
	}
	c := fixed(stats)
	series := float64(len(samples(t, c)))
	metrics := make(chan prometheus.Metric, 2048)
	allocs := testing.AllocsPerRun(20, func() {
		c.Collect(metrics)
		for len(metrics) > 0 {
			<-metrics
		}
	})
	require.Less(t, allocs, 12*series)
}

func BenchmarkScrape(b *testing.B) {
	world := enginetest.New(b, engine.Options{}, engine.Events{})
	page := newMetrics(&Options{Server: world.Server()})
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", openMetrics)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		if _, err := io.Copy(io.Discard, w.Body); err != nil || w.Code != http.StatusOK {
			b.Fatal(w.Code, err)
		}
	}
}
