package e2e

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
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
	got, err := browse(t, pages.URL+"/?server="+url.QueryEscape("http://"+s.addr), "browser.png", func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended, which the page tells
	})
	require.NoError(t, err)
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

// A page of an origin that the server does not know gets nowhere: by WebSocket,
// by polling, or by a script element, which sends no Origin. When its origin is
// listed it gets a WebSocket; to poll it would need CORS, and a script element
// does not say whose it is. With --any-origin that page is also served.
func TestBrowserForeign(t *testing.T) {
	pages := httptest.NewServer(browserPages())
	defer pages.Close()
	for _, c := range []struct {
		name, flag string
		websocket  bool
		script     string
	}{
		{"unknown", "--origin=https://example.com", false, "refused"},
		{"listed", "--origin=" + pages.URL, true, "refused"},
		{"any", "--any-origin", true, "read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.flag, "--ping-interval", "500ms")
			got, err := browse(t, pages.URL+"/?foreign&server="+url.QueryEscape("http://"+s.addr), "foreign-"+c.name+".png", func() {})
			require.Error(t, err, "the session that polls cannot be served")
			steps := map[string]string{}
			for session, rows := range got {
				for _, r := range rows {
					steps[session+" "+r.Step] = r.Result
				}
			}
			require.NotContains(t, steps, "polling open")
			require.Contains(t, steps, "polling failed")
			require.Equal(t, c.script, steps["script jsonp"])
			if c.websocket {
				require.Equal(t, "websocket", steps["websocket open"])
				require.NotContains(t, steps, "websocket failed")
			} else {
				require.NotContains(t, steps, "websocket open")
				require.Contains(t, steps, "websocket failed")
			}
		})
	}
}

// browse shows a page in the browser and returns its rows by session. ready is
// called when the page waits for the server to close its sessions. The error
// says that a session failed.
func browse(t *testing.T, page, screenshot string, ready func()) (map[string][]row, error) {
	t.Helper()
	require.DirExists(t, "clients/node_modules", "engine.io-client is not installed: run make setup")
	require.DirExists(t, "browser/node_modules", "playwright-core is not installed: run make setup")

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "browser.js",
		"--chromium", chromium(t),
		"--page", page,
		"--screenshot", filepath.Join(artifacts(t), screenshot))
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
			ready()
		}
		if line.Session != "" {
			got[line.Session] = append(got[line.Session], line.row)
		}
	}
	if err := cmd.Wait(); err != nil {
		return got, fmt.Errorf("%w\n%s", err, errs.String())
	}
	return got, nil
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
