package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// onStatusPage runs a test of browser/status, which drives the page at url in a real
// browser and has steps done here. A step's result is the answer to the test.
func onStatusPage(t *testing.T, test, url string, steps map[string]func() any) {
	t.Helper()
	require.DirExists(t, "browser/node_modules", "playwright-core is not installed: run make setup")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "status/"+test+".js", "--chromium", chromium(t), "--page", url, "--screenshots", artifacts(t))
	cmd.Dir = "browser"
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it then ends the browser
	cmd.WaitDelay = patience
	var errs output
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		cancel() // where a step has failed
		_ = cmd.Wait()
	}()

	lines := bufio.NewScanner(stdout)
	done := map[string]bool{}
	for lines.Scan() {
		t.Logf("%s", lines.Text())
		var line struct{ Step, Error string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
		require.Empty(t, line.Error)
		if line.Step == "" {
			continue
		}
		require.Contains(t, steps, line.Step)
		answer, err := json.Marshal(steps[line.Step]())
		require.NoError(t, err)
		_, err = stdin.Write(append(answer, '\n'))
		require.NoError(t, err)
		done[line.Step] = true
	}
	require.NoError(t, cmd.Wait(), "%s", errs.String())
	require.Len(t, done, len(steps), "a step was not asked for")
}

// An operator has the status page open while clients come, are refused and are ended,
// while there are 200,000 sessions, while the server is replaced, and drains it. All this
// by a browser that sees no request to elsewhere and no violation of the page's policy.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	many := 200_000
	flags := []string{"--max-sessions", "250000", "--ping-interval", "10m", "--first-request-timeout", "10m"} // sessions stay though nobody polls
	s := serve(t, append(flags, "--ops-addr", "127.0.0.1:0")...)
	opsAddr := s.opsAddr(t)
	api := newOpsClient(t, "http://"+opsAddr, nil)
	rest := func() {}
	var victim *peer
	onStatusPage(t, "operator", "http://"+opsAddr+"/", map[string]func() any{
		"load":    func() any { rest = s.underLoad(t); return nil },
		"rest":    func() any { rest(); return nil },
		"foreign": func() any { s.foreign(t, "https://shop.example"); return nil },
		"victim": func() any {
			victim, _ = s.websocket(t, 4)
			return api.sessionAt(victim.conn.LocalAddr().String())
		},
		"ended": func() any {
			told := victim.closeFrame(4001)
			require.Equal(t, status(4001, "kicked"), told)
			victim.write(masked(fin|closing, told))
			victim.ended()
			return nil
		},
		"many": func() any { s.openMany(t, many); return nil },
		"stop": func() any { s.stop(t); return nil },
		"start": func() any {
			s = serve(t, "--ops-addr", opsAddr)
			return nil
		},
		"drained": func() any {
			require.True(t, s.ends(stopPatience), "still running")
			return nil
		},
	})
}

// Where keys are needed the page asks for one, and tells what it is not for.
func TestStatusPageAsksForAKey(t *testing.T) {
	t.Parallel()
	const reader, ender = "reader-0123456789abcdef", "ender-0123456789abcdef"
	keysFile := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keysFile, []byte("ann read "+reader+"\nbob read,sessions "+ender+"\n"), 0o600))
	s := serve(t, "--ops-addr", "127.0.0.1:0", "--ops-keys", keysFile)
	s.poll4(t)
	onStatusPage(t, "keys", "http://"+s.opsAddr(t)+"/", map[string]func() any{
		"keys": func() any { return map[string]string{"reader": reader, "ender": ender} },
	})
	require.Contains(t, s.stderr.String(), "method=DELETE")
	require.NotContains(t, s.stderr.String(), reader)
}

// The page is one for everybody: in light and dark, on a phone, for a screen reader and
// for a keyboard; names that clients choose do no harm; and a tab that nobody sees asks
// for nothing. What it looks like is kept in TURBINE_ARTIFACTS or in browser/artifacts.
func TestStatusPageLooks(t *testing.T) {
	t.Parallel()
	s := serve(t, "--ops-addr", "127.0.0.1:0", "--max-sessions", "40", "--ping-interval", "10m")
	var rest func()
	onStatusPage(t, "looks", "http://"+s.opsAddr(t)+"/", map[string]func() any{
		"life": func() any {
			s.openMany(t, 30)
			rest = s.underLoad(t)
			s.foreign(t, "https://shop.example")
			_, err := http.Get("http://" + s.addr + "/engine.io/?EIO=9&transport=polling")
			require.NoError(t, err)
			return nil
		},
	})
	rest()
}

// underLoad has a WebSocket and a polling session send and get messages until rest is called.
func (s *server) underLoad(t *testing.T) (rest func()) {
	t.Helper()
	p, _ := s.websocket(t, 4)
	polling := s.poll4(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		_, _ = io.Copy(io.Discard, p.r) // until rest
	}()
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = io.WriteString(p.conn, masked(fin|text, "4hello"))
			}
		}
	}()
	polling.echoes()
	return func() {
		close(stop)
		_ = p.conn.Close()
		<-stopped
	}
}

// foreign asks as a page of that origin does, and is refused.
func (s *server) foreign(t *testing.T, origin string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+s.addr+"/engine.io/?EIO=4&transport=polling", nil)
	require.NoError(t, err)
	r.Header.Set("Origin", origin)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusForbidden, answer.StatusCode)
}

// openMany begins sessions that poll and have no connection: the next one uses it.
func (s *server) openMany(t *testing.T, n int) {
	t.Helper()
	const batch = 250 // requests that are sent before their answers are read
	conn, err := net.DialTimeout("tcp", s.addr, patience)
	require.NoError(t, err)
	defer conn.Close()
	answers := bufio.NewReaderSize(conn, 1<<20)
	request := s.getRequest("EIO=4&transport=polling")
	for sent := 0; sent < n; {
		size := min(batch, n-sent)
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err := io.WriteString(conn, strings.Repeat(request, size))
		require.NoError(t, err)
		for range size {
			readOpen(t, answers)
		}
		sent += size
	}
}

// readOpen reads the answer to a handshake.
func readOpen(t *testing.T, r *bufio.Reader) {
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		require.NoError(t, err)
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			_, err := fmt.Sscan(string(value), &length)
			require.NoError(t, err)
		}
		if len(line) == 2 {
			break
		}
	}
	body, err := r.Peek(length)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(body, []byte(`0{"sid":"`)), "%s", body)
	_, _ = r.Discard(length)
}

// A listed session is one of GET /v1/sessions.
type listed struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

// sessionAt is the session of the client with that address.
func (c *opsClient) sessionAt(address string) (found listed) {
	c.t.Helper()
	code, text := c.ask("GET", "/v1/sessions?limit=1000", "")
	require.Equal(c.t, 200, code, text)
	var all struct{ Sessions []listed }
	require.NoError(c.t, json.Unmarshal([]byte(text), &all))
	for _, one := range all.Sessions {
		if one.Address == address {
			found = one
		}
	}
	require.NotEmpty(c.t, found.ID, text)
	return found
}
