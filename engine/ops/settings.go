package ops

import (
	"log/slog"
	"net/http"
)

// The settings of the log. Each is an object with one text.
type (
	logLevel struct {
		Level string `json:"level"`
	}
	debugScopes struct {
		Scopes string `json:"scopes"`
	}
)

func (h *Handler) getLogLevel(w http.ResponseWriter, _ *http.Request) error {
	return show(w, h.options.LogLevel, func(text string) any { return logLevel{text} })
}

func (h *Handler) putLogLevel(w http.ResponseWriter, r *http.Request) error {
	var body struct{ Level *string }
	if err := readJSON(r, &body, `{"level":"info"}`); err != nil {
		return err
	}
	if err := change(h.options.LogLevel, body.Level, `{"level":"info"}`); err != nil {
		return err
	}
	return h.getLogLevel(w, r)
}

func (h *Handler) getDebug(w http.ResponseWriter, _ *http.Request) error {
	return show(w, h.options.Debug, func(text string) any { return debugScopes{text} })
}

func (h *Handler) putDebug(w http.ResponseWriter, r *http.Request) error {
	var body struct{ Scopes *string }
	if err := readJSON(r, &body, `{"scopes":"engine:ws"}`); err != nil {
		return err
	}
	if err := change(h.options.Debug, body.Scopes, `{"scopes":"engine:ws"}`); err != nil {
		return err
	}
	note(w, slog.String("scopes", *body.Scopes))
	return h.getDebug(w, r)
}

// show answers with a setting.
func show(w http.ResponseWriter, s Setting, body func(text string) any) error {
	if s == nil {
		return notOffered
	}
	writeJSON(w, http.StatusOK, body(s.Get()))
	return nil
}

// change sets a setting. A value that is missing must not be taken for an empty one.
func change(s Setting, value *string, example string) error {
	if s == nil {
		return notOffered
	}
	if value == nil {
		return newProblem(http.StatusBadRequest, "bad-body", "Bad Request", "The body says nothing. Send an object such as "+example+".")
	}
	if err := s.Set(*value); err != nil {
		return newProblem(http.StatusBadRequest, "bad-value", "Bad Request", err.Error())
	}
	return nil
}
