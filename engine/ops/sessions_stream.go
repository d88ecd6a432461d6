package ops

import (
	"mime"
	"net/http"
	"strings"
	"time"

	"turbine/engine"
)

// A stream has all sessions, one a line: "application/x-ndjson". It is made as the
// client reads it, in parts. Nothing waits for the client but the request's goroutine,
// which has one part in its memory.
const (
	streamType  = "application/x-ndjson"
	streamPart  = 64 << 10         // bytes
	maxStreams  = 8                // at a time; others are told 503
	partTimeout = 10 * time.Second // for the client to take one part
	streamTime  = 10 * time.Minute // for all of it
)

// acceptsStream reports whether the client asks for a stream.
func acceptsStream(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			if kind, _, err := mime.ParseMediaType(part); err == nil && kind == streamType {
				return true
			}
		}
	}
	return false
}

var errStreams = newProblem(http.StatusServiceUnavailable, "busy", "Service Unavailable", "There are 8 lists of all sessions under way. Try again when one of them is done.")

// streamSessions answers with all sessions.
func (h *Handler) streamSessions(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r, filterNames...)
	if err != nil {
		return err
	}
	filter, err := q.filter()
	if err != nil {
		return err
	}
	if h.streams.Add(1) > maxStreams {
		h.streams.Add(-1)
		return errStreams
	}
	defer h.streams.Add(-1)
	w.Header().Set("Content-Type", streamType)
	if r.Method == http.MethodHead {
		return nil
	}
	release(r.Context()) // its client is somebody who may take long to read
	s := stream{h: h, w: w, r: r, c: http.NewResponseController(w), filter: filter, end: time.Now().Add(streamTime)}
	// The time to read counts too: net/http reads on, to see whether the client leaves.
	// Another server than ours may have no deadlines.
	_ = s.c.SetReadDeadline(s.end)
	for more := true; more; {
		more = s.next()
		if !s.write() {
			panic(http.ErrAbortHandler) // a part of the list must not look like all of it
		}
	}
	return nil
}

// A stream is one that is under way.
type stream struct {
	h      *Handler
	w      http.ResponseWriter
	r      *http.Request
	c      *http.ResponseController
	filter filter
	end    time.Time     // when it has to be done
	at     engine.Cursor // behind the last session that was looked at
	part   []byte
}

// next makes the next part, and reports whether there may be more.
func (s *stream) next() (more bool) {
	s.part = s.part[:0]
	s.h.walk(s.r, s.at, func(session *engine.Session, behind engine.Cursor) bool {
		s.at = behind
		if s.filter.lets(session) {
			s.part = append(appendSession(s.part, session, listedGroups), '\n')
		}
		more = len(s.part) >= streamPart
		return !more
	})
	return more
}

// write sends the part, and reports whether the client has taken it and is there.
func (s *stream) write() bool {
	now := time.Now()
	if s.r.Context().Err() != nil || !now.Before(s.end) {
		return false
	}
	_ = s.c.SetWriteDeadline(now.Add(partTimeout))
	_, err := s.w.Write(s.part)
	return err == nil
}
