package report

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
)

// crowded is a report with as many peers, and as long names and numbers, as there may be.
func crowded() *Report {
	r := made()
	for _, name := range []string{"gws", "uws", "node", "zishang", "python", "engineioxide"} {
		r.Peers = append(r.Peers, Peer{Name: name, What: "raw WebSocket echo on a library, a goroutine a connection", Version: "github.com/zishang520/socket.io/servers/engine/v3 v3.0.2, Go 1.26.8"})
		for _, s := range Scenarios {
			if ours := r.Cell(s.ID, Ours); ours != nil {
				r.Cells = append(r.Cells, Cell{Scenario: s.ID, Peer: name, Samples: slices.Clone(ours.Samples)})
			}
		}
	}
	for i := range r.Cells {
		for k := range r.Cells[i].Samples {
			r.Cells[i].Samples[k].Operations *= 20
		}
	}
	return r
}

func TestPageHasNoBackticks(t *testing.T) {
	r := made()
	r.Remarks = append(r.Remarks, "Say `a < b`, and an `unpaired one")
	page := string(r.document().html(nil))
	require.NotContains(t, page, "`")
	require.Contains(t, page, "<code>cd bench &amp;&amp; go run . compare</code>")
	require.Contains(t, page, "<code>a &lt; b</code>")
}

func TestCells(t *testing.T) {
	for text, want := range map[string]cell{
		"213† (177–217)":        {Text: "213†", Note: "(177–217)"},
		"200 · 96/94":           {Text: "200", Note: "96/94"},
		"yes":                   {Text: "yes", Class: "yes"},
		"short":                 {Text: "short", Class: "short"},
		"gnet (what it allows)": {Text: "gnet (what it allows)"},
		"–":                     {Text: "–"},
		"":                      {},
	} {
		require.Equal(t, want, cellOf(text, false), text)
	}
	s := section{table: [][]string{{"peer", "what", "rate"}, {"a", "a sentence that is longer than others", "1 (0.50–1.50, with many more words)"}}}
	require.Equal(t, []bool{false, true, false}, []bool{s.wordy(0), s.wordy(1), s.wordy(2)})
}

// An axis without a unit says nothing. The vertical axis of bars has names.
func TestEveryAxisHasAUnit(t *testing.T) {
	units := regexp.MustCompile(`^((thousand a second|bytes|MiB|µs|ms|cores|sessions)\b|% of )`)
	drawn, err := crowded().drawn()
	require.NoError(t, err)
	for name, c := range drawn {
		require.NotEmpty(t, c.plots, name)
		for _, p := range c.plots {
			require.Regexp(t, units, p.X.Label.Text, "%s: %s", name, p.Title.Text)
			require.GreaterOrEqual(t, labels(&p.X), 2, "%s: %s", name, p.Title.Text)
			if p.Y.Label.Text != "" {
				require.Regexp(t, units, p.Y.Label.Text, "%s: %s", name, p.Title.Text)
				require.GreaterOrEqual(t, labels(&p.Y), 2, "%s: %s", name, p.Title.Text)
				continue
			}
			require.Contains(t, fmt.Sprint(p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max)), Ours, "%s: %s", name, p.Title.Text)
		}
	}
}

// labels counts the ticks of an axis that say a value.
func labels(a *plot.Axis) (n int) {
	for _, tick := range a.Tick.Marker.Ticks(a.Min, a.Max) {
		if tick.Label != "" && tick.Value >= a.Min && tick.Value <= a.Max {
			n++
		}
	}
	return n
}

func TestLogarithmicAxes(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      string
	}{
		{0.1, 0.14, "0.1 0.2"},
		{30, 30, "20 50"},
		{0.004, 0.06, "0.002 0.005 0.01 0.02 0.05 0.1"},
		{100, 100, "100 200"},
		{150, 4000, "100 200 500 1,000 2,000 5,000"},
		{70, 400_000, "100 1,000 10,000 100,000"},
	} {
		a := plot.Axis{Min: c.low, Max: c.high}
		widen(&a)
		require.LessOrEqual(t, a.Min, c.low)
		require.GreaterOrEqual(t, a.Max, c.high)
		var got []string
		for _, tick := range decades(a.Min, a.Max) {
			got = append(got, tick.Label)
		}
		require.Equal(t, c.want, strings.Join(got, " "))
	}
}

// A peer that is a thousand times slower leaves the bars of the others visible.
func TestBarsOfASlowPeerEnd(t *testing.T) {
	b := bars{figure: Median, values: []float64{50, 60, 400_000}}
	require.InDelta(t, 360, b.room(), 1e-9)
	b.figure = PerCPU
	require.Greater(t, b.room(), 400_000.0)
}

// All columns are seen on a screen of 1280 pixels, without scrolling sideways.
func TestPageFitsAScreen(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	browser, err := exec.LookPath(cmp.Or(os.Getenv("CHROMIUM"), "chromium"))
	if err != nil {
		t.Skip("no browser: install chromium or set CHROMIUM")
	}
	r := crowded()
	charts, err := r.charts()
	require.NoError(t, err)
	const ask = `<script>
const wide = [...document.querySelectorAll("body, .wide, .chart")].filter(e => e.scrollWidth > e.clientWidth);
document.title = "wider than the screen: " + (document.documentElement.scrollWidth > innerWidth) + "; wider inside: " + wide.map(e => e.className + " " + e.innerText.slice(0, 40)).join("; ");
</script></html>`
	dir := t.TempDir()
	file := filepath.Join(dir, "page.html")
	page := strings.Replace(string(r.document().html(charts)), "</html>", ask, 1)
	require.NoError(t, os.WriteFile(file, []byte(page), 0o600))
	var complaint bytes.Buffer
	cmd := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--window-size=1280,1000", "--dump-dom", "file://"+file)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	require.NoError(t, err, complaint.String())
	title := regexp.MustCompile(`<title>(.*?)</title>`).FindSubmatch(out)
	require.NotNil(t, title, complaint.String())
	require.Equal(t, "wider than the screen: false; wider inside: ", string(title[1]))
}
