package e2e

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The traces of docs/operate.md are what curl prints when a client does what they tell,
// apart from the times.
func TestDocumentedTrace(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	keysFile := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keysFile, []byte("ann debug,payloads "+key), 0o600))
	s := serve(t, "--ops-addr", "127.0.0.1:0", "--ops-keys", keysFile, "--log-sessions")
	newOpsClient(t, "http://"+s.opsAddr(t), nil).until("/healthz", 200)
	text, _, _ := strings.Cut(section(t, "docs/operate.md", "## Trace a session"), "\n## ")
	blocks := regexp.MustCompile("(?m)^```\n\\$ (.*)\n((?:[^`].*\n)+)```$").FindAllStringSubmatch(text, -1)
	require.Len(t, blocks, 2)

	id := regexp.MustCompile(`/v1/sessions/([^/]+)/trace`)
	times := regexp.MustCompile(`"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"`)
	opened := regexp.MustCompile(`msg="session opened" session=(\S+)`)
	trace := func(nth int, client func()) {
		var public string
		s.logs(t, func() bool {
			all := opened.FindAllStringSubmatch(s.stderr.String(), -1)
			if len(all) == nth {
				public = all[nth-1][1]
			}
			return public != ""
		})
		line, want := blocks[nth-1][1], blocks[nth-1][2]
		line = strings.NewReplacer("localhost:3001", s.opsAddr(t), id.FindStringSubmatch(line)[1], public).Replace(line)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", line)
		cmd.Env = append(os.Environ(), "KEY="+key)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		in := bufio.NewReader(out)
		first, err := in.ReadString('\n')
		require.NoError(t, err)
		client()
		rest, err := io.ReadAll(in)
		require.NoError(t, err)
		require.NoError(t, cmd.Wait())
		require.Equal(t, times.ReplaceAllString(want, ""), times.ReplaceAllString(first+string(rest), ""))
		require.Len(t, times.FindAllString(want, -1), strings.Count(first+string(rest), "\n"))
	}

	session := s.poll4(t)
	trace(1, func() {
		ws := s.dial(t)
		ws.upgrade(session.with("websocket"))
		ws.send("2probe")
		ws.receives("3probe")
		session.polls("6")
		ws.send("5")
		ws.send("4hello")
		ws.receives("4hello")
		ws.close(status(1000, ""), 1000)
	})
	ws, _ := s.websocket(t, 4)
	trace(2, func() {
		ws.send("4hello")
		ws.receives("4hello")
	})
	s.logs(t, func() bool { return strings.Contains(s.stderr.String(), `msg="payloads of a session are shown"`) })
	require.NotContains(t, s.stderr.String(), session.Sid)
}
