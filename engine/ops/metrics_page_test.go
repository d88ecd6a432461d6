package ops

import (
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/stretchr/testify/require"

	"turbine/engine"
)

var rewrite = flag.Bool("rewrite", false, "write the table of docs/monitoring/README.md anew")

const monitoring = "../../docs/monitoring/"

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(monitoring + name)
	require.NoError(t, err)
	return string(text)
}

// The table of metrics is what the code makes of it. With -rewrite the test writes it.
func TestMetricsAreDocumented(t *testing.T) {
	const begin, end = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"
	page := read(t, "README.md")
	before, rest, ok := strings.Cut(page, begin)
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	want := before + begin + metricsTable() + end + after
	if *rewrite {
		require.NoError(t, os.WriteFile(monitoring+"README.md", []byte(want), 0o644))
		page = want
	}
	require.Equal(t, want, page, "run go test ./engine/ops -run MetricsAreDocumented -rewrite")
}

func metricsTable() string {
	var table strings.Builder
	row := func(name string, labels []string, kind, help string) {
		list := "-"
		if len(labels) > 0 {
			list = "`" + strings.Join(labels, "`, `") + "`"
		}
		table.WriteString("| `" + name + "` | " + kind + " | " + list + " | " + help + " |\n")
	}
	table.WriteString("| metric | kind | labels | what it is, and what to do |\n|---|---|---|---|\n")
	kinds := map[prometheus.ValueType]string{counter: "counter", gauge: "gauge"}
	for _, f := range families {
		kind := kinds[f.kind]
		if f.delays != nil {
			kind = "histogram"
		}
		row(f.name, f.labels, kind, f.help)
	}
	for _, f := range clusterFamilies {
		row(f.name, f.labels, kinds[f.kind], f.help)
	}
	row("turbine_build_info", []string{"version", "commit", "goversion"}, "gauge", buildInfoHelp)
	row("turbine_node_info", []string{"node"}, "gauge", nodeInfoHelp)
	return table.String()
}

var (
	metricName = regexp.MustCompile(`\b(turbine|go|process)(_[a-z]+)+\b`)
	alertName  = regexp.MustCompile(`- alert: (\w+)\n`)
)

// What the alert rules and the dashboard ask for are metrics that there are.
func TestRulesAndDashboardAskForMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	stats := engine.Stats{MaxConns: 1, Descriptors: engine.DescriptorStats{Limit: 1}, Loops: make([]engine.LoopStats, 1)}
	registry.MustRegister(fixed(stats), newBuildInfo("", ""), newNodeInfo(func() string { return "a" }), newClusterCollector(&nodes{}), collectors.NewGoCollector(), newFrugalProcess())
	gathered, err := registry.Gather()
	require.NoError(t, err)
	known := map[string]bool{}
	for _, f := range gathered {
		known[f.GetName()] = true
		if len(f.GetMetric()) > 0 && f.GetMetric()[0].GetHistogram() != nil {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[f.GetName()+suffix] = true
			}
		}
	}
	for _, name := range []string{"alerts.yml", "alerts_test.yml", "grafana.json", "README.md"} {
		found := metricName.FindAllString(read(t, name), -1)
		require.NotEmpty(t, found, name)
		for _, metric := range found {
			require.True(t, known[metric], "%s: %s is no metric", name, metric)
		}
	}
}

// Each alert has a case where it is raised, and one where it is not.
func TestEachAlertHasItsCases(t *testing.T) {
	rules, cases := read(t, "alerts.yml"), read(t, "alerts_test.yml")
	alerts := alertName.FindAllStringSubmatch(rules, -1)
	require.Greater(t, len(alerts), 10)
	readme := read(t, "README.md")
	for _, alert := range alerts {
		require.Regexp(t, `alertname: `+alert[1]+`\n\s+exp_alerts:\n\s+- exp_labels`, cases)
		require.Contains(t, cases, "alertname: "+alert[1]+", exp_alerts: [] }")
		require.Contains(t, readme, "| `"+alert[1]+"` |")
	}
}

// Grafana takes what it does not know for nothing: what the dashboard is made of is
// here.
func TestDashboardIsWhole(t *testing.T) {
	type place struct{ H, W, X, Y int }
	var board struct {
		UID        string
		Templating struct{ List []struct{ Name string } }
		Panels     []struct {
			ID          int
			Type, Title string
			Description string
			GridPos     place
			Targets     []struct{ Expr, LegendFormat, RefID string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "grafana.json")), &board))
	require.NotEmpty(t, board.UID)
	var variables []string
	for _, v := range board.Templating.List {
		variables = append(variables, v.Name)
	}
	require.Equal(t, []string{"datasource", "job", "instance"}, variables)
	ids, covered := map[int]bool{}, map[place]bool{}
	for _, p := range board.Panels {
		require.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := place{X: p.GridPos.X + x, Y: p.GridPos.Y + y}
				require.False(t, covered[at], "%s lies over another panel", p.Title)
				covered[at] = true
			}
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Description, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			require.Equal(t, strings.Count(target.Expr, "turbine_")+strings.Count(target.Expr, "go_")+strings.Count(target.Expr, "process_"),
				strings.Count(target.Expr, `job="$job", instance=~"$instance"`), "%s: the choice of instances is for each metric", p.Title)
		}
	}
}
