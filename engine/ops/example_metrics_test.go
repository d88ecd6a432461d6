package ops_test

import (
	"log"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"turbine/engine"
	"turbine/engine/ops"
)

// A program that has metrics of its own adds those of the server to its registry.
func ExampleCollector() {
	server, err := engine.New(engine.Options{}, engine.Events{})
	if err != nil {
		log.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(ops.Collector(server))
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
}
