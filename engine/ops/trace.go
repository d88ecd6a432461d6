package ops

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"turbine/engine"
)

// traceStall is how long a client of a trace may take for one record.
const traceStall = 10 * time.Second

// errTraces is for one trace too many. Each is over within a minute.
var errTraces = newProblem(http.StatusTooManyRequests, "too-many-traces", "Too Many Requests",
	fmt.Sprintf("%d traces are under way, which is the limit. End one, or try again within a minute.", engine.MaxTraces))

// traceSession answers with what happens to one session, a record a line, until the
// time is over, the session has ended, or the client leaves.
func (h *Handler) traceSession(w http.ResponseWriter, r *http.Request) error {
	most := int(engine.MaxTraceTime / time.Second)
	seconds, err := queryInt(r, "seconds", most, 1, most)
	if err != nil {
		return err
	}
	payloads, err := queryInt(r, "payloads", 0, 0, 1)
	if err != nil {
		return err
	}
	who := ""
	if payloads == 1 {
		var p *problem
		h.underWay.also(r, Payloads)
		if who, p = h.authorize(w, r, Payloads); p != nil {
			h.refuse(w, r, p)
			return nil
		}
	}
	session, ok := h.options.Server.FindPublic(r.PathValue("id"))
	if !ok {
		return h.noSession(r.PathValue("id"))
	}
	length := time.Duration(seconds) * time.Second
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel() // another server than ours may not do it
	trace, err := session.Trace(ctx, engine.TraceOptions{For: length, Payloads: payloads == 1})
	switch {
	case errors.Is(err, engine.ErrTooManyTraces):
		w.Header().Set("Retry-After", strconv.Itoa(most))
		return errTraces
	case errors.Is(err, engine.ErrClosed):
		return errNoSession
	case err != nil: // the client has left
		return nil
	}
	if payloads == 1 {
		h.logger.Info("payloads of a session are shown", "session", session.PublicID(), "who", who, "peer", r.RemoteAddr)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if r.Method == http.MethodHead {
		return nil
	}
	writeTrace(r.Context(), w, trace, length)
	return nil
}

// writeTrace writes the trace's records until its end, or until the client has not
// taken one in time. ctx is the request's.
func writeTrace(ctx context.Context, w http.ResponseWriter, trace *engine.Trace, length time.Duration) {
	c := http.NewResponseController(w)
	last := time.Now().Add(length + writeTimeout)
	_ = c.SetReadDeadline(last) // another server than ours may have none
	encoder := json.NewEncoder(w)
	for records := trace.Next(); records != nil; records = trace.Next() {
		for i := range records {
			_ = c.SetWriteDeadline(earlier(time.Now().Add(traceStall), last))
			line := newTraceLine(&records[i])
			if records[i].Why == engine.TraceCanceled && isRevoked(ctx) {
				line.Why = "unauthorized"
			}
			if encoder.Encode(line) != nil {
				return // the trace is ended by its caller
			}
		}
		_ = c.Flush()
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// A traceLine is a record as JSON has it. What an event does not have is left out.
type traceLine struct {
	Time      string `json:"time"`
	Event     string `json:"event"`
	Direction string `json:"direction,omitempty"`
	Transport string `json:"transport,omitempty"`
	Type      string `json:"type,omitempty"`
	Binary    *bool  `json:"binary,omitempty"`
	Bytes     *int   `json:"bytes,omitempty"`

	// Payload is base64 of a binary packet, or the text of any other.
	Payload *string `json:"payload,omitempty"`

	Reason  string `json:"reason,omitempty"`
	Code    int    `json:"code,omitempty"`
	Error   string `json:"error,omitempty"`
	Records int    `json:"records,omitempty"`
	Why     string `json:"why,omitempty"`
}

// traceTime is RFC 3339 in microseconds.
const traceTime = "2006-01-02T15:04:05.000000Z07:00"

func newTraceLine(r *engine.TraceRecord) *traceLine {
	line := &traceLine{Time: r.Time.UTC().Format(traceTime), Event: r.Event.String()}
	switch r.Event {
	case engine.TracePacket:
		line.Direction = "in"
		if r.Out {
			line.Direction = "out"
		}
		line.Transport, line.Type, line.Binary, line.Bytes = r.Transport.String(), r.Type.String(), &r.Binary, &r.Bytes
		if r.Payload != nil {
			text := payloadText(r)
			line.Payload = &text
		}
	case engine.TraceTransport:
		line.Transport = r.Transport.String()
	case engine.TraceUpgradeFailed:
		line.Why = r.Failed.String()
	case engine.TraceClose:
		line.Reason = r.Reason.String()
		line.Code, line.Error = closeCause(r.Err)
	case engine.TraceDropped:
		line.Records = r.Dropped
	case engine.TraceEnd:
		line.Why = r.Why.String()
	case engine.TraceUpgradeBegun, engine.TraceUpgradeProbed, engine.TraceClosing: // their names say all
	}
	return line
}

// payloadText is a payload as JSON can have it. A text that was cut ends with a whole
// character.
func payloadText(r *engine.TraceRecord) string {
	if r.Binary {
		return base64.StdEncoding.EncodeToString(r.Payload)
	}
	p := r.Payload
	if len(p) < r.Bytes {
		p = wholeRunes(p)
	}
	return string(p)
}

// wholeRunes leaves out the beginning of a character at the end.
func wholeRunes(p []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if c := p[len(p)-n]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-n:]) {
				p = p[:len(p)-n]
			}
			break
		}
	}
	return p
}

// closeCause is what an answer shows of the error that Events.Close is told: the words
// are the engine's own, except those that the application has for the client.
func closeCause(err error) (code int, text string) {
	var app *engine.ClosedByApp
	switch {
	case errors.As(err, &app):
		return app.Code, ""
	case err != nil:
		return 0, err.Error()
	}
	return 0, ""
}
