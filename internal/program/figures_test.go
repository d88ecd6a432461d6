package program

import (
	"log/slog"
	"regexp"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A logKey is one word or snake_case, as internal/lint demands of the keys that
// stand in the source.
var logKey = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// The keys that are made when the program runs are of that form as well.
func TestLogKeysOfFigures(t *testing.T) {
	var check func(a slog.Attr)
	check = func(a slog.Attr) {
		require.Regexp(t, logKey, a.Key)
		if a.Value.Kind() == slog.KindGroup {
			for _, inner := range a.Value.Group() {
				check(inner)
			}
		}
	}
	for _, a := range figures(engine.Stats{}, 0) {
		check(a.(slog.Attr))
	}
	for limit := range engine.NumLimits {
		require.Regexp(t, logKey, engine.Limit(limit).String())
	}
}
