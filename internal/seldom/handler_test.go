package seldom

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A logger and those made from it share the second, and no record is uncounted.
func TestHandlerLetsOneRecordASecondThrough(t *testing.T) {
	var out bytes.Buffer
	h := Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	logger := slog.New(h)
	logger.Warn("first")
	logger.With("a", 1).Warn("second")
	logger.WithGroup("g").Warn("third", "b", 2)
	require.Equal(t, "level=WARN msg=first suppressed=0\n", out.String())

	out.Reset()
	h.(*handler).once.next.Add(-int64(2 * time.Second))
	logger.With("a", 1).Warn("fourth", "b", 2)
	require.Equal(t, "level=WARN msg=fourth a=1 b=2 suppressed=2\n", out.String())
}
