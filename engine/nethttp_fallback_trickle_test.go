package engine_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A body that comes byte by byte holds a place among those that are served for
// Timeouts.Body, not for as long as its client likes; one that comes slowly is read.
func TestFallbackTrickle(t *testing.T) {
	s := run(t, engine.Options{Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", int(n>>12)))
	}), Limits: engine.Limits{MaxFallback: 1}, Timeouts: engine.Timeouts{Body: time.Second, Admit: time.Hour}}, echoEvents)
	slow := dialLine(t, s.address)
	const pieces, piece = 16, 16 << 10
	slow.say("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", pieces*piece)
	for range pieces { // longer than Timeouts.Body in all, far less for each piece
		time.Sleep(75 * time.Millisecond)
		slow.say("%s", strings.Repeat("x", piece))
	}
	_, body := slow.hear("POST")
	require.Len(t, body, pieces*piece>>12)

	trickle := dialLine(t, s.address)
	trickle.say("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for range 99 { // the last byte never comes
			select {
			case <-over:
				return
			case <-time.After(200 * time.Millisecond):
				_, _ = io.WriteString(trickle, "x")
			}
		}
	}()
	other := dialLine(t, s.address)
	require.Equal(t, "200 ", other.get("/y"))
	close(over)
	<-done
}
