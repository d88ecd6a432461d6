package engine

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// SetDebug switches scopes on and off for sessions that there are, and asks for each
// scope once.
func TestSetDebugChangesScopesOfOpenSessions(t *testing.T) {
	for _, loops := range []int{1, -3} {
		var asked, got []string
		on := ""
		scope := func(name string) *slog.Logger {
			asked = append(asked, name)
			if name != on {
				return nil
			}
			return slog.New(&records{name, &got, map[slog.Level]bool{}})
		}
		b := newBench(t, loops, Options{})
		b.play(hsPolling, "post sid=A 4hi")
		require.Empty(t, got)
		for _, c := range []struct {
			on, want string
		}{
			{"engine:socket", "engine:socket packet received type=message bytes=2"},
			{"engine:polling", "engine:polling request post=true"},
			{"", ""},
		} {
			on, asked, got = c.on, nil, nil
			b.server.SetDebug(scope)
			require.Equal(t, debugScopes, asked)
			b.play("post sid=A 4hi")
			require.Equal(t, c.want, strings.Join(got, "\n"))
		}
		on = "engine:socket"
		b.server.SetDebug(scope)
		b.server.SetDebug(nil)
		b.play("post sid=A 4hi")
		require.Empty(t, got)
		b.finish()
	}
}
