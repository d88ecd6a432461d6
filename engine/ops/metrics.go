package ops

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"turbine/engine"
)

// Collector has the figures of s for Prometheus: it calls Server.Stats when a registry
// gathers, and keeps nothing between two scrapes. A program that embeds the server
// registers it in a registry of its own:
//
//	registry.MustRegister(ops.Collector(server))
//
// Several servers of a process need a label that tells them apart, which
// prometheus.WrapRegistererWith adds. docs/monitoring has a table of the metrics, alert
// rules and a dashboard. Safe from any goroutine.
func Collector(s *engine.Server) prometheus.Collector { return newCollector(s.Stats) }

// newMetrics is the page of metrics, for GET and HEAD: those of s, of Go, of the process
// of the build, and of the cluster, from a registry of its own. A node without a name has
// no turbine_node_info; without a version it is that of the build.
func newMetrics(o *Options) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(Collector(o.Server), collectors.NewGoCollector(), newProcess(), newBuildInfo(o.Version, o.Commit), newNodeInfo(o.name))
	if o.Cluster != nil {
		registry.MustRegister(newClusterCollector(o.Cluster))
	}
	return newPages(registry)
}

// scrape answers with the page of metrics.
func (h *Handler) scrape(w http.ResponseWriter, r *http.Request) error {
	h.metrics.ServeHTTP(w, r)
	return nil
}

// collector makes metrics of figures. It has no state: a gauge that is counted up and
// down drifts away from the truth, one that is read at the scrape cannot.
type collector struct {
	stats func() engine.Stats
	descs []*prometheus.Desc // by family
}

func newCollector(stats func() engine.Stats) *collector {
	c := &collector{stats: stats}
	for _, f := range families {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, f.labels, nil))
	}
	return c
}

// Describe is for the registry.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		descs <- desc
	}
}

// Collect is for the registry, at each scrape.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	stats := c.stats()
	for i, f := range families {
		desc := c.descs[i]
		if f.delays != nil {
			metrics <- histogram(desc, f.delays(&stats))
			continue
		}
		f.read(&stats, func(value float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, f.kind, value, labels...)
		})
	}
}

// histogram has the counts below each bound, which are not cumulative in d.
func histogram(desc *prometheus.Desc, d *engine.Delays) prometheus.Metric {
	buckets := make(map[float64]uint64, len(engine.DelayBounds))
	var below uint64
	for i, bound := range engine.DelayBounds {
		below += uint64(d.Counts[i]) // #nosec G115 -- a count
		buckets[bound.Seconds()] = below
	}
	// What is above all bounds is in the count alone.
	count := below + uint64(d.Counts[len(engine.DelayBounds)]) // #nosec G115 -- a count
	return prometheus.MustNewConstHistogram(desc, count, d.Sum.Seconds(), buckets)
}
