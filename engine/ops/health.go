package ops

import (
	"io"
	"net/http"

	"turbine/engine"
)

// healthz tells whether clients are welcome, as Options.HealthPath does on their own
// address.
func (h *Handler) healthz(w http.ResponseWriter, _ *http.Request) error {
	if phase := h.phase(); phase != engine.PhaseServing {
		say(w, http.StatusServiceUnavailable, phase.String())
		return nil
	}
	say(w, http.StatusOK, "ok")
	return nil
}

// livez tells that the program answers.
func (h *Handler) livez(w http.ResponseWriter, _ *http.Request) error {
	say(w, http.StatusOK, "ok")
	return nil
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // whoever asked is gone
}

// drain begins the end of the server. A second request changes nothing: whoever drains
// by a script and by a signal behind it wants one drain.
func (h *Handler) drain(w http.ResponseWriter, _ *http.Request) error {
	if h.options.Drain == nil {
		return notOffered
	}
	if h.drained.CompareAndSwap(false, true) {
		h.options.Drain()
	}
	writeJSON(w, http.StatusAccepted, map[string]string{"phase": engine.PhaseDraining.String()})
	return nil
}

// notOffered is for what the program around the Handler does not give it.
var notOffered = newProblem(http.StatusNotImplemented, "not-offered", "Not Implemented",
	"This program does not offer it. It is an option of the package: set it where the Handler is made.")
