package engine_test

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A poll may wait for longer than an http.Server gives a response, also where its
// connection cannot be taken: how long is its session's affair.
func TestMountedPollOutlivesWriteTimeout(t *testing.T) {
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2: ", two), func(t *testing.T) {
			m := mount(t, engine.Options{PingInterval: time.Second}, echoEvents, itself, func(h *httptest.Server) {
				h.Config.WriteTimeout = 500 * time.Millisecond
				h.EnableHTTP2 = two
				h.StartTLS()
			})
			client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + "/engine.io/"}
			client.open()
			_, body := client.do("GET", "", "")
			require.Equal(t, "2", body)
			_, body = client.do("POST", "", "3")
			require.Equal(t, "ok", body)
			client.leave()
		})
	}
}

// deadlineWriter notes what is done to it.
type deadlineWriter struct {
	*httptest.ResponseRecorder
	done []string
}

func (w *deadlineWriter) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		w.done = append(w.done, "no deadline")
	} else {
		w.done = append(w.done, "deadline")
	}
	return nil
}

func (w *deadlineWriter) Write(p []byte) (int, error) {
	w.done = append(w.done, "write")
	return w.ResponseRecorder.Write(p)
}

// A client that takes a long response slowly has time for each part of it.
func TestMountedResponseHasDeadlinesInTurn(t *testing.T) {
	message := engine.Message{Data: bytes.Repeat([]byte("x"), 100_000)}
	m := mount(t, engine.Options{InitialPacket: &message}, echoEvents, itself, plain)
	w := &deadlineWriter{ResponseRecorder: httptest.NewRecorder()}
	m.ServeHTTP(w, httptest.NewRequest("GET", "/engine.io/?EIO=4&transport=polling", nil))
	require.Greater(t, w.Body.Len(), len(message.Data))
	require.Equal(t, []string{"no deadline", "deadline"}, w.done[:2], "also where nothing is written")
	require.Greater(t, len(w.done), 5)
	for i, what := range w.done[2:] {
		require.Equal(t, []string{"deadline", "write"}[i%2], what)
	}
	for session := range m.Sessions() {
		session.CloseNow()
	}
}
