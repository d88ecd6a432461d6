package embedded

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLogsComeOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLogs(slog.New(slog.NewTextHandler(&out, nil)))
		lines := func() int { return strings.Count(out.String(), "\n") }
		for i := range 5 {
			l.Errorf("route %d", i)
			l.Warnf("slow %d", i)
			time.Sleep(time.Second)
		}
		require.Equal(t, 2, lines(), "one of each kind")
		time.Sleep(time.Minute)
		l.Errorf("route %d", 9)
		require.Contains(t, out.String(), `text="route 9" suppressed=4`)
		l.Fatalf("cannot listen")
		require.Equal(t, 4, lines())
		l.Noticef("started")
		l.Warnf("Plaintext passwords detected")
		l.Debugf("x")
		l.Tracef("x")
		require.Equal(t, 4, lines())
	})
}
