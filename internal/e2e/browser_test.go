package e2e

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A row is one step of a session in the browser, as browser/page.js shows it.
type row struct {
	Session, Step, Result string
}

// A page from another origin opens a session in a real browser, upgrades it,
// gets text and binary back, and is told when the server drains; a second
// session does the same by polling alone. What the page shows is kept as
// browser.png in TURBINE_ARTIFACTS or in browser/artifacts.
func TestBrowser(t *testing.T) {
	pages := httptest.NewServer(browserPages())
	defer pages.Close()
	// A drain timeout over our patience: the sessions end because they are closed.
	s := serve(t, "--cors-origin", pages.URL, "--ping-interval", "500ms", "--drain-timeout", "1m")
	require.DirExists(t, "clients/node_modules", "engine.io-client is not installed: run make setup")
	require.DirExists(t, "browser/node_modules", "playwright-core is not installed: run make setup")

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "browser.js",
		"--chromium", chromium(t),
		"--page", pages.URL+"/?server="+url.QueryEscape("http://"+s.addr),
		"--screenshot", filepath.Join(artifacts(t), "browser.png"))
	cmd.Dir = "browser"
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it then ends the browser
	cmd.WaitDelay = patience
	var errs output
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	got := map[string][]row{}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		t.Logf("%s", lines.Text())
		var line struct {
			row
			Ready bool
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		if line.Ready {
			_ = s.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended, which the page tells
		}
		if line.Session != "" {
			got[line.Session] = append(got[line.Session], line.row)
		}
	}
	require.NoError(t, cmd.Wait(), errs.String())
	require.Equal(t, map[string][]row{
		"upgrade": {
			{"upgrade", "open", "polling"},
			{"upgrade", "upgrade", "websocket"},
			{"upgrade", "text", "3 of 3 equal"},
			{"upgrade", "binary", "3 of 3 equal"},
			{"upgrade", "text", "3 of 3 equal"},
			{"upgrade", "binary", "3 of 3 equal"},
			{"upgrade", "pinged", "3 times"},
			{"upgrade", "transport", "websocket"},
			{"upgrade", "close", "transport close"},
			{"upgrade", "websockets", "1"},
		},
		"polling": {
			{"polling", "open", "polling"},
			{"polling", "text", "3 of 3 equal"},
			{"polling", "binary", "3 of 3 equal"},
			{"polling", "pinged", "3 times"},
			{"polling", "transport", "polling"},
			{"polling", "close", "transport close"},
			{"polling", "websockets", "0"},
		},
	}, got)
	require.True(t, s.ends(stopPatience), "still running")
}

// browserPages serves the page and the browser build of engine.io-client.
func browserPages() http.Handler {
	files := map[string]string{
		"/":             "browser/page.html",
		"/page.js":      "browser/page.js",
		"/engine.io.js": "clients/node_modules/engine.io-client-6/dist/engine.io.js",
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path, ok := files[r.URL.Path]; ok {
			http.ServeFile(w, r, path)
			return
		}
		http.NotFound(w, r)
	})
}

// chromium returns the browser to use: CHROMIUM, or what Debian's package installs.
func chromium(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath(cmp.Or(os.Getenv("CHROMIUM"), "chromium"))
	require.NoError(t, err, "no browser found: run `apt-get install chromium` as root, "+
		"or set CHROMIUM to the path of a Chromium or Chrome")
	return path
}

// artifacts returns the folder for what a test run leaves to look at.
func artifacts(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(cmp.Or(os.Getenv("TURBINE_ARTIFACTS"), "browser/artifacts"))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}
