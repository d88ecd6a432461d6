package program

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"turbine/internal/certs"

	"github.com/stretchr/testify/require"
)

// Each reading of the file changes what can be changed, names what needs a restart
// as long as it differs from what runs, and changes nothing if anything is wrong.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	write(t, path, "ping-interval: 10s\nlog-level: info\n")
	again := func() (*settings, error) {
		return readSettings([]string{"--config", path, "--conn-rate=9"}, "", io.Discard, io.Discard)
	}
	s, err := again()
	require.NoError(t, err)
	level := s.flags.LogLevel
	app := s.flags.App
	var refused error
	r := newReload(s, again, live{[]string{"log-level"}, func(f *flags) error { level = f.LogLevel; return nil }},
		live{[]string{"app", "cookie"}, func(f *flags) error {
			if refused == nil {
				app = f.App
			}
			return refused
		}})

	const restart = "the old ones stay in use"
	for _, c := range []struct {
		name    string
		text    string
		refused error
		level   string // afterwards
		err     string // FILE is the file's name
		log     []string
	}{
		{"nothing", "ping-interval: 10s\nlog-level: info", nil, "info", "", []string{`msg="configuration read" file=FILE changed=[]`}},
		{"a level", "ping-interval: 10s\nlog-level: debug", nil, "debug", "", []string{`changed=[log-level]`}},
		{"the default", "ping-interval: 10s", nil, "info", "", []string{`changed=[log-level]`}},
		{"a restart is needed", "ping-interval: 11s", nil, "info", "", []string{`changed=[]`, restart + `" settings=[ping-interval]`}},
		{"and still is", "ping-interval: 11s\npath: /x/\nlog-level: warn", nil, "warn", "", []string{`changed=[log-level]`, restart + `" settings="[path ping-interval]"`}},
		{"and no longer", "ping-interval: 10s\nlog-level: warn", nil, "warn", "", []string{`changed=[]`}},
		{"an unknown key", "log-level: debug\norign: x", nil, "warn", `FILE:2: there is no flag "orign"; the nearest is origin`, nil},
		{"a bad option", "log-level: debug\npath: x", nil, "warn", `--path "x" does not begin with a slash (set in FILE:2)`, nil},
		{"a file that is not there", "log-level: debug\ntls-cert: none.pem\ntls-key: none.pem", nil, "warn", `open none.pem: no such file or directory`, nil},
		{"what the server does not take", "ping-interval: 10s\nlog-level: debug\ncookie: a", errors.New("not now"), "warn", `not now`, nil},
		{"what it does not take is not touched", "ping-interval: 10s\nlog-level: debug", errors.New("not now"), "debug", "", []string{`changed=[log-level]`}},
		{"back", "ping-interval: 10s\nlog-level: warn", nil, "warn", "", []string{`changed=[log-level]`}},
		{"and then does", "ping-interval: 10s\nlog-level: debug\ncookie: a", nil, "debug", "", []string{`changed="[cookie log-level]"`}},
		{"the command line wins", "ping-interval: 10s\nlog-level: debug\ncookie: a\nconn-rate: 5", nil, "debug", "", []string{`changed=[]`}},
		{"a group", "ping-interval: 10s\nlog-level: debug\ncookie: a\napp: broadcast", nil, "debug", "", []string{`changed=[app]`}},
	} {
		write(t, path, c.text)
		refused = c.refused
		log := logged(t, func() { err = used(r.prepare()) })
		text, merr := level.MarshalText()
		require.NoError(t, merr)
		require.Equal(t, c.level, string(text), c.name)
		require.Equal(t, c.name == "a group", app == "broadcast", c.name)
		if c.err != "" {
			require.ErrorContains(t, err, strings.ReplaceAll(c.err, "FILE", path), c.name)
			require.Empty(t, log, c.name)
			continue
		}
		require.NoError(t, err, c.name)
		for _, want := range c.log {
			require.Contains(t, log, strings.ReplaceAll(want, "FILE", path), c.name)
		}
		require.Equal(t, len(c.log), strings.Count(log, "\n"), "%s: %s", c.name, log)
	}
}

// used is what becomes of what was prepared.
func used(u use, err error) error {
	if err == nil {
		err = u()
	}
	return err
}

// aRunning is a program that runs with the settings of a file, and its reload.
func aRunning(t *testing.T, path string) (*running, *reload) {
	t.Helper()
	again := func() (*settings, error) { return readSettings([]string{"--config", path}, "", io.Discard, io.Discard) }
	s, err := again()
	require.NoError(t, err)
	logs := newLogging(io.Discard, &s.flags.logFlags, s.words)
	t.Cleanup(logs.writer.flush)
	sessions := newSessionLog(logs.logger, s.flags)
	t.Cleanup(sessions.end)
	server, err := newServer(s.flags, &node{}, nil, sessions)
	require.NoError(t, err)
	r := &running{server: server, logs: logs, sessions: sessions}
	r.drainTimeout.Store(int64(s.flags.DrainTimeout))
	return r, newReload(s, again, r.live()...)
}

// Each flag can be changed while the server runs, or is named as one that needs a
// restart, and docs/operate.md has it in its table as what it is.
func TestEachSettingIsLiveOrNeedsARestart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "turbine.yaml")
	certificate, key := certs.New(t).Issue(t, "localhost", nil).Write(t, dir)
	keys := filepath.Join(dir, "keys")
	write(t, keys, "ann read 0123456789abcdef\n")
	pair := "tls-cert: " + certificate + "\ntls-key: " + key + "\n"
	opsPair := "ops-tls-cert: " + certificate + "\nops-tls-key: " + key + "\n"
	clusterKey := filepath.Join(dir, "cluster.key")
	require.NoError(t, os.WriteFile(clusterKey, []byte(strings.Repeat("k", 32)), 0o600))
	clusterTLS := "cluster: a\ncluster-tls-cert: " + certificate + "\ncluster-tls-key: " + key + "\ncluster-tls-ca: " + certificate + "\n"
	texts := map[string]string{ // lines of a file that change the setting
		"addr": "addr: :1", "app": "app: broadcast", "client-header": "client-header: Forwarded\ntrusted-proxy: unix",
		"compression": "compression: false", "cookie": "cookie: io", "cors-credentials": "cors-credentials: true\ncors-origin: https://a.example",
		"cors-origin": "cors-origin: https://a.example", "drain-delay": "drain-delay: 1s", "drain-period": "drain-period: 1s",
		"exempt": "exempt: none", "health-path": "health-path: /h", "initial-packet": "initial-packet: hello",
		"log-format": "log-format: json", "log-level": "log-level: warn", "ops-addr": "ops-addr: unix:/ops",
		"ops-keys": "ops-keys: " + keys, "ops-open": "ops-open: metrics",
		"ops-tls-cert": opsPair, "ops-tls-key": opsPair,
		"ops-tls-client-ca": opsPair + "ops-tls-client-ca: " + certificate,
		"origin":            "origin: https://a.example", "path": "path: /p/", "pid-file": "pid-file: p",
		"proxy-protocol": "proxy-protocol: all\ntrusted-proxy: unix", "revisions": "revisions: 4", "socket-mode": "socket-mode: '600'",
		"tls-addr": pair + "tls-addr: :2", "tls-cert": pair, "tls-key": pair, "tls-client-ca": pair + "tls-client-ca: " + certificate,
		"tls-client-auth": pair + "tls-client-auth: optional", "tls-min-version": "tls-min-version: '1.3'",
		"transports": "transports: polling", "trusted-proxy": "trusted-proxy: unix",
		"max-tls-handshakes": "max-tls-handshakes: 9",
		"cluster":            "cluster: a", "node-name": "node-name: n", "cluster-key": "cluster: a\ncluster-key: " + clusterKey,
		"cluster-listen": "cluster: a\ncluster-listen: 127.0.0.1:9", "cluster-advertise": "cluster: a\ncluster-advertise: 127.0.0.1:9",
		"cluster-nats": "cluster: a\ncluster-nats: nats://127.0.0.1:4222", "cluster-nats-listen": "cluster: a\ncluster-nats-listen: 127.0.0.1:9",
		"cluster-join": "cluster: a\ncluster-join: dns:localhost:6222", "cluster-insecure": "cluster: a\ncluster-insecure: true",
		"cluster-tls-cert": clusterTLS, "cluster-tls-key": clusterTLS, "cluster-tls-ca": clusterTLS, "max-relays": "cluster: a\nmax-relays: 9",
	}
	write(t, path, "")
	r, load := aRunning(t, path)
	var live []string
	for _, group := range r.live() {
		live = append(live, group.names...)
	}
	page, err := os.ReadFile("../../docs/operate.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "| setting | changes |\n|---|---|\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	when := map[string]string{}
	for row := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(row, " | ")
		require.Len(t, cells, 2, row)
		if strings.HasPrefix(cells[0], "| what is in the files") {
			continue
		}
		for _, name := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(cells[0], -1) {
			require.NotContains(t, when, name[1], "it is there twice")
			when[name[1]] = cells[1]
		}
	}
	all := 0
	for _, flag := range programFlags() {
		if !isSetting(flag) {
			continue
		}
		all++
		text, ok := texts[flag.Name]
		if !ok {
			switch flag.Target.Interface().(type) {
			case bool:
				text = flag.Name + ": true"
			case time.Duration:
				text = flag.Name + ": 6s"
			default: // a number
				text = flag.Name + ": 7"
			}
		}
		write(t, path, text)
		log := logged(t, func() { require.NoError(t, used(load.prepare()), flag.Name) })
		name := regexp.MustCompile(`[\[= ]` + flag.Name + `[\] \n]`)
		changed, restart, _ := strings.Cut(log, "\n")
		if slices.Contains(live, flag.Name) {
			require.Regexp(t, name, changed[strings.Index(changed, "changed="):], flag.Name)
			require.Contains(t, when[flag.Name], "at once", flag.Name)
		} else {
			require.Regexp(t, name, restart, flag.Name)
			require.Equal(t, "with the next process |", when[flag.Name], flag.Name)
		}
	}
	require.Len(t, when, all, "the table has no other names")
}

// What can be changed reaches the server.
func TestSettingsThatReachTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	write(t, path, "")
	r, load := aRunning(t, path)
	write(t, path, "max-conns: 5\nmax-conns-per-ip: 6\nconn-rate: 7\nexempt: none\ntrusted-proxy: 192.0.2.1\ndrain-timeout: 90s\nlog-level: debug")
	require.NoError(t, used(load.prepare()))
	o := r.server.Driver().LoopOptions()
	require.Equal(t, []int{5, 6, 7}, []int{o.MaxConns, o.MaxConnsPerIP, o.ConnRate})
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, o.Exempt)
	require.EqualValues(t, 90*time.Second, r.drainTimeout.Load())
	require.Equal(t, slog.LevelDebug, r.logs.level.Level())
}

// What may be changed has to go together with what may not, and stays as it was if it
// does not.
func TestSettingsThatDoNotGoTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	const began = "proxy-protocol: all\ntrusted-proxy: 127.0.0.1\nlog-level: warn"
	write(t, path, began)
	r, load := aRunning(t, path)
	exempt := r.server.Driver().LoopOptions().Exempt
	for _, c := range []struct{ name, text, err string }{
		{"the next process could do without both", "log-level: debug", "--proxy-protocol: without --trusted-proxy nobody could connect, and these need a restart: proxy-protocol"},
		{"nor could that", "log-level: debug\nproxy-protocol: all", "--proxy-protocol: without --trusted-proxy nobody could connect (set in " + path + ":2)"},
		{"a timeout that is too short", began + "\ndrain-delay: 10s", "--drain-timeout: 8s is not enough"},
	} {
		write(t, path, c.text)
		require.ErrorContains(t, used(load.prepare()), c.err, c.name)
		require.Equal(t, slog.LevelWarn, r.logs.level.Level(), c.name)
		require.Equal(t, exempt, r.server.Driver().LoopOptions().Exempt, c.name)
	}
	write(t, path, "trusted-proxy: 127.0.0.2\nlog-level: debug")
	log := logged(t, func() { require.NoError(t, used(load.prepare())) })
	require.Contains(t, log, "settings=[proxy-protocol]")
	require.Contains(t, r.server.Driver().LoopOptions().Exempt, netip.MustParsePrefix("127.0.0.2/32"))
}

// A warning of what pages of any origin may do comes once, with the change.
func TestReloadWarnsOfAnyOrigin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	write(t, path, "")
	_, load := aRunning(t, path)
	for _, c := range []struct {
		text  string
		warns int
	}{{"any-origin: true", 1}, {"any-origin: true\norigin: https://a.example", 0}, {"cors-origin: '*'", 1}, {"", 0}} {
		write(t, path, c.text)
		log := logged(t, func() { require.NoError(t, used(load.prepare())) })
		require.Equal(t, c.warns, strings.Count(log, "pages of every origin may connect"), c.text)
	}
}

// Faults of several lines are one record.
func TestReloadThatIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	write(t, path, "")
	again := func() (*settings, error) { return readSettings([]string{"--config", path}, "", io.Discard, io.Discard) }
	s, err := again()
	require.NoError(t, err)
	set := newReload(s, again).configFile()
	w := &watch{sets: []*watched{set}}
	write(t, path, "ap: x\nad: y")
	log := logged(t, w.readAll)
	require.Regexp(t, `^\S+ level=ERROR msg="the configuration cannot be used; the old one stays in use" error="`+
		regexp.QuoteMeta(path)+`:1: there is no flag .*; `+regexp.QuoteMeta(path)+`:2: there is no flag .*"\n$`, log)
	require.Empty(t, logged(t, func() { w.readChanged() }), "it is said once")

	plain, err := readSettings(nil, "", io.Discard, io.Discard)
	require.NoError(t, err)
	require.Empty(t, newReload(plain, again).configFile().files)
}

// A change between the reading of the file and the beginning of the watch is not
// missed.
func TestReloadOfAFileThatChangesAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	write(t, path, "app: echo")
	again := func() (*settings, error) { return readSettings([]string{"--config", path}, "", io.Discard, io.Discard) }
	s, err := again()
	require.NoError(t, err)
	write(t, path, "app: broadcast")
	took := make(chan string, 1)
	r := newReload(s, again, live{[]string{"app"}, func(f *flags) error { took <- f.App; return nil }})
	stop := watchFiles(nil, r.configFile())
	defer stop()
	require.Equal(t, "broadcast", <-took)
}

// logged is what is logged meanwhile.
func logged(t *testing.T, do func()) string {
	t.Helper()
	var log bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	do()
	return log.String()
}
