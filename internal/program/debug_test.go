package program

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The scopes that a pattern switches on, as the DEBUG variable of the reference
// server does.
func TestDebugScopes(t *testing.T) {
	scopes := []string{"engine", "engine:socket", "engine:transport", "engine:polling", "engine:ws"}
	const all = "engine engine:socket engine:transport engine:polling engine:ws"
	for _, c := range []struct{ pattern, want string }{
		{"", ""},
		{" , ,", ""},
		{"*", all},
		{"engine*", all},
		{"engine", "engine"},
		{"engine:*", "engine:socket engine:transport engine:polling engine:ws"},
		{"engine:ws", "engine:ws"},
		{"engine:ws,engine:polling", "engine:polling engine:ws"},
		{"engine:ws engine", "engine engine:ws"},
		{"-engine:ws", ""},
		{"*,-engine:ws", "engine engine:socket engine:transport engine:polling"},
		{"-engine:ws,*", "engine engine:socket engine:transport engine:polling"},
		{"engine* -engine:*", "engine"},
		{"engine:ws,-*", ""},
		{"-", ""},
		{"engine:w", ""},
		{"engine:*s*", "engine:socket engine:transport engine:ws"},
		{"Engine", ""},
		{"other,express*", ""},
		{"other*,engine:ws", "engine:ws"},
		{"[", ""},
		{`\`, ""},
	} {
		var log bytes.Buffer
		scope := debugScopes(c.pattern, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		var on []string
		for _, name := range scopes {
			log.Reset()
			logger := scope(name)
			if logger == nil {
				continue
			}
			on = append(on, name)
			logger.Debug("said", "x", 1)
			require.Contains(t, log.String(), "scope="+name+" x=1")
		}
		require.Equal(t, c.want, strings.Join(on, " "), "%q", c.pattern)
	}
}
