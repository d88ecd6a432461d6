package engine

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// newQuiet is logger for what clients may cause at will, such as panics of
// handlers, and must not fill a disk with.
func newQuiet(logger *slog.Logger) *slog.Logger {
	return slog.New(&quietHandler{Handler: logger.Handler()})
}

// quietHandler lets one record a second through.
type quietHandler struct {
	slog.Handler
	next   atomic.Int64 // Unix time in nanoseconds
	unsaid atomic.Int64
}

func (q *quietHandler) Handle(ctx context.Context, r slog.Record) error {
	next, now := q.next.Load(), time.Now().UnixNano()
	if now < next || !q.next.CompareAndSwap(next, now+int64(time.Second)) {
		q.unsaid.Add(1)
		return nil
	}
	r.AddAttrs(slog.Int64("not logged before", q.unsaid.Swap(0)))
	return q.Handler.Handle(ctx, r)
}
