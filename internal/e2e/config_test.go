package e2e

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// knock asks for a session for a page of that origin, and returns the status.
func (s *server) knock(t *testing.T, origin string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.addr+s.path+"?EIO=4&transport=polling", nil)
	require.NoError(t, err)
	r.Header.Set("Origin", origin)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	_ = answer.Body.Close()
	return answer.StatusCode
}

// The program reads its file again when it changes and on SIGHUP: it takes what it
// can while it runs, says what needs a restart, and keeps all that it has if anything
// in the file is wrong. The next process has what needs a restart.
func TestConfigurationWhileTheServerRuns(t *testing.T) {
	const first, second = "https://first.example", "https://second.example"
	dir := t.TempDir()
	path, pidFile := filepath.Join(dir, "turbine.yaml"), filepath.Join(dir, "pid")
	put := func(text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	put("addr: 127.0.0.1:0\norigin: " + first + "\ndrain-timeout: 200ms\n")
	s := start(t, command(context.Background(), t, "--config", path, "--pid-file", pidFile))
	says := func(text string, times int) {
		t.Helper()
		s.logs(t, func() bool { return strings.Count(s.stderr.String(), text) >= times })
	}
	require.Equal(t, 200, s.knock(t, first))
	require.Equal(t, 403, s.knock(t, second))

	put("addr: 127.0.0.1:0\norigin: " + second + "\ndrain-timeout: 200ms\n")
	says(`msg="configuration read" file=`+path+` changed=[origin]`, 1)
	require.Equal(t, 403, s.knock(t, first))
	require.Equal(t, 200, s.knock(t, second))

	put("addr: 127.0.0.1:0\norigin: " + first + "\ndrain-timeot: 200ms\n")
	says(`msg="the configuration cannot be used; the old one stays in use" error="`+path+`:3: there is no flag \"drain-timeot\"; the nearest is drain-timeout"`, 1)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	says("the old one stays in use", 2)
	require.Equal(t, 403, s.knock(t, first))
	require.Equal(t, 200, s.knock(t, second))

	put("addr: 127.0.0.1:0\norigin: " + second + "\ndrain-timeout: 200ms\npath: /next/\n")
	says(`msg="some settings need a restart; the old ones stay in use" settings=[path]`, 1)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	says("some settings need a restart", 2)
	require.Equal(t, 200, s.knock(t, second), "on the old path")

	put("addr: 127.0.0.1:0\norigin: " + first + "\ndrain-timeout: 200ms\nlog-level: error\n")
	s.logs(t, func() bool { return s.knock(t, first) == 200 })
	require.NotContains(t, s.stderr.String(), "changed=[origin log-level]", "the new level leaves the record out")
	put("addr: 127.0.0.1:0\norigin: " + first + "\ndrain-timeout: 200ms\n")
	says("changed=[log-level]", 1)

	put("addr: 127.0.0.1:0\norigin: " + first + "\ndrain-timeout: 200ms\npath: /next/\n")
	says("some settings need a restart", 3)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGUSR2))
	says("another process has taken over", 1)
	text, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NotEqual(t, s.cmd.Process.Pid, pid)
	s.path = "/next/"
	require.Equal(t, 200, s.knock(t, first))
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.True(t, s.ends(stopPatience), "a process still runs")
}

// A file that cannot be used keeps the program from starting.
func TestConfigurationThatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	require.NoError(t, os.WriteFile(path, []byte("addr: 127.0.0.1:0\nmax-conns: many\npath: x\n"), 0o600))
	for _, args := range [][]string{{"--config", path}, {"serve", "--config", path}, {"config", "check", "--config", path}, {"config", "print", "--config", path}} {
		cmd := command(context.Background(), t, args...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Equal(t, 2, cmd.ProcessState.ExitCode(), "%q", args)
		require.Equal(t, "turbine: "+path+`:2: max-conns: want a whole number, not "many"`+"\n", string(out), "%q", args)
	}
}

// The files and the commands of the documents do what is written there.
func TestDocumentedConfiguration(t *testing.T) {
	text, _, _ := strings.Cut(section(t, "docs/operate.md", "## Configuration"), "\n## ")
	turbine := command(context.Background(), t).Path
	dir := t.TempDir()
	require.NoError(t, os.Symlink(turbine, filepath.Join(dir, "turbine")))
	files, commands := 0, 0
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		if name, ok := strings.CutPrefix(m[2], "# "); m[1] == "yaml" && ok {
			name, _, _ = strings.Cut(name, "\n")
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(m[2]), 0o600))
			files++
			continue
		}
		for part := range strings.SplitSeq("\n"+m[2], "\n$ ") {
			line, want, _ := strings.Cut(part, "\n")
			if line == "" {
				continue
			}
			commands++
			cmd := exec.Command("sh", "-c", line)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
			got, _ := cmd.CombinedOutput()
			require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(string(got)), line)
		}
	}
	require.Equal(t, 2, files)
	require.Equal(t, 4, commands)
}
