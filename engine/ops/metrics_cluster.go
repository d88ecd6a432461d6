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
		read: func(f *ClusterFigures, put put) { putEach(f.Members, put) },
	},
	{
		name: "turbine_cluster_nats_up", kind: gauge,
		help: "1 while this node is connected to NATS, by which nodes find each other and publish. " +
			"0: requests still travel between nodes, but what is published stays on its node; look at NATS.",
		read: func(f *ClusterFigures, put put) { put(truth(f.NATSUp)) },
	},
	{
		name: "turbine_cluster_links", labels: []string{"state"}, kind: gauge,
		help: "Links from this node to others, by state: one for each event loop and node, made when it is needed. " +
			"dialing or hello for more than seconds: the node's --cluster-advertise cannot be reached; pressed: the network to it, or that node, is slow.",
		read: func(f *ClusterFigures, put put) { putEach(f.Links, put) },
	},
	{
		name: "turbine_cluster_link_bytes_total", labels: []string{"way"}, kind: counter,
		help: "Bytes of links, from (in) and to (out) other nodes, without those of relayed WebSockets.",
		read: func(f *ClusterFigures, put put) {
			put(float64(f.BytesIn), "in")
			put(float64(f.BytesOut), "out")
		},
	},
	{
		name: "turbine_cluster_streams", kind: gauge,
		help: "Requests of this node's clients that are at other nodes, such as polls that wait there.",
		read: func(f *ClusterFigures, put put) { put(float64(f.Streams)) },
	},
	{
		name: "turbine_cluster_guests", kind: gauge,
		help: "Requests of other nodes' clients that are here.",
		read: func(f *ClusterFigures, put put) { put(float64(f.Guests)) },
	},
	{
		name: "turbine_cluster_relays", kind: gauge,
		help: "WebSockets of this node's clients that are passed on to the nodes of their sessions. " +
			"Each costs both nodes; a balancer that keeps clients with their nodes has fewer.",
		read: func(f *ClusterFigures, put put) { put(float64(f.Relays)) },
	},
	{
		name: "turbine_cluster_forwards_total", labels: []string{"result"}, kind: counter,
		help: "Requests to sessions of other nodes, by what became of them: answered, aborted (its client was cut off), failed (node or link was gone), no_room (503, the link takes too little).",
		read: func(f *ClusterFigures, put put) { putEach(f.Forwards, put) },
	},
	{
		name: "turbine_cluster_relays_total", labels: []string{"result"}, kind: counter,
		help: "WebSockets to sessions of other nodes, by what became of them: opened, refused (503, --max-relays), failed (node or link was gone), stalled (cut, since one side took nothing).",
		read: func(f *ClusterFigures, put put) { putEach(f.Relayed, put) },
	},
	{
		name: "turbine_cluster_unknown_sid_total", labels: []string{"cause"}, kind: counter,
		help: "Requests whose id names a node that is not there: asked (all nodes were asked for it), former (it is dead, or has left), absent (nobody knew it), limited (too many were asked for). " +
			"former rises for some time when a node ends; the others are made up, or of another cluster.",
		read: func(f *ClusterFigures, put put) { putEach(f.Unknown, put) },
	},
}

// putEach adds a sample for each name.
func putEach[N int | uint64](values map[string]N, put put) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		put(float64(values[name]), name)
	}
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
