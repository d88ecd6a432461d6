package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"turbine/internal/certs"
	"turbine/internal/program"

	"github.com/stretchr/testify/require"
)

func text(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// exposure is what systemd-analyze security makes of a unit, from 0 to 10.
func exposure(t *testing.T, unit string) float64 {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze; install systemd to judge the unit")
	}
	path := filepath.Join(t.TempDir(), "turbine.service")
	require.NoError(t, os.WriteFile(path, []byte(unit), 0o600))
	out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	m := regexp.MustCompile(`Overall exposure level for turbine\.service: ([\d.]+)`).FindSubmatch(out)
	require.NotNil(t, m, "%s", out)
	level, err := strconv.ParseFloat(string(m[1]), 64)
	require.NoError(t, err)
	return level
}

// The unit takes from the program what it does not need, also with the lines for ports
// below 1024. Without its sandbox systemd finds it unsafe, so it looks at these lines.
func TestUnitIsHardened(t *testing.T) {
	unit := text(t, "files/turbine.service")
	require.LessOrEqual(t, exposure(t, unit), 2.0)

	lines := regexp.MustCompile(`(?m)^#   (\w+=CAP_\w+)$`).FindAllStringSubmatch(unit, -1)
	require.Len(t, lines, 2)
	low := unit
	for _, m := range lines {
		name, _, _ := strings.Cut(m[1], "=")
		require.Contains(t, low, "\n"+name+"=\n")
		low = strings.Replace(low, "\n"+name+"=\n", "\n"+m[1]+"\n", 1)
	}
	require.LessOrEqual(t, exposure(t, low), 2.0)

	service, _, _ := strings.Cut(unit, "CapabilityBoundingSet=")
	require.Greater(t, exposure(t, service), 8.0)
}

// The settings that the packages install are those of the program, and what is set in
// them fits the unit: systemd waits longer than the drain takes.
func TestSettings(t *testing.T) {
	file, err := settings()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	var stdout, stderr bytes.Buffer
	require.Equal(t, 0, program.Run([]string{"config", "check", "--config", path}, &stdout, &stderr, program.Extra{}), stderr.String())
	stdout.Reset()
	require.Equal(t, 0, program.Run([]string{"config", "print", "--config", path}, &stdout, &stderr, program.Extra{}), stderr.String())
	var given []string
	for line := range strings.Lines(stdout.String()) {
		if setting, source, _ := strings.Cut(line, " # "); strings.HasPrefix(source, path) {
			given = append(given, strings.TrimSpace(setting))
		}
	}
	require.ElementsMatch(t, []string{`health-path: "/healthz"`, "drain-timeout: 1m0s"}, given)

	drain, err := time.ParseDuration(set["drain-timeout"])
	require.NoError(t, err)
	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(text(t, "files/turbine.service"))
	seconds, err := strconv.Atoi(stop[1])
	require.NoError(t, err)
	require.Greater(t, time.Duration(seconds)*time.Second, drain+time.Second)
}

// The example of keys in the settings of the packages can be used as it is written.
func TestSettingsHaveAnExampleOfOperations(t *testing.T) {
	file, err := settings()
	require.NoError(t, err)
	dir := t.TempDir()
	certificate, key := certs.New(t).Issue(t, "localhost", nil).Write(t, dir)
	keys, path := filepath.Join(dir, "keys"), filepath.Join(dir, "turbine.yaml")
	var lines, users []string
	for _, m := range regexp.MustCompile(`(?m)^#   (  )?(\S.*)$`).FindAllStringSubmatch(string(file), -1) {
		if m[1] == "" {
			lines = append(lines, m[2])
		} else {
			users = append(users, m[2])
		}
	}
	require.Len(t, users, 2)
	for i := range users {
		users[i] = strings.Replace(users[i], "KEY", strings.Repeat(strconv.Itoa(i), 32), 1)
	}
	require.NoError(t, os.WriteFile(keys, []byte(strings.Join(users, "\n")), 0o600))
	files := strings.NewReplacer("/etc/turbine/ops.keys", keys, "/etc/turbine/ops.pem", certificate, "/etc/turbine/ops-key.pem", key)
	require.Len(t, lines, 5)
	for _, example := range [][]string{lines[:1], lines[1:]} {
		require.NoError(t, os.WriteFile(path, append(slices.Clone(file), files.Replace(strings.Join(example, "\n"))...), 0o600))
		var stdout, stderr bytes.Buffer
		require.Equal(t, 0, program.Run([]string{"config", "check", "--config", path}, &stdout, &stderr, program.Extra{}), stderr.String())
		stdout.Reset()
		require.Equal(t, 0, program.Run([]string{"config", "print", "--config", path}, &stdout, &stderr, program.Extra{}), stderr.String())
		for _, line := range example {
			require.Contains(t, stdout.String(), files.Replace(line))
		}
	}
}

// The sysctl file says what docs/tuning.md does.
func TestSysctlIsTuning(t *testing.T) {
	page := text(t, "../../docs/tuning.md")
	got := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([\w.-]+) = (.+)$`).FindAllStringSubmatch(text(t, "files/sysctl.conf"), -1) {
		got[m[1]] = m[2]
	}
	require.Equal(t, []string{"fs.file-max", "fs.nr_open", "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_wmem"}, slices.Sorted(maps.Keys(got)))
	for _, name := range []string{"net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"} {
		require.Regexp(t, "`"+regexp.QuoteMeta(name)+"` \\|[^|]*\\| "+got[name]+" ", page)
	}
	require.Contains(t, page, "`tcp_wmem[2]` of "+strings.Fields(got["net.ipv4.tcp_wmem"])[2])
	require.Contains(t, strings.ReplaceAll(page, ",", ""), "| `fs.nr_open` | the most that `LimitNOFILE` may say | "+got["fs.nr_open"])
	most, err := strconv.Atoi(got["fs.nr_open"])
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(2*most), got["fs.file-max"], "twice that")
}

// The image runs the binary that make dist builds, not as root, and its health check
// is a command line of the program.
func TestImage(t *testing.T) {
	file := text(t, "../../Dockerfile")
	instruction := func(name string) string {
		m := regexp.MustCompile(`(?m)^`+name+` (.*)$`).FindAllStringSubmatch(file, -1)
		require.Len(t, m, 1, name)
		return m[0][1]
	}
	require.Equal(t, "scratch", instruction("FROM"))
	require.Equal(t, "dist/stage/linux_${TARGETARCH}/turbine /turbine", instruction("COPY"))
	require.Regexp(t, `^[1-9]\d*:[1-9]\d*$`, instruction("USER"))
	var entry, check []string
	require.NoError(t, json.Unmarshal([]byte(instruction("ENTRYPOINT")), &entry))
	require.Equal(t, []string{"/turbine"}, entry)
	_, command, _ := strings.Cut(instruction("HEALTHCHECK"), " CMD ")
	require.NoError(t, json.Unmarshal([]byte(command), &check))
	require.Equal(t, []string{"/turbine", "health"}, check)
	t.Setenv("TURBINE_HEALTH_PATH", strings.TrimPrefix(instruction("ENV"), "TURBINE_HEALTH_PATH="))
	t.Setenv("TURBINE_ADDR", "unix:"+filepath.Join(t.TempDir(), "nobody"))
	var stdout, stderr bytes.Buffer
	require.Equal(t, 1, program.Run(check[1:], &stdout, &stderr, program.Extra{}), "it has asked, and nobody is there")
	require.Contains(t, stderr.String(), "does not answer")
	require.Contains(t, text(t, "../../.dockerignore"), "!dist/stage/linux_*/turbine\n")
}

// The man page says of exit codes what docs/flags.md does.
func TestChapters(t *testing.T) {
	page := text(t, "../../docs/flags.md")
	for _, c := range chapters {
		if c.Title == "EXIT STATUS" {
			require.Len(t, c.Terms, 3)
			for _, term := range c.Terms {
				require.Contains(t, page, "| "+term.Word+" | "+term.Means+" |")
			}
		}
	}
	pages, err := pagesOf("1.2.3", time.Unix(0, 0))
	require.NoError(t, err)
	for _, want := range []string{`turbine 1.2.3`, `\-\-health\-path`, "TURBINE_HEALTH_PATH", "SIGUSR2", "/etc/turbine/turbine.yaml"} {
		require.Contains(t, string(pages["turbine.1"]), want)
	}
	for _, shell := range []string{"turbine.bash", "turbine.zsh", "turbine.fish"} {
		require.Contains(t, string(pages[shell]), "health-path", shell)
	}
}
