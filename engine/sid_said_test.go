package engine

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// An id that its client could not say again makes no session: the client is
// refused, and the log says why without the id.
func TestIDsThatNobodyCanSay(t *testing.T) {
	for _, id := range []string{"caf\xe9", "\xff", "a\xed\xa0\x80"} {
		for _, bySetID := range []bool{false, true} {
			log := new(warnings)
			o := Options{Logger: slog.New(log)}
			if !bySetID {
				o.GenerateID = func(*Request) (string, error) { return id, nil }
			}
			b := newSpec(t, 1, o, func(_ *bench, e *Events) {
				if bySetID {
					e.Admit = func(a *Admission) error { a.SetID(id); return nil }
				}
			})
			require.Equal(t, []string{`400 {"code":3,"message":"Bad request"}`}, b.play(hsPolling), "%q", id)
			require.Equal(t, "w: 400 Bad request", b.play(hsWebSocket)[0], "%q", id)
			lines := log.take()
			require.Len(t, lines, 1, "once a second")
			require.Contains(t, lines[0], "not UTF-8")
			require.NotContains(t, lines[0], id)
			require.Zero(t, b.server.Stats().Sessions)
			b.finish()
		}
	}
}
