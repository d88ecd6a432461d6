package program

import (
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"

	"turbine/engine"
)

// debugNames are the scopes that package engine asks for.
var debugNames = []string{"engine", "engine:socket", "engine:transport", "engine:polling", "engine:ws"}

// debugScopes returns the loggers of the scopes that pattern names, as the
// DEBUG variable of the reference server does: names with * in them, with
// commas or spaces between; those behind a - are left out.
func debugScopes(pattern string, logger *slog.Logger) func(string) *slog.Logger {
	names := debugWords(pattern)
	return func(scope string) *slog.Logger {
		on := false
		for _, name := range names {
			name, without := strings.CutPrefix(name, "-")
			if matched, _ := path.Match(name, scope); matched {
				if without {
					return nil
				}
				on = true
			}
		}
		if !on {
			return nil
		}
		return logger.With("scope", scope)
	}
}

func debugWords(pattern string) []string {
	return strings.FieldsFunc(pattern, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// debugSetting is the DEBUG variable while the program runs. Safe from any goroutine.
type debugSetting struct {
	server *engine.Server
	logger *slog.Logger

	mu      sync.Mutex
	pattern string // guarded by mu
}

// Get is what is switched on now, in the variable's form.
func (d *debugSetting) Get() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pattern
}

// Set switches on what the pattern names, and all else off. A word that names no scope
// is an error: unlike the variable, which the server for Node.js has for all its
// packages, this is for ours alone.
func (d *debugSetting) Set(pattern string) error {
	for _, word := range debugWords(pattern) {
		name := strings.TrimPrefix(word, "-")
		if !slices.ContainsFunc(debugNames, func(scope string) bool { ok, _ := path.Match(name, scope); return ok }) {
			return fmt.Errorf("%.40q is no scope; there are %s, and * stands for any letters", name, strings.Join(debugNames, ", "))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pattern = pattern
	d.server.SetDebug(debugScopes(pattern, d.logger))
	return nil
}

// levelSetting is --log-level while the program runs. Safe from any goroutine.
type levelSetting struct{ logs *logging }

// Get is the level in the flag's form.
func (s levelSetting) Get() string { return strings.ToLower(s.logs.level.Level().String()) }

// Set changes the level.
func (s levelSetting) Set(text string) error {
	var level logLevel
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return err
	}
	s.logs.setLevel(level.Level())
	return nil
}
