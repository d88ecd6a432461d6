package program

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

const (
	// logBacklog is the number of records that wait to be written.
	logBacklog = 1024
	// logPatience is how long the end of the process waits for them.
	logPatience = time.Second
)

// A logWriter writes on a goroutine of its own, so that no event loop waits for
// a disk, a terminal or a pipe that nobody reads. Records that cannot be
// written, or for which there is no room, are lost.
type logWriter struct {
	records chan []byte
	lost    atomic.Int64  // for want of room
	ending  chan struct{} // closed by flush
	written chan struct{} // closed when all is
}

func newLogWriter(out io.Writer) *logWriter {
	w := &logWriter{records: make(chan []byte, logBacklog), ending: make(chan struct{}), written: make(chan struct{})}
	go w.run(out)
	return w
}

func (w *logWriter) run(out io.Writer) {
	defer close(w.written)
	for {
		select {
		case record := <-w.records:
			w.put(out, record)
			continue
		case <-w.ending:
		}
		for range len(w.records) {
			w.put(out, <-w.records)
		}
		return
	}
}

func (w *logWriter) put(out io.Writer, record []byte) {
	_, _ = out.Write(record)
	if n := w.lost.Swap(0); n > 0 {
		_, _ = fmt.Fprintf(out, "level=WARN msg=\"log records lost\" suppressed=%d\n", n)
	}
}

// Write borrows p, one record. It never fails and never blocks.
// Safe from any goroutine.
func (w *logWriter) Write(p []byte) (int, error) {
	select {
	case w.records <- bytes.Clone(p):
	default:
		w.lost.Add(1)
	}
	return len(p), nil
}

// flush waits until what was logged is written, but not long. It is the end of
// the writer.
func (w *logWriter) flush() {
	close(w.ending)
	select {
	case <-w.written:
	case <-time.After(logPatience):
	}
}
