package engine_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A handler that sets deadlines of its own has these instead: it waits for a body,
// and for a client that does not read, while others are given up that have waited
// for a shorter time.
func TestFallbackOwnDeadlines(t *testing.T) {
	begun, hastyWrote, patientWrote := make(chan struct{}), make(chan error, 1), make(chan error, 1)
	s := run(t, engine.Options{Timeouts: engine.Timeouts{Body: 100 * time.Millisecond, Close: 100 * time.Millisecond}, Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/patient" {
			control, late := http.NewResponseController(w), time.Now().Add(time.Hour)
			_ = control.SetReadDeadline(late)
			_ = control.SetWriteDeadline(late)
			begun <- struct{}{}
		}
		body, err := io.ReadAll(r.Body)
		if r.Method == "POST" {
			_, _ = fmt.Fprintf(w, "%q %v", body, err)
			return
		}
		_, err = w.Write(make([]byte, 32<<20)) // more than sockets hold
		if r.URL.Path == "/patient" {
			patientWrote <- err
		} else {
			hastyWrote <- err
		}
	})}, engine.Events{})

	patient, hasty := dialLine(t, s.address), dialLine(t, s.address)
	patient.say("POST /patient HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
	<-begun
	hasty.say("POST /hasty HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
	_, body := hasty.hear("POST")
	require.Contains(t, body, "timeout")
	patient.say("cde")
	_, body = patient.hear("POST")
	require.Equal(t, `"abcde" <nil>`, body)

	patient = dialLine(t, s.address)
	patient.say("GET /patient HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	for range 3 { // while the first of them waits, sockets may still take something of the patient one
		dialLine(t, s.address).say("GET /hasty HTTP/1.1\r\nHost: x\r\n\r\n")
		require.ErrorIs(t, <-hastyWrote, os.ErrDeadlineExceeded)
	}
	response, err := http.ReadResponse(patient.r, nil)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.EqualValues(t, 32<<20, n)
	require.NoError(t, <-patientWrote)
}
