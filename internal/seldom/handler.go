package seldom

import (
	"context"
	"log/slog"
	"time"
)

// Handler is h for what clients may cause at will: it lets one record a second
// through, with the number of those before it that it held back as "suppressed".
func Handler(h slog.Handler) slog.Handler { return &handler{Handler: h, once: new(Once)} }

type handler struct {
	slog.Handler
	once *Once // shared by those that were made from this one
}

// began is what the handlers' time counts from, so that no jump of the wall clock
// silences them.
var began = time.Now()

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	suppressed, ok := h.once.Allow(time.Since(began))
	if !ok {
		return nil
	}
	r.AddAttrs(slog.Int64("suppressed", suppressed))
	return h.Handler.Handle(ctx, r)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.Handler.WithAttrs(attrs), h.once}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.Handler.WithGroup(name), h.once}
}
