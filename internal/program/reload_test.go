package program

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
	var refused error
	r := newReload(s, again, live{[]string{"log-level", "app"}, func(f *flags) error {
		if refused == nil {
			level = f.LogLevel
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
		{"what the server does not take", "ping-interval: 10s\nlog-level: debug", errors.New("not now"), "warn", `not now`, nil},
		{"and then does", "ping-interval: 10s\nlog-level: debug", nil, "debug", "", []string{`changed=[log-level]`}},
		{"the command line wins", "ping-interval: 10s\nlog-level: debug\nconn-rate: 5", nil, "debug", "", []string{`changed=[]`}},
		{"a group", "ping-interval: 10s\nlog-level: debug\napp: broadcast", nil, "debug", "", []string{`changed=[app]`}},
	} {
		write(t, path, c.text)
		refused = c.refused
		log := logged(t, func() { err = r.load() })
		text, merr := level.MarshalText()
		require.NoError(t, merr)
		require.Equal(t, c.level, string(text), c.name)
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

// Faults of several lines are one record.
func TestReloadThatIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	write(t, path, "")
	again := func() (*settings, error) { return readSettings([]string{"--config", path}, "", io.Discard, io.Discard) }
	s, err := again()
	require.NoError(t, err)
	set := newReload(s, again).configFile(s)
	w := &watch{sets: []*watched{set}}
	write(t, path, "ap: x\nad: y")
	log := logged(t, w.readAll)
	require.Regexp(t, `^\S+ level=ERROR msg="the configuration cannot be used; the old one stays in use" error="`+
		regexp.QuoteMeta(path)+`:1: there is no flag .*; `+regexp.QuoteMeta(path)+`:2: there is no flag .*"\n$`, log)
	require.Empty(t, logged(t, w.readChanged), "it is said once")

	plain, err := readSettings(nil, "", io.Discard, io.Discard)
	require.NoError(t, err)
	require.Empty(t, newReload(plain, again).configFile(plain).files)
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
	stop := watchFiles(nil, r.configFile(s))
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
