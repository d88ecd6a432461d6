package ops

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// module is the one that this package is of.
const module = "turbine"

const unknown = "unknown"

const (
	buildInfoHelp = "1, with the version of turbine, its commit and the version of Go as labels. It shows which instances were upgraded."
	nodeInfoHelp  = "1, with the name of the node as a label. It joins an instance with what the log calls it."
)

// newBuildInfo is a constant 1 whose labels say what was built: by it other metrics are
// joined with the version, as Prometheus users do. A program that knows its version
// and its commit gives them, others give "".
func newBuildInfo(version, commit string) prometheus.Collector {
	info, _ := debug.ReadBuildInfo()
	notedVersion, notedCommit := built(info)
	version, commit = cmp.Or(version, notedVersion), cmp.Or(commit, notedCommit)
	return constant("turbine_build_info", buildInfoHelp,
		prometheus.Labels{"version": version, "commit": commit, "goversion": runtime.Version()})
}

// nodeInfo is a constant 1 with the name of the node, which may be known late.
type nodeInfo struct {
	name func() string
	desc *prometheus.Desc
}

func newNodeInfo(name func() string) *nodeInfo {
	return &nodeInfo{name, prometheus.NewDesc("turbine_node_info", nodeInfoHelp, []string{"node"}, nil)}
}

// Describe is for the registry.
func (n *nodeInfo) Describe(descs chan<- *prometheus.Desc) { descs <- n.desc }

// Collect is for the registry. There is no metric without a name.
func (n *nodeInfo) Collect(metrics chan<- prometheus.Metric) {
	if name := n.name(); name != "" {
		metrics <- prometheus.MustNewConstMetric(n.desc, gauge, 1, strings.ToValidUTF8(name, "?"))
	}
}

func constant(name, help string, labels prometheus.Labels) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return 1 })
}

// built is the version of turbine in a program, and the commit where the program is
// turbine itself: in any other the commit is that of the program.
func built(info *debug.BuildInfo) (version, commit string) {
	version, commit = unknown, unknown
	if info == nil {
		return version, commit
	}
	if info.Main.Path != module {
		for _, dependency := range info.Deps {
			if dependency.Path != module {
				continue
			}
			for dependency.Replace != nil {
				dependency = dependency.Replace
			}
			version = cmp.Or(dependency.Version, unknown)
		}
		return version, commit
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			commit = cmp.Or(setting.Value, unknown)
		}
	}
	return cmp.Or(info.Main.Version, unknown), commit
}
