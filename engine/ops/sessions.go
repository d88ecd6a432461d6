package ops

import (
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"turbine/engine"
)

// What requests for sessions may cost. The loops wait for none of it, except that walks
// need a processor: all of them together take half of one, and leave it to whoever waits
// for it after each portion. Two loops with a million sessions and two processors came up
// to 5 ms late to a tick then, 10 ms where walks took all of one, and 2 ms without a walk.
const (
	walkPortion = 128 // sessions that are looked at in one portion
	walkTime    = time.Millisecond
	walkRest    = time.Millisecond

	maxVisits = 1 << 20 // sessions that are looked at for one page
	maxPage   = 1 << 20 // bytes of a page, and what one session more takes
)

// A walker lets walks take turns.
type walker struct {
	mu     sync.Mutex    // held for a portion
	worked time.Duration // since the last rest; guarded by mu
}

// portion is the turn of one walk. A rest is everybody's: mu is held in it.
func (w *walker) portion(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	began := time.Now()
	do()
	if w.worked += time.Since(began); w.worked >= walkTime {
		time.Sleep(walkRest)
		w.worked = 0
	}
}

// walk visits sessions from a Cursor on, until visit reports false, or the client has
// left. visit is told the Cursor behind the session.
func (h *Handler) walk(r *http.Request, from engine.Cursor, visit func(s *engine.Session, behind engine.Cursor) (more bool)) {
	for more := true; more && r.Context().Err() == nil; {
		h.walks.portion(func() { from, more = h.walkOn(from, visit) })
		runtime.Gosched()
	}
}

// walkOn is a portion of walk, and reports whether there may be more.
func (h *Handler) walkOn(from engine.Cursor, visit func(s *engine.Session, behind engine.Cursor) (more bool)) (next engine.Cursor, more bool) {
	visits := 0
	for s, behind := range h.options.Server.SessionsFrom(from) {
		if !visit(s, behind) {
			return behind, false
		}
		if visits++; visits == walkPortion {
			return behind, true
		}
	}
	return from, false
}

// sessions answers with a page of sessions, or with a stream of all.
func (h *Handler) sessions(w http.ResponseWriter, r *http.Request) error {
	if acceptsStream(r) {
		return h.streamSessions(w, r)
	}
	q, err := readQuery(r, append([]string{"limit", "cursor"}, filterNames...)...)
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	filter, err := q.filter()
	if err != nil {
		return err
	}
	var from engine.Cursor
	if text := q["cursor"]; text != "" {
		if from, err = engine.ParseCursor(text); err != nil {
			return badQuery("cursor is what the page before has under this name.")
		}
	}
	page := sessionPage{filter: filter, limit: limit, at: from, body: []byte(`{"sessions":[`)}
	h.walk(r, from, page.visit)
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // a part of the page must not look like all of it
	}
	page.body = append(page.body, `],"cursor":`...)
	page.body = appendText(page.body, page.cursor)
	page.body = append(page.body, "}\n"...)
	sendJSON(w, r, page.body)
	return nil
}

// A sessionPage is a page in the making.
type sessionPage struct {
	filter filter
	limit  int
	body   []byte
	n      int           // sessions on the page
	visits int           // sessions that were looked at
	at     engine.Cursor // behind those
	cursor string        // of the next page; "" while this one may be the last
}

// visit takes a session on the page, if it is asked for, and reports whether to go on.
// A full page looks on for one that belongs to the next.
func (p *sessionPage) visit(s *engine.Session, behind engine.Cursor) (more bool) {
	lets := p.filter.lets(s)
	if lets && (p.n == p.limit || len(p.body) > maxPage) || p.visits == maxVisits {
		p.cursor = p.at.String()
		return false
	}
	p.visits++
	p.at = behind
	if lets {
		if p.n++; p.n > 1 {
			p.body = append(p.body, ',')
		}
		p.body = appendSession(p.body, s, listedGroups)
	}
	return true
}

// session answers with one session.
func (h *Handler) session(w http.ResponseWriter, r *http.Request) error {
	if _, err := readQuery(r); err != nil {
		return err
	}
	s, ok := h.options.Server.FindPublic(r.PathValue("id"))
	if !ok {
		return h.noSession(r.PathValue("id"))
	}
	sendJSON(w, r, append(appendSession(nil, s, -1), '\n'))
	return nil
}

var errNoSession = newProblem(http.StatusNotFound, "not-found", "Not Found", "There is no session with this public id: it has ended, or is another server's.")

// endSession ends one session, in good order: it is sent what is queued for it first.
func (h *Handler) endSession(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r, "code", "reason")
	if err != nil {
		return err
	}
	s, ok := h.options.Server.FindPublic(r.PathValue("id"))
	if !ok {
		return h.noSession(r.PathValue("id"))
	}
	ended, err := end(w, s, q)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]int{"sessions": ended})
	return nil
}

// end ends s as the query says, and returns how many sessions that has ended: none if
// it was ending already. The record of the request has the code and the reason.
func end(w http.ResponseWriter, s *engine.Session, q query) (ended int, err error) {
	if len(q) == 0 {
		if s.Close() {
			ended = 1
		}
		return ended, nil
	}
	code := 1000 // a reason has to have one
	if text, given := q["code"]; given {
		if code, err = strconv.Atoi(text); err != nil {
			return 0, badQuery("code is a number: 1000, 1008, 1011 to 1014 or 3000 to 4999.")
		}
	}
	switch err := s.CloseWith(code, q["reason"]); {
	case err == nil:
		ended = 1
	case err != engine.ErrClosed: // CloseWith returns this very value
		return 0, badQuery("%s.", strings.TrimPrefix(err.Error(), "engine: "))
	}
	note(w, slog.Int("code", code), slog.String("reason", q["reason"]))
	return ended, nil
}

// groups answers with a page of groups.
func (h *Handler) groups(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r, "prefix", "limit", "cursor")
	if err != nil {
		return err
	}
	limit, err := q.limit()
	if err != nil {
		return err
	}
	from, err := parseNameCursor(q["cursor"])
	if err != nil {
		return err
	}
	var page []engine.GroupSize
	var more bool
	h.walks.portion(func() { page, more = h.options.Server.GroupPage(q["prefix"], from, limit) })
	cursor := ""
	if more {
		cursor = nameCursor(page[len(page)-1].Name)
	}
	body := []byte(`{"groups":[`)
	for i, g := range slices.DeleteFunc(page, func(g engine.GroupSize) bool { return g.Members == 0 }) {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"name":`...)
		body = appendName(body, g.Name)
		body = append(body, `,"sessions":`...)
		body = strconv.AppendInt(body, int64(g.Members), 10)
		body = append(body, '}')
	}
	body = append(body, `],"cursor":`...)
	body = appendText(body, cursor)
	body = append(body, "}\n"...)
	sendJSON(w, r, body)
	return nil
}
