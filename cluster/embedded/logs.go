package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// logs brings the server's records to slog. What it notices is of interest only when
// something is looked for, so it is told at level debug.
//
// What it warns of comes once a minute and kind: a stranger that knows the address comes
// again every second, and so does each attempt to reach a server that is gone.
type logs struct {
	*slog.Logger
	fatal atomic.Bool // the server has said that it cannot start
	mu    sync.Mutex
	last  map[string]told // by format
}

type told struct {
	at         time.Time
	suppressed int
}

const pause = time.Minute

func newLogs(l *slog.Logger) *logs { return &logs{Logger: l, last: map[string]told{}} }

func (l *logs) seldom(level slog.Level, format string, v []any) {
	now := time.Now()
	l.mu.Lock()
	before, known := l.last[format]
	if known && now.Sub(before.at) < pause {
		before.suppressed++
		l.last[format] = before
		l.mu.Unlock()
		return
	}
	l.last[format] = told{at: now}
	l.mu.Unlock()
	l.Log(context.Background(), level, record, "text", fmt.Sprintf(format, v...), "suppressed", before.suppressed)
}

const record = "NATS server"

func (l *logs) Noticef(format string, v ...any) { l.Debug(record, "text", fmt.Sprintf(format, v...)) }
func (l *logs) Errorf(format string, v ...any)  { l.seldom(slog.LevelError, format, v) }

// Warnf leaves out the advice to hash passwords: these are derived from a key and in no
// file.
func (l *logs) Warnf(format string, v ...any) {
	if !strings.HasPrefix(format, "Plaintext passwords") {
		l.seldom(slog.LevelWarn, format, v)
	}
}

// Fatalf is called where the server cannot start. It does not end the process: Start
// finds that the ports are not open, and tries another.
func (l *logs) Fatalf(format string, v ...any) {
	l.fatal.Store(true)
	l.seldom(slog.LevelWarn, format, v)
}

// Debugf and Tracef are not called: neither is switched on.
func (l *logs) Debugf(format string, v ...any) {}
func (l *logs) Tracef(format string, v ...any) {}
