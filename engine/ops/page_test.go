package ops

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// The page's files are there without a key, and everything that they show is not.
func TestPageNeedsNoKey(t *testing.T) {
	h, _ := newTest(t, Options{Keys: keysOf(t, "ann read "+keyOne), Open: []Scope{}})
	types := map[string]string{".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}
	served := 0
	for name, text := range filesOfPage(t) {
		target := "/page/" + name
		if name == "index.html" {
			target = "/"
		}
		for _, header := range []string{"", "Authorization: Bearer " + keyTwo, "Authorization: Bearer " + keyOne} {
			r := ask(h, request("GET", target, "", header))
			require.Equal(t, 200, r.StatusCode, target)
			require.Equal(t, text, bodyOf(t, r), target)
			require.Contains(t, r.Header.Get("Content-Type"), types[path.Ext(name)])
			require.Equal(t, pagePolicy, r.Header.Get("Content-Security-Policy"))
			require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"))
			require.Equal(t, "DENY", r.Header.Get("X-Frame-Options"))
		}
		served++
	}
	require.Greater(t, served, 10)
	require.Equal(t, 401, ask(h, request("GET", "/v1/stats", "")).StatusCode)

	for _, target := range []string{"/page", "/page/", "/page/none.js", "/page/../handler.go", "/page/%2e%2e/handler.go", "/page/..%2fhandler.go", "/index.html", "/page/a/b"} {
		r := ask(h, request("GET", target, ""))
		require.Equal(t, 404, r.StatusCode, target)
		kind, _ := isProblem(t, r)
		require.Equal(t, "not-found", kind, target)
	}
	require.Equal(t, 405, ask(h, request("POST", "/", "")).StatusCode)
}

// A link from anywhere opens the page; nothing else of another page gets through.
func TestPageCanBeLinkedTo(t *testing.T) {
	h, _ := newTest(t, Options{})
	const link = "Sec-Fetch-Site: cross-site"
	for _, c := range []struct {
		method, target string
		header         []string
		status         int
	}{
		{"GET", "/", []string{link, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 200},
		{"GET", "/", []string{link, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 403},
		{"GET", "/", []string{link, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"}, 403},
		{"GET", "/", []string{link, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Origin: http://elsewhere"}, 403},
		{"GET", "/", []string{link, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Host: elsewhere:3001"}, 403},
		{"POST", "/", []string{link, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 403},
		{"GET", "/page/main.js", []string{link, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"}, 403},
		{"GET", "/v1/stats", []string{link, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, 403},
		{"GET", "/v1/stats", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, 200},
	} {
		require.Equal(t, c.status, ask(h, request(c.method, c.target, "", c.header...)).StatusCode, "%s %s %q", c.method, c.target, c.header)
	}
}

// The page asks for its own files and for routes that there are, and for nothing else.
func TestPageNamesWhatIsThere(t *testing.T) {
	files := filesOfPage(t)
	address := regexp.MustCompile(`(?:src|href)="([^"#]+)"|from '\./([^']+)'|'(v1/[a-z]+)|` + "`(v1/[a-z]+)")
	other := regexp.MustCompile(`(?i)\b(https?:)?//[a-z0-9]|\burl\(|@import|innerHTML|insertAdjacentHTML|document\.write|\beval\b|\bon[a-z]+="|\bstyle="|<style`)
	known := map[string]bool{}
	for _, to := range routes {
		known[strings.TrimPrefix(to.path, "/")] = true
	}
	named := map[string]int{}
	for name, text := range files {
		if strings.HasPrefix(name, "uPlot") {
			continue
		}
		if name != "icon.svg" { // whose namespace is no address
			for _, found := range other.FindAllString(withoutComments(text), -1) {
				t.Errorf("%s has %s", name, found)
			}
		}
		for _, m := range address.FindAllStringSubmatch(text, -1) {
			switch {
			case m[1] != "":
				require.Contains(t, files, strings.TrimPrefix(m[1], "page/"), name)
				named[strings.TrimPrefix(m[1], "page/")]++
			case m[2] != "":
				require.Contains(t, files, m[2], name)
				named[m[2]]++
			default:
				require.True(t, known[m[3]+m[4]], "%s asks for %s%s", name, m[3], m[4])
			}
		}
	}
	for name := range files {
		if name != "index.html" {
			require.Positive(t, named[name], "%s is used by nobody", name)
		}
	}
}

// withoutComments is text without lines that are a comment of JavaScript.
func withoutComments(text string) string {
	return regexp.MustCompile(`(?m)^\s*//.*$`).ReplaceAllString(text, "")
}

// Whatever is refused and whichever limit is met, the page says what helps.
func TestPageHasAHintForEach(t *testing.T) {
	causes, limits, ok := strings.Cut(filesOfPage(t)["hints.js"], "export const limits")
	require.True(t, ok)
	for why := engine.Cause(1); int(why) < engine.NumCauses; why++ {
		require.Regexp(t, `(?m)^  `+why.String()+`: '`, causes)
	}
	for limit := range engine.Limit(engine.NumLimits) {
		require.Regexp(t, `(?m)^  `+limit.String()+`: '[^']{5}`, limits)
	}
}

// The charts are drawn by the very files of the version in package-lock.json.
func TestPageHasTheChartsOfNPM(t *testing.T) {
	const npm = "../../internal/e2e/browser/node_modules/uplot/"
	lock, err := os.ReadFile("../../internal/e2e/browser/package-lock.json")
	require.NoError(t, err)
	var locked struct {
		Packages map[string]struct{ Version string }
	}
	require.NoError(t, json.Unmarshal(lock, &locked))
	version := locked.Packages["node_modules/uplot"].Version
	require.NotEmpty(t, version)
	text, err := os.ReadFile(npm + "package.json")
	require.NoError(t, err, "uplot is not installed: run make setup")
	var installed struct{ Version string }
	require.NoError(t, json.Unmarshal(text, &installed))
	require.Equal(t, version, installed.Version, "another version is installed: run make setup")
	for mine, theirs := range map[string]string{"uPlot.iife.min.js": "dist/uPlot.iife.min.js", "uPlot.min.css": "dist/uPlot.min.css", "uPlot.LICENSE": "LICENSE"} {
		want, err := os.ReadFile(npm + theirs)
		require.NoError(t, err)
		require.True(t, string(want) == filesOfPage(t)[mine], "engine/ops/page/%s is not %s of uplot %s: copy it from %s", mine, theirs, version, npm)
	}
}

// filesOfPage are the page's files by name.
func filesOfPage(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, fs.WalkDir(pageFiles, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := pageFiles.ReadFile(name)
		files[strings.TrimPrefix(name, "page/")] = string(text)
		return err
	}))
	return files
}

// Figures of the process and the last refusals are next to those of engine.Stats; what a
// client has sent is a JSON text.
func TestStatsHasRefusalsAndTheProcess(t *testing.T) {
	w := enginetest.New(t, engine.Options{}, engine.Events{})
	h, _ := newTest(t, Options{Server: w.Server()})
	read := func() (all struct {
		Process     map[string]float64
		Bounds      []float64           `json:"delay_bounds_seconds"`
		LastRefused []map[string]string `json:"last_refused"`
	}) {
		text := bodyOf(t, ask(h, request("GET", "/v1/stats", "")))
		require.NotContains(t, text, "<b>")
		require.NoError(t, json.Unmarshal([]byte(text), &all))
		return all
	}
	all := read()
	require.Empty(t, all.LastRefused)
	require.NotNil(t, all.LastRefused)
	require.Len(t, all.Bounds, len(engine.DelayBounds))
	for _, name := range []string{"heap_bytes", "go_bytes", "goroutines"} {
		require.Positive(t, all.Process[name], name)
	}

	_, err := w.TryDial(enginetest.Options{Header: http.Header{"Origin": {"https://<b>.example"}}})
	require.Error(t, err)
	all = read()
	require.Len(t, all.LastRefused, 1)
	last := all.LastRefused[0]
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, last["time"])
	require.Equal(t, "foreign_origin", last["cause"])
	require.Equal(t, "https://<b>.example", last["value"])
	require.NotEmpty(t, last["host"])
	require.NotEmpty(t, last["client"])
	require.Len(t, last, 5)
}
