package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"unicode/utf8"

	"turbine/engine"
)

// testLog is a slog.Handler that writes to the log of a test, until close.
type testLog struct {
	t      testing.TB
	attrs  func(slog.Handler) slog.Handler // of a derived handler; nil without
	parent *testLog                        // of a derived handler

	mu     sync.Mutex
	closed bool // guarded by mu
}

func (l *testLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (l *testLog) Handle(ctx context.Context, r slog.Record) error {
	var line bytes.Buffer
	stack := "" // of a panic: on lines of its own, or nobody can read it
	var h slog.Handler = slog.NewTextHandler(&line, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key != "stack" {
			return a
		}
		stack = a.Value.String()
		return slog.Attr{}
	}})
	if l.attrs != nil {
		h = l.attrs(h)
	}
	if err := h.Handle(ctx, r); err != nil {
		return err
	}
	root := l
	for root.parent != nil {
		root = root.parent
	}
	root.mu.Lock()
	defer root.mu.Unlock()
	switch {
	case root.closed:
	case r.Level >= slog.LevelError:
		root.t.Errorf("enginetest: expected no error in the server's log, came: %s%s", line.String(), stack)
	default:
		root.t.Logf("enginetest: the server logs: %s%s", line.String(), stack)
	}
	return nil
}

func (l *testLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return l.derive(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (l *testLog) WithGroup(name string) slog.Handler {
	return l.derive(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (l *testLog) derive(f func(slog.Handler) slog.Handler) *testLog {
	return &testLog{parent: l, attrs: func(h slog.Handler) slog.Handler {
		if l.attrs != nil {
			h = l.attrs(h)
		}
		return f(h)
	}}
}

// close drops what is logged after the end of the test.
func (l *testLog) close() {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.closed = true
	}
}

// show is a message as failed tests print it.
func show(m engine.Message) string {
	const most = 200
	data, rest := m.Data, ""
	if len(data) > most {
		data, rest = data[:most], fmt.Sprintf(" and %d bytes more", len(m.Data)-most)
	}
	if m.Binary || !utf8.Valid(m.Data) {
		return fmt.Sprintf("the bytes % x%s", data, rest)
	}
	return fmt.Sprintf("%q%s", data, rest)
}
