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
// BodyTimeout, not for as long as its client likes; one that comes slowly is read.
func TestFallbackTrickle(t *testing.T) {
	s := run(t, engine.Options{Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", int(n>>12)))
	}), MaxFallback: 1, BodyTimeout: time.Second, AdmitTimeout: 3 * time.Second}, echoEvents)
	slow := dialLine(t, s.address)
	slow.say("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n")
	for range 16 {
		time.Sleep(75 * time.Millisecond)
		slow.say("%s", strings.Repeat("x", 4096))
	}
	_, body := slow.hear("POST")
	require.Len(t, body, 16)

	trickle := dialLine(t, s.address)
	trickle.say("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			time.Sleep(200 * time.Millisecond)
			_, _ = io.WriteString(trickle, "x")
		}
	}()
	other := dialLine(t, s.address)
	require.Equal(t, "200 ", other.get("/y"))
	_ = trickle.Close()
	<-done
}
