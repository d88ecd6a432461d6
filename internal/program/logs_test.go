package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

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

// ownOf is the logger of a logWriter to out.
func ownOf(out io.Writer, format string) *slog.Logger {
	return slog.New(newLogHandler(out, format, slog.LevelInfo, nil))
}

func TestLogWriterKeepsOrder(t *testing.T) {
	var out bytes.Buffer
	w := newLogWriter(&out, ownOf(&out, "text"))
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

// What is lost is said in the form of all other records.
func TestLogWriterDoesNotWait(t *testing.T) {
	for format, lost := range map[string]string{
		"text": `time=\S+ level=WARN msg="log records lost" suppressed=7`,
		"json": `\{"time":"[^"]+","level":"WARN","msg":"log records lost","suppressed":7\}`,
	} {
		out := &stuckWriter{entered: make(chan struct{}, 1), letGo: make(chan struct{})}
		w := newLogWriter(out, ownOf(out, format))
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
		require.Regexp(t, "^first\n"+lost+"\nmore\n", out.String())
		require.Equal(t, logBacklog, strings.Count(out.String(), "more\n"))
	}
}

type fullDisk struct{ tries int }

func (w *fullDisk) Write([]byte) (int, error) {
	w.tries++
	return 0, errors.New("no space left on device")
}

func TestLogWriterOnAFullDisk(t *testing.T) {
	out := new(fullDisk)
	w := newLogWriter(out, ownOf(out, "text"))
	for range 3 {
		n, err := w.Write([]byte("record\n"))
		require.NoError(t, err)
		require.Equal(t, 7, n)
	}
	w.flush()
	<-w.written
	require.Equal(t, 3, out.tries)
}

// logTime is the time of a record, in either form.
var logTime = regexp.MustCompile(`(?m)^(time=\S+ |\{"time":"[^"]+",)`)

// The same records in both forms: a line each, whatever is in them.
func TestLogForms(t *testing.T) {
	words := newWording(programFlags())
	for _, c := range []struct {
		name       string
		log        func(l *slog.Logger)
		text, json string
	}{
		{
			"values of all kinds", func(l *slog.Logger) {
				l.Info("a fact", "n", 7, "on", true, "share", 1234567.5, "took", 1500*time.Millisecond, "error", io.EOF, "at", time.Unix(0, 0).UTC())
			},
			`level=INFO msg="a fact" n=7 on=true share=1234567.5 took=1.5s error=EOF at=1970-01-01T00:00:00.000Z`,
			`"level":"INFO","msg":"a fact","n":7,"on":true,"share":1234567.5,"took":"1.5s","error":"EOF","at":"1970-01-01T00:00:00Z"}`,
		},
		{
			"groups", func(l *slog.Logger) {
				l.With("scope", "engine").Warn("figures", slog.Group("tls", "done", 3, "took", time.Second))
			},
			`level=WARN msg=figures scope=engine tls.done=3 tls.took=1s`,
			`"level":"WARN","msg":"figures","scope":"engine","tls":{"done":3,"took":"1s"}}`,
		},
		{
			"options are called as flags", func(l *slog.Logger) { l.Warn("limits were met", "help", "Limits.MaxConns") },
			`level=WARN msg="limits were met" help=--max-conns`,
			`"level":"WARN","msg":"limits were met","help":"--max-conns"}`,
		},
		{
			"line ends", func(l *slog.Logger) {
				l.Info("seen", "agent", "x\r\nlevel=ERROR msg=forged\n{\"level\":\"ERROR\"}\u2028")
			},
			`level=INFO msg=seen agent="x\r\nlevel=ERROR msg=forged\n{\"level\":\"ERROR\"}\u2028"`,
			`"level":"INFO","msg":"seen","agent":"x\r\nlevel=ERROR msg=forged\n{\"level\":\"ERROR\"}\u2028"}`,
		},
		{
			"bytes that are no text, a terminal's escapes", func(l *slog.Logger) { l.Info("seen", "agent", "\xff\x1b[31mred\x00") },
			`level=INFO msg=seen agent="\xff\x1b[31mred\x00"`,
			`"level":"INFO","msg":"seen","agent":"\ufffd\u001b[31mred\u0000"}`,
		},
	} {
		for format, want := range map[string]string{"text": c.text, "json": c.json} {
			var out bytes.Buffer
			c.log(slog.New(newLogHandler(&out, format, slog.LevelInfo, words)))
			require.Equal(t, want+"\n", logTime.ReplaceAllString(out.String(), ""), "%s as %s", c.name, format)
			if format == "json" {
				require.True(t, json.Valid(out.Bytes()))
			}
		}
	}
}

// flushed is what was written to a logging, without times.
func flushed(l *logging, out *bytes.Buffer) string {
	l.writer.flush()
	<-l.writer.written
	return logTime.ReplaceAllString(out.String(), "")
}

// The level is that of the flag, and then what it is set to, for loggers that were made
// before as well. DEBUG has a logger of its own, at any level.
func TestLogLevelChanges(t *testing.T) {
	var out bytes.Buffer
	f := parsed(t, "--log-level=warn")
	l := newLogging(&out, &f.logFlags, nil)
	derived := l.logger.With("of", "before")
	say := func(n int) {
		derived.Debug("said", "n", n)
		derived.Info("said", "n", n)
		derived.Warn("said", "n", n)
		derived.Error("said", "n", n)
	}
	say(1)
	l.setLevel(slog.LevelInfo)
	say(2)
	l.setLevel(slog.LevelInfo) // no change, no record
	l.setLevel(slog.LevelError)
	say(3)
	l.setLevel(slog.LevelWarn) // nobody sees records of level info
	l.setLevel(slog.LevelDebug)
	say(4)
	l.setLevel(slog.LevelError)
	l.debug.Debug("what a client does")
	require.Equal(t, `level=WARN msg=said of=before n=1
level=ERROR msg=said of=before n=1
level=INFO msg="log level changed" now=INFO before=WARN
level=INFO msg=said of=before n=2
level=WARN msg=said of=before n=2
level=ERROR msg=said of=before n=2
level=INFO msg="log level changed" now=ERROR before=INFO
level=ERROR msg=said of=before n=3
level=INFO msg="log level changed" now=DEBUG before=WARN
level=DEBUG msg=said of=before n=4
level=INFO msg=said of=before n=4
level=WARN msg=said of=before n=4
level=ERROR msg=said of=before n=4
level=INFO msg="log level changed" now=ERROR before=DEBUG
level=DEBUG msg="what a client does"
`, flushed(l, &out))
}

// Several goroutines change the level while others log.
func TestLogLevelFromElsewhere(t *testing.T) {
	var out bytes.Buffer
	f := parsed(t, "--log-format=json")
	l := newLogging(&out, &f.logFlags, nil)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 50 {
				l.setLevel([]slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError}[(i+n)%3])
				l.logger.Info("said")
			}
		})
	}
	all.Wait()
	l.setLevel(slog.LevelWarn)
	require.False(t, l.logger.Enabled(t.Context(), slog.LevelInfo))
	require.True(t, l.logger.Enabled(t.Context(), slog.LevelWarn))
	for line := range strings.Lines(flushed(l, &out)) {
		require.Regexp(t, `^"level":"INFO","msg":"(said"\}|log level changed","now":"[A-Z]+","before":"[A-Z]+"\})\n$`, line)
	}
}
