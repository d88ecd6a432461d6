package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// made is a report of made-up figures.
func made() *Report {
	sample := func(rate float64) Sample {
		return Sample{Operations: int64(rate), Elapsed: time.Second, ServerCPU: time.Second, ClientCPU: time.Second / 2,
			P50: 30, P99: 100, P999: 900, Sessions: 1000, RSS: 500_000, OpenCPU: time.Second}
	}
	r := &Report{
		Began: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Took: time.Minute, Command: "cd bench && go run . compare", Commit: "abc",
		Machine: Machine{CPU: "a CPU", Cores: 2, MemoryBytes: 8 << 30, Kernel: "6.1", Go: "Go 1.26", Descriptors: 20000},
		Peers:   []Peer{{Name: "turbine", What: "ours", Version: "1", Setting: "a profile", TLS: "crypto/tls on the loop"}, {Name: "gnet", What: "raw", Version: "2", Limit: true}, {Name: "bun", What: "another", Version: "3", TLS: "BoringSSL"}},
		Mounts:  []Peer{{Name: "own", What: "its own listener", Version: "turbine 1", Mount: true}, {Name: "nginx", What: "behind nginx", Version: "nginx 2", Mount: true}},
		Missing: []Missing{{Name: "python", Why: "no Python here"}},
		Remarks: []string{"A remark."},
		Sim:     []Sim{{Sessions: 1000, HeapBytes: 300, CPU: 0.1, GOGC: 50, Elapsed: time.Minute}, {Sessions: 10000, HeapBytes: 301, CPU: 1, GOGC: 50, Elapsed: time.Minute}},
		Million: &Million{Sessions: 1000, Processes: 2, Clients: 2, Held: time.Minute},
	}
	for _, s := range Scenarios {
		there := r.Peers
		if strings.HasPrefix(s.ID, "mount") {
			there = r.Mounts
		}
		for i, p := range there {
			c := Cell{Scenario: s.ID, Peer: p.Name}
			for k := range 3 {
				c.Samples = append(c.Samples, sample(float64(100_000*(3-i)+1000*k)))
			}
			if strings.HasPrefix(s.ID, "beats") {
				c.Samples = c.Samples[:1]
			}
			r.Cells = append(r.Cells, c)
		}
	}
	for _, id := range []string{"beats-plain", "beats-flood"} {
		s := &r.Cell(id, "turbine").Samples[0]
		s.P99, s.Most = 2_010_000, 2_500_000
	}
	for i := range r.Cell("beats-busy", "turbine").Samples {
		s := &r.Cell("beats-busy", "turbine").Samples[i]
		s.P99, s.Most, s.Starved = 6_100_000, 9_300_000, 480*(1-min(i, 1))
	}
	for i := range r.Cell("prices-keyed", "turbine").Samples {
		s := &r.Cell("prices-keyed", "turbine").Samples[i]
		s.Offered, s.RSS, s.P50, s.P99 = 9_990, 5<<20, 1_500_000, 2_500_000
	}
	for _, p := range []string{"turbine", "bun"} {
		for i := range r.Cell("tls-resume", p).Samples {
			r.Cell("tls-resume", p).Samples[i].Resumed = 990
		}
	}
	for _, share := range Shares {
		for i := range r.Cell(ShareID(share), "turbine").Samples {
			s := &r.Cell(ShareID(share), "turbine").Samples[i]
			s.Offered, s.Lag = share*200_000, 4
		}
	}
	r.Cells = slices.DeleteFunc(r.Cells, func(c Cell) bool { return c.Peer == "gnet" && strings.HasPrefix(c.Scenario, "tls") })
	r.Cells = slices.DeleteFunc(r.Cells, func(c Cell) bool { return c.Peer == "bun" && strings.HasPrefix(c.Scenario, "tls") })
	r.Cell("echo-128", "bun").Samples[0].Wrong = 7
	r.Cell("echo-128", "bun").Samples[0].Faults = []string{"a reply was cut"}
	for i := range 2 {
		r.Cell("echo-16k", "gnet").Samples[i].ClientBound = true
	}
	return r
}

func TestWriteAndLoad(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Write(dir, made()))
	got, err := Load(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	require.Equal(t, made(), got)
	for _, name := range []string{"report.md", "report.html", "overview.svg", "throughput.svg", "latency.svg", "memory.svg", "loaded.svg", "scale.svg", "simulated.svg"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Positive(t, info.Size())
	}
}

func TestUpdateKeepsTheRest(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Update(dir, func(r *Report) { r.Sim = []Sim{{Sessions: 5}} }), "there is none yet")
	require.NoError(t, Write(dir, made()))
	require.NoError(t, Update(dir, func(r *Report) { r.Million = nil }))
	got, err := Load(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	require.Nil(t, got.Million)
	require.Len(t, got.Cells, len(made().Cells))
}

func TestMarkdown(t *testing.T) {
	r := made()
	charts, err := r.charts()
	require.NoError(t, err)
	text := string(r.document().markdown(charts))
	for _, want := range []string{
		"a CPU, 2 cores, 8 GiB", "commit abc", "| python | left out | no Python here | – |", "| turbine | ours | 1 | a profile |", "| 2 | – |", "Only our program is built with a compiler profile",
		"| WebSocket echo, 128 B, one in flight | 301 (300–302) | 201 (200–202) | 101‡ (100–102) |",
		"| WebSocket echo, 16 KiB, one in flight | 301 (300–302) | 201† (200–202) |",
		"at least 1.00 of gnet | 1.50 (1.50–1.50) | yes |", "at least 15.0 of node | not measured",
		"at most 600 bytes a session | 500 | yes |",
		"| own | its own listener | 301 | – | 301 | – | 500 |", "| nginx | behind nginx | 201 | 0.67 | 201 | 0.67 | 500 |", "| nginx 2 |",
		"| turbine | 2,010 | 2,500 | 0 | 2,010 | 2,500 | 0 | 6,100‡ | 9,300 | 480 |", "500 sessions, beside 100 whose messages take 1 ms each | at most 250 ms late | 4,100 | short |",
		"| turbine | crypto/tls on the loop | 301 | 301 | 99 | 301 | 1.00 | 301 | 1.00 | 500 |", "| gnet | has none | – | – | – | – |", "Has TLS too, and was not measured here: bun (BoringSSL).",
		"| with keys | 9,990 | 5.00 | 1,500 | 2,500 |", "none of the peers has anything of the kind",
		"| turbine | 200 | 30.0 | 100 | 30.0 | 100 | 30.0 | 100 | 30.0 | 100 | 4.00 |",
		"| turbine | 301 | 1.00 | 0.50 | 301 | 301 | 1.00 | 0.50 | 301 | 1.00 | 602 |", "This machine has 2 cores.",
		"beats-busy, turbine: 0 wrong or missing replies, 0 sessions lost, 480 without a ping for too long",
		"echo-128, bun: 7 wrong or missing replies", "- A remark.", "![", "2 server and 2 client processes",
	} {
		require.Contains(t, text, want)
	}
}

// What a reader might look for and does not find is named.
func TestAbsentParts(t *testing.T) {
	r := made()
	const title = "\n## Not measured in this run\n"
	text := string(r.document().markdown(nil))
	require.Contains(t, text, title+"\n- Of the peers: gws, uws, node, zishang, engineioxide\n- Of the mountings: own-no-profile, own-tls, nethttp, nethttp-tls, haproxy\n")
	require.NotContains(t, text, "libuwebsockets-sys")

	r.Million = nil
	r.Cells = slices.DeleteFunc(r.Cells, func(c Cell) bool {
		family, _, _ := strings.Cut(c.Scenario, "-")
		return slices.Contains([]string{"tls", "load", "cores"}, family)
	})
	text = string(r.document().markdown(nil))
	require.Contains(t, text, title+"\n- Latency against load: at shares of what each peer can do\n- TLS 1.3: handshakes, echo and idle sessions\n"+
		"- One core and two: WebSocket echo, 128 B, 100 sessions, one in flight\n- Real TCP sessions on one machine\n- Of the peers: ")

	r.Peers, r.Mounts, r.Missing = nil, nil, nil
	for _, name := range PeerNames {
		r.Peers = append(r.Peers, Peer{Name: name})
	}
	text = string(r.document().markdown(nil))
	require.NotContains(t, text, "Of the peers")
	require.Contains(t, text, "libuwebsockets-sys")
}

// A goal that is missed says so.
func TestShortOfAGoal(t *testing.T) {
	r := made()
	for i := range r.Cell("echo-128", Ours).Samples {
		r.Cell("echo-128", Ours).Samples[i].Operations = 50_000
	}
	require.Contains(t, string(r.document().markdown(nil)), "| at least 1.00 of gnet | 0.25 (0.25–0.25) | short |")
}

// The page needs nothing from elsewhere, and what it is told is text.
func TestHTML(t *testing.T) {
	r := made()
	r.Remarks = []string{"<script>alert(1)</script>"}
	charts, err := r.charts()
	require.NoError(t, err)
	page := string(r.document().html(charts))
	require.NotContains(t, page, "<script")
	for _, outside := range []string{"src=", "href=\"http", "@import", "url("} {
		require.NotContains(t, page, outside)
	}
	require.Equal(t, len(charts), strings.Count(page, "</svg>"))
}

func TestChartsAreSVG(t *testing.T) {
	charts, err := made().charts()
	require.NoError(t, err)
	for name, svg := range charts {
		d := xml.NewDecoder(strings.NewReader(string(svg)))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, name)
		}
	}
	charts, err = (&Report{}).charts()
	require.NoError(t, err)
	require.Empty(t, charts)
}

func TestNumber(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 0.123: "0.12", 1.5: "1.50", 12.34: "12.3", 123.4: "123", 1234: "1,234", 1234567: "1,234,567", 999.6: "1,000"} {
		require.Equal(t, want, number(value))
	}
}

func TestFigures(t *testing.T) {
	s := Sample{Operations: 200, Elapsed: 2 * time.Second, ServerCPU: time.Second, Sessions: 10, RSS: 5000, OpenCPU: time.Millisecond, P50: 3, P99: 2_050_000, Most: 2_700_000}
	for f, want := range map[Figure]float64{PerCPU: 200, Wall: 100, Bytes: 500, CPUTime: 5000, Median: 3, Tail: 2_050_000, Cores: 0.5, OpenTime: 100, SessionCPU: 0.5, Late: 50, Latest: 700} {
		require.InDelta(t, want, f.Of(s), 1e-9)
		require.Zero(t, f.Of(Sample{}), "nothing measured")
	}
	c := Cell{Samples: []Sample{{P50: 5}, {P50: 1}, {P50: 3}, {P50: 2}}}
	require.InDelta(t, 2.5, c.Median(Median), 1e-9)
}
