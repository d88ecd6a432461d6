package program

import (
	"log/slog"
	"slices"
)

// A reload brings what has changed in the configuration file into the running
// server, as far as that can be changed while it runs. Its calls come one after the
// other.
type reload struct {
	again func() (*settings, error) // reads all settings once more
	live  []live
	runs  map[string]string // the settings that the server runs with, by flag
}

// A live group of settings can be changed while the server runs.
type live struct {
	names []string
	set   func(*flags) error // if it returns an error, nothing has changed
}

// newReload is for a server that runs with s.
func newReload(s *settings, again func() (*settings, error), groups ...live) *reload {
	return &reload{again: again, live: groups, runs: s.texts()}
}

// configFile are the files for the watch: that of --config, if there is one, which
// began is made of.
func (r *reload) configFile(began *settings) *watched {
	set := &watched{load: r.load, refused: "the configuration cannot be used; the old one stays in use", seen: began.file}
	if path := began.flags.Config; path != "" {
		set.files = []string{path}
	}
	return set
}

// load reads the settings again. Nothing changes unless all of them can be used.
func (r *reload) load() error {
	next, err := r.again()
	if err != nil {
		return err
	}
	if err := next.check(slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	texts := next.texts()
	var changed, restart []string
	for _, flag := range next.list {
		if texts[flag.Name] != r.runs[flag.Name] {
			changed = append(changed, flag.Name)
		}
	}
	for _, group := range r.live {
		if !slices.ContainsFunc(group.names, func(name string) bool { return slices.Contains(changed, name) }) {
			continue
		}
		if err := group.set(next.flags); err != nil {
			return err
		}
		for _, name := range group.names {
			r.runs[name] = texts[name]
		}
	}
	for _, name := range changed {
		if texts[name] != r.runs[name] {
			restart = append(restart, name)
		}
	}
	changed = slices.DeleteFunc(changed, func(name string) bool { return slices.Contains(restart, name) })
	slog.Info("configuration read", "file", next.flags.Config, "changed", changed)
	if len(restart) > 0 {
		slog.Warn("some settings need a restart; the old ones stay in use", "settings", restart,
			"help", "SIGUSR2 starts a process with the new settings, which takes over")
	}
	return nil
}
