package program

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"turbine/engine"
)

// A reload brings what has changed in the configuration file into the running
// server, as far as that can be changed while it runs. Its calls come one after the
// other.
type reload struct {
	again func() (*settings, error) // reads all settings once more
	live  []live
	runs  *settings // what the server runs with: the file's at the start, and what was changed since
}

// A live group of settings can be changed while the server runs.
type live struct {
	names []string
	set   func(*flags) error // if it returns an error, nothing has changed
}

// A running program has what the settings of live groups change.
type running struct {
	server       *engine.Server
	logs         *logging
	sessions     *sessionLog
	drainTimeout atomic.Int64 // --drain-timeout in nanoseconds
}

// live are all settings that can be changed while the server runs. Those that are not
// here need another process.
func (r *running) live() []live {
	return []live{
		{[]string{"log-level"}, func(f *flags) error { r.logs.setLevel(f.LogLevel.Level()); return nil }},
		{[]string{"log-sessions-rate"}, func(f *flags) error { r.sessions.setRate(f.LogSessionsRate); return nil }},
		{[]string{"origin", "any-origin", "cors-origin", "cors-credentials"}, func(f *flags) error { return f.accessFlags.change(r.server) }},
		{[]string{"trusted-proxy", "client-header"}, func(f *flags) error { return f.proxyFlags.change(r.server) }},
		{[]string{
			"max-conns", "max-conns-per-ip", "conn-rate", "max-sessions", "max-sessions-per-ip", "handshake-rate", "exempt", "max-tls-handshakes",
		}, func(f *flags) error { return f.limitFlags.change(r.server) }},
		{[]string{"drain-delay", "drain-period", "drain-timeout"}, func(f *flags) error { return f.drainFlags.change(r.server, &r.drainTimeout) }},
	}
}

// newReload is for a server that runs with s.
func newReload(s *settings, again func() (*settings, error), groups ...live) *reload {
	return &reload{again: again, live: groups, runs: s}
}

// configFile are the files for the watch: that of --config, if there is one.
func (r *reload) configFile() *watched {
	set := &watched{prepare: r.prepare, refused: "the configuration cannot be used; the old one stays in use", seen: r.runs.file}
	if path := r.runs.flags.Config; path != "" {
		set.files = []string{path}
	}
	return set
}

// isLive reports whether the setting can be changed while the server runs.
func (r *reload) isLive(name string) bool {
	return slices.ContainsFunc(r.live, func(group live) bool { return slices.Contains(group.names, name) })
}

// prepare reads the settings again, and checks them: as they are, which is how the next
// process begins with them, and as far as this one takes them over.
func (r *reload) prepare() (use, error) {
	next, err := r.again()
	if err != nil {
		return nil, err
	}
	if err := next.check(slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	now, then := r.runs.texts(), next.texts()
	var changed, restart []string
	for i, flag := range next.list {
		if !isSetting(flag) {
			continue
		}
		live := r.isLive(flag.Name)
		switch differs := then[flag.Name] != now[flag.Name]; {
		case differs && live:
			changed = append(changed, flag.Name)
		case differs:
			restart = append(restart, flag.Name)
		}
		if !live {
			flag.Target.Set(r.runs.list[i].Target)
		}
	}
	if err := next.flags.checkTogether(); err != nil {
		return nil, fmt.Errorf("%s, and these need a restart: %s", next.explain(err), strings.Join(restart, ", "))
	}
	return func() error { return r.use(next, changed, restart) }, nil
}

// checkTogether finds flags that do not go together. What files hold, and names of files,
// is not looked at: the running server has what it needs of them.
func (f *flags) checkTogether() error {
	without := *f
	without.tlsFlags, without.opsFlags, without.clusterFlags = tlsFlags{}, opsFlags{}, clusterFlags{}
	_, err := without.options()
	return err
}

// use has the running server take over the settings that have changed, or none of them.
func (r *reload) use(next *settings, changed, restart []string) error {
	var done []live
	for _, group := range r.live {
		if !slices.ContainsFunc(group.names, func(name string) bool { return slices.Contains(changed, name) }) {
			continue
		}
		if err := group.set(next.flags); err != nil {
			for _, group := range done {
				_ = group.set(r.runs.flags) // the server has taken these before
			}
			return err
		}
		done = append(done, group)
	}
	r.runs = next
	slog.Info("configuration read", "file", next.flags.Config, "changed", changed)
	if slices.Contains(changed, "any-origin") || slices.Contains(changed, "cors-origin") {
		next.flags.warn()
	}
	if len(restart) > 0 {
		slog.Warn("some settings need a restart; the old ones stay in use", "settings", restart,
			"help", "SIGUSR2 starts a process with the new settings, which takes over")
	}
	return nil
}
