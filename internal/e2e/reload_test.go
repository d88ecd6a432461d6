package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// replace puts a file in its place at once.
func replace(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// Proxies, exempt networks and the numbers of sessions and connections change while the
// program serves, for whoever comes next.
func TestLimitsWhileTheServerRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	const always = "addr: 127.0.0.1:0\nlog-sessions: true\ndrain-timeout: 0s\n"
	replace(t, path, always)
	s := start(t, command(context.Background(), t, "--config", path))
	reads := 0
	change := func(text, changed string) {
		t.Helper()
		reads++
		replace(t, path, always+text)
		s.logs(t, func() bool { return strings.Count(s.stderr.String(), `msg="configuration read"`) == reads })
		require.Contains(t, s.stderr.String(), changed)
	}
	begin := func() int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.addr+s.path+"?EIO=4&transport=polling", nil)
		require.NoError(t, err)
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		r.Close = true
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	require.Equal(t, 200, begin())
	change("trusted-proxy: 127.0.0.1\n", "changed=[trusted-proxy]")
	require.Equal(t, 200, begin())
	s.logs(t, func() bool {
		return strings.Contains(s.stderr.String(), "client=127.0.0.1:") && strings.Contains(s.stderr.String(), "client=203.0.113.9 ")
	})
	change("trusted-proxy: 127.0.0.1\nmax-sessions-per-ip: 1\n", "changed=[max-sessions-per-ip]")
	require.Equal(t, 429, begin())
	change("trusted-proxy: 127.0.0.1\nmax-sessions-per-ip: 1\nexempt: 203.0.113.0/24\n", "changed=[exempt]")
	require.Equal(t, 200, begin())
	change("max-sessions: 2\n", `changed="[trusted-proxy max-sessions max-sessions-per-ip exempt]"`)
	require.Equal(t, 503, begin())
	change("max-conns-per-ip: 1\nexempt: none\n", `changed="[max-conns-per-ip max-sessions exempt]"`)
	require.Equal(t, 200, begin())
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.True(t, s.ends(patience))
}

// Whoever sends signals or writes the file all the time has the program read the file a
// few times, and the last of what it held is what holds.
func TestStormOfReloads(t *testing.T) {
	const signals, first, last = 1000, "https://first.example", "https://last.example"
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	const always = "addr: 127.0.0.1:0\npath: /engine.io/\ndrain-timeout: 0s\n"
	replace(t, path, always+"origin: "+first+"\n")
	s := start(t, command(context.Background(), t, "--config", path))
	began := time.Now()
	for i := range signals {
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
		require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "%sorigin: https://%d.example\n", always, i), 0o600))
		if i%100 == 0 {
			require.Equal(t, 403, s.knock(t, last))
		}
	}
	require.NoError(t, os.WriteFile(path, []byte(always+"origin: "+last+"\n"), 0o600))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	s.logs(t, func() bool { return s.knock(t, last) == 200 })
	require.Equal(t, 403, s.knock(t, first))
	most := int(time.Since(began)/time.Second) + 2
	require.LessOrEqual(t, strings.Count(s.stderr.String(), "\n"), 2*most, s.stderr.String())
}
