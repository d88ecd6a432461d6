//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Switched off there is nothing of operations: one listener, and no goroutine that is
// engine/ops's or net/http's.
func TestNoOperationsCostNothing(t *testing.T) {
	for _, c := range []struct {
		address string
		ports   int
		there   bool
	}{{"", 1, false}, {"127.0.0.1:0", 2, true}} { // the second shows that the test would see them
		cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--ops-addr", c.address)
		cmd.Env = append(cmd.Env, "GOTRACEBACK=all")
		s := start(t, cmd)
		s.goesOn(t)
		if c.there {
			s.opsAddr(t)
		}
		require.Equal(t, c.ports, s.listeners(t))
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGQUIT)) // the runtime shows all goroutines
		require.True(t, s.ends(stopPatience), "still running")
		s.cmd = nil // it has ended, with a code that is no success
		dump := s.stderr.String()
		require.Contains(t, dump, "goroutine 1 ")
		require.Equal(t, c.there, strings.Contains(dump, "turbine/engine/ops."), dump)
		require.Equal(t, c.there, strings.Contains(dump, "net/http."), dump)
	}
}

// listeners is on how many addresses of TCP the server listens.
func (s *server) listeners(t *testing.T) (n int) {
	t.Helper()
	open, err := os.ReadDir(s.proc("fd"))
	require.NoError(t, err)
	own := map[string]bool{}
	for _, fd := range open {
		target, _ := os.Readlink(s.proc("fd/" + fd.Name())) // it may be closed by now
		own[target] = true
	}
	for _, file := range []string{"net/tcp", "net/tcp6"} {
		table, err := os.ReadFile(s.proc(file))
		require.NoError(t, err)
		for line := range strings.Lines(string(table)) {
			const state, inode, listens = 3, 9, "0A"
			if field := strings.Fields(line); len(field) > inode && field[state] == listens && own["socket:["+field[inode]+"]"] {
				n++
			}
		}
	}
	return n
}

// What hostile clients of the operations listener send. @ is its address, $ the public id
// of a session. None of them reads, and none sends more.
var hostileToOperations = []string{
	"",
	"G",
	"GET /livez HTTP/1.1\r\nHost: @\r\nA: ",
	"GET /livez HTTP/1.1\r\nHost: @\r\nA: " + strings.Repeat("a", 64<<10),
	"GET /" + strings.Repeat("a/../", 3000) + " HTTP/1.1\r\nHost: @\r\n\r\n",
	"GET /%2e%2e/%00%ff HTTP/1.1\r\nHost: @\r\n\r\n",
	"PUT /v1/loglevel HTTP/1.1\r\nHost: @\r\nContent-Length: 65536\r\n\r\n{",
	"PUT /v1/debug HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n{\"scopes\":\"",
	"POST /v1/drain HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000000000000\r\n\r\n",
	"GET /v1/stats HTTP/1.1\r\nHost: @\r\nAuthorization: Bearer " + strings.Repeat("k", 15<<10) + "\r\n\r\n",
	strings.Repeat("GET /metrics HTTP/1.1\r\nHost: @\r\n\r\n", 400), // 10 MB of answers
	strings.Repeat("GET /v1/stats HTTP/1.1\r\nHost: @\r\n\r\n", 500),
	strings.Repeat("GET /debug/pprof/goroutine?debug=2 HTTP/1.1\r\nHost: @\r\n\r\n", 100),
	"GET /debug/pprof/trace?seconds=60 HTTP/1.1\r\nHost: @\r\n\r\n",
	"GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: @\r\n\r\n",
	strings.Repeat("GET /v1/sessions HTTP/1.1\r\nHost: @\r\nAccept: application/x-ndjson\r\n\r\n", 200),
	strings.Repeat("GET /v1/sessions?limit=1000 HTTP/1.1\r\nHost: @\r\n\r\n", 200),
	strings.Repeat("GET /v1/groups?limit=1000 HTTP/1.1\r\nHost: @\r\n\r\n", 200),
	strings.Repeat("GET /page/uPlot.iife.min.js HTTP/1.1\r\nHost: @\r\n\r\n", 200),
	"GET /v1/sessions/$/trace?seconds=60 HTTP/1.1\r\nHost: @\r\n\r\n",
	"DELETE /v1/sessions/" + strings.Repeat("A", 10_000) + " HTTP/1.1\r\nHost: @\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

// Ten thousand hostile clients at the operations listener take a bounded part of the
// server's memory, descriptors and goroutines, which comes back when they leave. The
// listener of clients accepts all the time. An operator who has a key gets in all the time, too.
func TestOperationsFlood(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	for _, c := range []struct {
		name  string
		keyed bool
	}{{"with keys", true}, {"without", false}} {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"--ops-addr", "127.0.0.1:0", "--ping-interval", "10m"}
			if c.keyed {
				file := filepath.Join(t.TempDir(), "keys")
				require.NoError(t, os.WriteFile(file, []byte("ann health,metrics,read,debug "+key), 0o600))
				args = append(args, "--ops-keys", file, "--ops-open", "health,metrics")
			}
			s := serve(t, args...)
			at := s.opsAddr(t)
			ann := newOpsClient(t, "http://"+at, nil)
			ann.key = key
			ann.http.Transport.(*http.Transport).DisableKeepAlives = true // she comes anew each time
			old, _ := s.websocket(t, 4)
			for range 300 { // a list that fits into no buffer, as often as it is asked for
				s.websocket(t, 4)
			}
			var list struct{ Sessions []struct{ ID string } }
			_, text := ann.ask("GET", "/v1/sessions?limit=1", "")
			require.NoError(t, json.Unmarshal([]byte(text), &list), text)
			before := s.load(ann)
			clients := flood(t, at, list.Sessions[0].ID)
			require.Greater(t, len(clients), 500)
			during := s.descriptors(t)
			require.LessOrEqual(t, during, before.descriptors+maxOpsConns+8)
			s.goesOn(t) // new clients
			old.echoes()
			if c.keyed {
				for range 100 {
					status, _ := ann.ask("GET", "/v1/loglevel", "")
					require.Equal(t, 200, status)
				}
				now := s.load(ann)
				require.LessOrEqual(t, now.goroutines, before.goroutines+3*maxOpsConns)
				require.LessOrEqual(t, now.memory, before.memory+64<<20)
			}
			for _, client := range clients {
				_ = client.Close()
			}
			var after opsLoad
			for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
				if after = s.load(ann); after.goroutines <= before.goroutines+3 && after.descriptors <= before.descriptors+3 {
					break
				}
				require.True(t, time.Now().Before(end), "before %+v, after %+v", before, after)
			}
			require.LessOrEqual(t, after.memory, before.memory+64<<20)
			old.echoes()
		})
	}
}

// maxOpsConns is how many connections the listener of operations has at most.
const maxOpsConns = 64

// opsLoad is what the server has in use.
type opsLoad struct{ goroutines, memory, descriptors int }

var goroutines, resident = regexp.MustCompile(`(?m)^go_goroutines (\S+)$`), regexp.MustCompile(`(?m)^process_resident_memory_bytes (\S+)$`)

func (s *server) load(c *opsClient) opsLoad {
	c.t.Helper()
	status, page := 0, ""
	for end := time.Now().Add(patience); ; { // eight scrapes at a time, of hostile clients too
		if status, page = c.ask("GET", "/metrics", ""); status != http.StatusServiceUnavailable {
			break
		}
		require.True(c.t, time.Now().Before(end), "no scrape")
	}
	require.Equal(c.t, 200, status, page)
	number := func(of *regexp.Regexp) int {
		found := of.FindStringSubmatch(page)
		require.NotNil(c.t, found, page)
		n, err := strconv.ParseFloat(found[1], 64)
		require.NoError(c.t, err)
		return int(n)
	}
	return opsLoad{number(goroutines), number(resident), s.descriptors(c.t)}
}

// flood connects ten thousand hostile clients at the same time, or as many as our own
// descriptors allow.
func flood(t *testing.T, addr, id string) []net.Conn {
	t.Helper()
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	fill := strings.NewReplacer("@", addr, "$", id)
	clients := make([]net.Conn, min(10_000, max(0, int(min(limit.Cur, 1<<20))-200)))
	var group sync.WaitGroup
	const dialers = 8
	for first := range dialers {
		group.Go(func() {
			for i := first; i < len(clients); i += dialers {
				c, err := net.DialTimeout("tcp", addr, patience)
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				clients[i] = c
				_ = c.SetWriteDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(c, fill.Replace(hostileToOperations[i%len(hostileToOperations)])) // it may be closed by then
			}
		})
	}
	group.Wait()
	t.Cleanup(func() {
		for _, c := range clients {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	require.False(t, t.Failed())
	return clients
}
