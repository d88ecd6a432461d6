package program

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// logFlags say what is logged, and in which form.
type logFlags struct {
	LogLevel        logLevel `default:"info" help:"Least level of what is logged: debug, info, warn, error. What clients do is logged by DEBUG=engine*, at any level."`
	LogFormat       string   `default:"text" enum:"text,json" help:"Form of a record: text is a line of keys and values, json is a line with a JSON object."`
	LogSessions     bool     `help:"Log each session, at level info, when it opens and when it closes."`
	LogSessionsRate int      `default:"100" help:"Limit of the records of --log-sessions a second: this many of sessions that open, and as many of sessions that close. Above it records are left out, and one record a second says how many. A negative number switches the limit off."`
}

// A logLevel is a slog.Level whose errors are for operators.
type logLevel slog.Level

// Level is the level for log/slog.
func (l logLevel) Level() slog.Level { return slog.Level(l) }

// MarshalText is a level as UnmarshalText reads it.
func (l logLevel) MarshalText() ([]byte, error) {
	return []byte(strings.ToLower(l.Level().String())), nil
}

// UnmarshalText reads a level of the command line.
func (l *logLevel) UnmarshalText(text []byte) error {
	if (*slog.Level)(l).UnmarshalText(text) != nil {
		return fmt.Errorf("%.40q is no level; debug, info, warn and error are", text)
	}
	return nil
}

// A logging is where all records of the process go.
type logging struct {
	logger *slog.Logger // for records of the level and above
	debug  *slog.Logger // for what DEBUG asks for, whatever the level is
	writer *logWriter

	mu    sync.Mutex // held while the level changes
	level slog.LevelVar
}

// newLogging writes to out in the form that f asks for.
func newLogging(out io.Writer, f *logFlags, words wording) *logging {
	own := slog.New(newLogHandler(out, f.LogFormat, slog.LevelDebug, words))
	l := &logging{writer: newLogWriter(out, own)}
	l.level.Set(f.LogLevel.Level())
	l.logger = slog.New(newLogHandler(l.writer, f.LogFormat, &l.level, words))
	l.debug = slog.New(newLogHandler(l.writer, f.LogFormat, slog.LevelDebug, words))
	return l
}

// setLevel changes the least level of what is logged, for all records from now on, and
// logs that at level info, while info is logged. Safe from any goroutine.
func (l *logging) setLevel(next slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.level.Level()
	if next == before {
		return
	}
	l.level.Set(min(before, next))
	l.logger.Info("log level changed", "now", next.String(), "before", before.String())
	l.level.Set(next)
}

// newLogHandler is the handler for records in that form. A time that something takes
// reads the same in both.
func newLogHandler(out io.Writer, format string, level slog.Leveler, words wording) slog.Handler {
	if format == "json" {
		return slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration { // a number of nanoseconds otherwise
				a.Value = slog.StringValue(a.Value.Duration().String())
			}
			return words.attr(groups, a)
		}})
	}
	return slog.NewTextHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindFloat64 { // 1e+06 otherwise
			a.Value = slog.StringValue(strconv.FormatFloat(a.Value.Float64(), 'f', -1, 64))
		}
		return words.attr(groups, a)
	}})
}

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
	own     *slog.Logger  // for the record of that; it writes at once
	ending  chan struct{} // closed by flush
	written chan struct{} // closed when all is
}

func newLogWriter(out io.Writer, own *slog.Logger) *logWriter {
	w := &logWriter{records: make(chan []byte, logBacklog), own: own, ending: make(chan struct{}), written: make(chan struct{})}
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
		w.own.Warn("log records lost", "suppressed", n)
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
