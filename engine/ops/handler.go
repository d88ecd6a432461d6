package ops

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"turbine/engine"
	"turbine/internal/seldom"
)

// Options are what a Handler needs. Server is the only field that must be set.
type Options struct {
	Server  *engine.Server
	Node    string // what this server is called; "" in a cluster: as the cluster calls it
	Version string // of the program
	Commit  string // the program is built from

	// Cluster has the nodes that Server is one of. Nil: it is alone.
	Cluster Cluster

	// Keys are who may do what. A client sends its key as "Authorization: Bearer KEY".
	// Nil means that no key opens anything.
	Keys *Keys
	// Certificates lets clients in by their certificate, which the TLS listener has to
	// have verified. The certificate's common name is a name in Keys. Without Keys each
	// such client may do everything.
	Certificates bool
	// Open are the scopes that need neither a key nor a certificate, where there are
	// some. Nil means Health alone. Where there are none everything is open, to this
	// machine alone.
	Open []Scope

	// Drain begins the end of the server in good order, as the program has it. It is
	// called once, by the first request that asks for it, and must not wait for the end.
	// Nil means that the server cannot be drained here.
	Drain func()
	// LogLevel and Debug are settings that the operator may change: the least level of
	// the log, and the scopes of Server.SetDebug in the form of the variable DEBUG. Nil
	// means that they cannot be changed here.
	LogLevel, Debug Setting

	// Logger gets a record of each change, of requests that are refused, at most one a
	// second, and of panics. Nil means slog.Default.
	Logger *slog.Logger
}

// A Setting can be changed while the program runs. Safe from any goroutine.
type Setting interface {
	Get() string
	Set(value string) error // the client is told the error, which should say what to set
}

// A Handler is the http.Handler. Its methods are safe from any goroutine.
type Handler struct {
	options Options
	open    scopes
	keys    atomic.Pointer[Keys]
	mux     *http.ServeMux
	metrics http.Handler
	logger  *slog.Logger
	refused *slog.Logger // for what clients may cause at will
	faults  *slog.Logger // for ours, which they may also cause at will
	drained atomic.Bool

	profiling atomic.Bool // one of the profiles that the runtime keeps is being made
	walks     walker
	underWay  underWay
	streams   atomic.Int32 // lists of all sessions that are under way
}

// New makes a Handler.
func New(o Options) (*Handler, error) {
	if o.Server == nil {
		return nil, errors.New("ops: Options.Server is nil")
	}
	h := &Handler{options: o, logger: o.Logger, open: scopes(0).with(Health)}
	if o.Open != nil {
		h.open = 0
		for _, scope := range o.Open {
			h.open = h.open.with(scope)
		}
	}
	if h.logger == nil {
		h.logger = slog.Default()
	}
	h.refused = slog.New(seldom.Handler(h.logger.Handler()))
	h.faults = slog.New(seldom.Handler(h.logger.Handler()))
	h.keys.Store(o.Keys)
	h.metrics = newMetrics(&h.options)
	h.mux = h.newMux()
	return h, nil
}

// SetKeys replaces the keys, from the next request on. Requests under way whose client may
// not ask for them any more are ended: a trace says so in its last record, a list of all
// sessions breaks off, a profile is over. SetKeys is for a Handler that was made with
// keys: nil leaves none, and what needs a key stays closed.
func (h *Handler) SetKeys(k *Keys) {
	if k == nil {
		k = &Keys{}
	}
	h.keys.Store(k)
	for _, r := range h.underWay.revoke(h.passes) {
		h.logger.Info("a request for operations was ended, since its key counts no more", "path", r.URL.Path, "peer", r.RemoteAddr)
	}
}

// passes reports whether the client of r has all these scopes.
func (h *Handler) passes(r *http.Request, needs scopes) bool {
	_, may, p := h.identify(r)
	if p != nil {
		may = 0
	}
	return needs&^(may|h.open) == 0
}

// maxBody is the limit of a request's body, in bytes.
const maxBody = 64 << 10

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	written := &writer{ResponseWriter: w}
	defer h.recovered(written, r)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	h.serve(written, r)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	p := checkOrigin(r)
	if p == nil && !h.isProtected() {
		p = checkLocal(r)
	}
	if p == nil && !isClean(r.URL.Path) { // the mux would redirect it
		p = errNotFound
	}
	if p != nil {
		h.refuse(w, r, p)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// refuse answers a request that nothing is done for. It is the last one of its
// connection: or whoever may do nothing has each of thousands looked at that were sent
// in a row.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, p *problem) {
	w.Header().Set("Connection", "close")
	h.refused.Warn("a request for operations was refused", "status", p.Status, "detail", p.Detail, "peer", r.RemoteAddr)
	p.write(w)
}

// answer serves a request on the route, if the client may have it.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, to *route) {
	if to.scope != nothing && h.isProtected() {
		var done func()
		r, done = h.underWay.begin(r, to.scope)
		defer done()
	}
	who, p := h.authorize(w, r, to.scope)
	if p != nil {
		h.refuse(w, r, p)
		return
	}
	defer busy(r.Context())()
	err := to.serve(h, w, r)
	if to.changes() {
		h.logger.With(notesOf(w)...).Info("a request for operations", "method", r.Method, "path", r.URL.Path, "done", err == nil, "who", who, "peer", r.RemoteAddr)
	}
	if err != nil {
		h.answerError(w, err)
	}
}

// answerError tells the client what went wrong. Only a problem is for its eyes.
func (h *Handler) answerError(w http.ResponseWriter, err error) {
	var p *problem
	if !errors.As(err, &p) {
		h.faults.Error("operations have failed", "error", err)
		p = newProblem(http.StatusInternalServerError, "internal", "Internal Server Error", "The server's log has the cause.")
	}
	p.write(w)
}

// recovered answers a request whose handler has panicked.
func (h *Handler) recovered(w *writer, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	h.faults.Error("panic in operations", "panic", p, "path", r.URL.Path, "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	h.answerError(w, newProblem(http.StatusInternalServerError, "internal", "Internal Server Error", "The server's log has the cause."))
}

// isProtected reports whether there is something that a client has to show.
func (h *Handler) isProtected() bool { return h.options.Certificates || h.keys.Load() != nil }

// authorize reports who the client is, and refuses one that may not do what the scope
// is about.
func (h *Handler) authorize(w http.ResponseWriter, r *http.Request, scope Scope) (who string, p *problem) {
	if !h.isProtected() {
		return "local", nil
	}
	if scope == nothing {
		return "anybody", nil
	}
	who, may, p := h.identify(r)
	switch {
	case p == nil && may.has(scope):
		return who, nil
	case h.open.has(scope):
		return "anybody", nil
	case p != nil:
		challenge := `Bearer realm="operations"`
		if p.Type == problemType+"unknown-key" {
			challenge += `, error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		return "", p
	}
	return "", newProblem(http.StatusForbidden, "scope", "Forbidden",
		"This needs the scope "+scope.String()+", which "+who+" does not have. Add it to the line of the keys file.")
}

// identify reports who the client shows to be.
func (h *Handler) identify(r *http.Request) (who string, may scopes, p *problem) {
	keys := h.keys.Load()
	if scheme, text, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") && keys != nil {
		if who, may, ok = keys.find(strings.TrimSpace(text)); ok {
			return who, may, nil
		}
		return "", 0, newProblem(http.StatusUnauthorized, "unknown-key", "Unauthorized", "The key is not one of the keys file.")
	}
	if h.options.Certificates && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		who = r.TLS.VerifiedChains[0][0].Subject.CommonName
		if keys == nil {
			return who, allScopes, nil
		}
		if may, ok := keys.named(who); ok {
			return who, may, nil
		}
		return "", 0, newProblem(http.StatusUnauthorized, "unknown-name", "Unauthorized",
			"No line of the keys file has the common name of your certificate. Add one, with - in the place of the key.")
	}
	detail := "Send a key of the keys file: Authorization: Bearer KEY."
	if h.options.Certificates {
		detail = "Show a client certificate, or send a key of the keys file: Authorization: Bearer KEY."
	}
	return "", 0, newProblem(http.StatusUnauthorized, "no-key", "Unauthorized", detail)
}

// A writer notes whether the answer has begun, and what the record of a change has to say.
type writer struct {
	http.ResponseWriter
	begun bool
	notes []any // slog.Attr
}

// note adds to the record of a change that is done. Its attributes are those of a request
// that was found to be right: what else a client has sent stays out of the log.
func note(w http.ResponseWriter, notes ...any) {
	if w, ok := w.(*writer); ok {
		w.notes = append(w.notes, notes...)
	}
}

func notesOf(w http.ResponseWriter) []any {
	if w, ok := w.(*writer); ok {
		return w.notes
	}
	return nil
}

func (w *writer) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// extend gives an answer that takes that long its time in addition to the usual one.
// The time to read counts too: net/http reads on, to see whether the client leaves.
func extend(w http.ResponseWriter, d time.Duration) {
	end := time.Now().Add(d + writeTimeout)
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(end) // another server than ours may have none
	_ = c.SetWriteDeadline(end)
}
