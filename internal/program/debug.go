package program

import (
	"log/slog"
	"path"
	"strings"
	"unicode"
)

// debugScopes returns the loggers of the scopes that pattern names, as the
// DEBUG variable of the reference server does: names with * in them, with
// commas or spaces between; those behind a - are left out.
func debugScopes(pattern string, logger *slog.Logger) func(string) *slog.Logger {
	names := strings.FieldsFunc(pattern, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
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
