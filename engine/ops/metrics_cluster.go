package ops

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// A clusterFamily is a family of a server that is a node of a cluster.
type clusterFamily struct {
	name   string
	help   string
	labels []string
	kind   prometheus.ValueType
	read   func(*ClusterFigures, put)
}

// clusterFamilies are all metrics of a cluster, as one node sees it. No node has a label
// of its own: nodes come and go, and each start of a process is a new one.
var clusterFamilies = []clusterFamily{
	{
		name: "turbine_cluster_members", labels: []string{"state"}, kind: gauge,
		help: "Nodes of the cluster that this one knows, by state, itself among them. " +
			"All nodes should agree; suspect, dead or incompatible: look at that node, and at the network between.",
		read: func(f *ClusterFigures, put put) {
			for _, state := range slices.Sorted(maps.Keys(f.Members)) {
				put(float64(f.Members[state]), state)
			}
		},
	},
	{
		name: "turbine_cluster_nats_up", kind: gauge,
		help: "1 while this node is connected to NATS, by which nodes find each other and publish. " +
			"0: requests still travel between nodes, but what is published stays on its node; look at NATS.",
		read: func(f *ClusterFigures, put put) { put(truth(f.NATSUp)) },
	},
}

// clusterCollector makes metrics of a cluster's figures.
type clusterCollector struct {
	cluster Cluster
	descs   []*prometheus.Desc // by family
}

func newClusterCollector(of Cluster) *clusterCollector {
	c := &clusterCollector{cluster: of}
	for _, f := range clusterFamilies {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, f.labels, nil))
	}
	return c
}

// Describe is for the registry.
func (c *clusterCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		descs <- desc
	}
}

// Collect is for the registry, at each scrape.
func (c *clusterCollector) Collect(metrics chan<- prometheus.Metric) {
	figures := c.cluster.Figures()
	for i, f := range clusterFamilies {
		f.read(&figures, func(value float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(c.descs[i], f.kind, value, labels...)
		})
	}
}
