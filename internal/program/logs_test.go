package program

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stuckWriter blocks until it is let go.
type stuckWriter struct {
	entered chan struct{}
	letGo   chan struct{}
	bytes.Buffer
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	select {
	case w.entered <- struct{}{}:
	default:
	}
	<-w.letGo
	return w.Buffer.Write(p)
}

func TestLogWriterKeepsOrder(t *testing.T) {
	var out bytes.Buffer
	w := newLogWriter(&out)
	var want strings.Builder
	record := make([]byte, 0, 16)
	for i := range 100 {
		record = fmt.Appendf(record[:0], "record %d\n", i) // the writer has a copy
		_, err := w.Write(record)
		require.NoError(t, err)
		want.Write(record)
	}
	w.flush()
	<-w.written // it may have given up
	require.Equal(t, want.String(), out.String())
}

func TestLogWriterDoesNotWait(t *testing.T) {
	out := &stuckWriter{entered: make(chan struct{}, 1), letGo: make(chan struct{})}
	w := newLogWriter(out)
	_, _ = w.Write([]byte("first\n"))
	<-out.entered
	for range logBacklog + 7 {
		n, err := w.Write([]byte("more\n"))
		require.NoError(t, err)
		require.Equal(t, 5, n)
	}
	w.flush() // gives up
	close(out.letGo)
	<-w.written
	require.Contains(t, out.String(), "first\nlevel=WARN msg=\"log records lost\" suppressed=7\nmore\n")
	require.Equal(t, logBacklog, strings.Count(out.String(), "more\n"))
}

type fullDisk struct{ tries int }

func (w *fullDisk) Write([]byte) (int, error) {
	w.tries++
	return 0, errors.New("no space left on device")
}

func TestLogWriterOnAFullDisk(t *testing.T) {
	out := new(fullDisk)
	w := newLogWriter(out)
	for range 3 {
		n, err := w.Write([]byte("record\n"))
		require.NoError(t, err)
		require.Equal(t, 7, n)
	}
	w.flush()
	<-w.written
	require.Equal(t, 3, out.tries)
}
