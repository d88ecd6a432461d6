package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// records is a slog.Handler that keeps what one scope says.
type records struct {
	scope string
	all   *[]string
	level map[slog.Level]bool
}

func (r *records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *records) WithGroup(string) slog.Handler            { return r }

func (r *records) Handle(_ context.Context, record slog.Record) error {
	line := r.scope + " " + record.Message
	record.Attrs(func(a slog.Attr) bool {
		if a.Key != "session" {
			line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		}
		return true
	})
	*r.all = append(*r.all, line)
	r.level[record.Level] = true
	return nil
}

var debugScopes = []string{"engine", "engine:socket", "engine:transport", "engine:polling", "engine:ws"}

// Each scope is asked for once, and says its own part of a session's life when
// it is on, nothing when it is off.
func TestDebugScopes(t *testing.T) {
	want := map[string][]string{
		"engine": {
			"handshake transport=polling revision=4 client=192.0.2.1:1027",
			"refused code=0 message=Transport unknown name= target=/engine.io/?EIO=4&transport=none",
		},
		"engine:socket": {
			"flushing packets=1 transport=polling", "packet received type=message bytes=2",
			"packet received type=message bytes=2", "flushing packets=1 transport=websocket",
			"closed reason=transport close error=<nil>",
		},
		"engine:transport": {"transport now=polling", "transport now=websocket"},
		"engine:polling":   {"request post=true", "request post=false"},
		"engine:ws":        {"message opcode=1 bytes=3", "message opcode=8 bytes=2"},
	}
	for _, loops := range []int{1, -3} {
		for set := range 1 << len(debugScopes) {
			var asked, got, expected []string
			levels := map[slog.Level]bool{}
			on := func(scope string) bool { return set>>slices.Index(debugScopes, scope)&1 == 1 }
			b := newBench(t, loops, Options{Debug: func(scope string) *slog.Logger {
				asked = append(asked, scope)
				if !on(scope) {
					return nil
				}
				return slog.New(&records{scope, &got, levels})
			}})
			require.Equal(t, debugScopes, asked)
			b.play(hsPolling, "get EIO=4&transport=none", "post sid=A 4hi", "get sid=A conn=p", "ws sid=A conn=w",
				"frame w text 2probe", "frame w text 5", "frame w text 4up", "send A x", "close w 1000")
			require.Len(t, asked, len(debugScopes), "once each")
			for _, scope := range debugScopes {
				if !on(scope) {
					continue
				}
				var own []string
				for _, line := range got {
					if strings.HasPrefix(line, scope+" ") {
						own = append(own, strings.TrimPrefix(line, scope+" "))
					}
				}
				require.Equal(t, want[scope], own)
				expected = append(expected, own...)
			}
			require.Len(t, got, len(expected), "nothing from those that are off")
			if set != 0 {
				require.Equal(t, map[slog.Level]bool{slog.LevelDebug: true}, levels)
			}
			b.finish()
		}
	}
}

// Refusals that nobody else hears of are in the log of "engine".
func TestDebugRefusals(t *testing.T) {
	var got []string
	b := newBench(t, 1, Options{Debug: func(scope string) *slog.Logger {
		return slog.New(&records{scope, &got, map[slog.Level]bool{}})
	}})
	b.reject = "not you"
	b.play(hsPolling, "ws EIO=4&transport=websocket&sid=none conn=w")
	require.Equal(t, []string{
		"engine refused code=4 message=Forbidden name= target=/engine.io/?EIO=4&transport=polling",
		"engine refused code=1 message=Session ID unknown name= target=/engine.io/?EIO=4&transport=websocket&sid=-",
	}, got)
	b.finish()
}
