package engine

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"turbine/httpparse"
	"turbine/loop"
)

// What Server.LastRefused keeps.
const (
	maxRefused        = 16  // requests
	maxRefusedOfCause = 8   // of these, so that a cause that clients choose leaves room for others
	maxRefusedText    = 100 // bytes of what a client has written
	refusedInterval   = time.Second
)

// A RefusedRequest is a request that was refused a moment ago: for an operator that asks
// why a client cannot come in.
type RefusedRequest struct {
	Time  time.Time
	Cause Cause
	// Value is what the client has sent that is refused: its Origin, or "" where a script
	// element without an Origin was refused (CauseForeignOrigin), its transport, its
	// revision or its method. It is "" for all other causes. A client may write anything
	// there: up to 100 bytes are kept of it.
	Value string
	Host  string // with CauseForeignOrigin: the Host that the Origin is not the same as; up to 100 bytes
	// Client is the client's address, with what trusted proxies say of it; "@" on a Unix
	// socket, and "" where a trusted proxy has sent the request and the client is not known.
	Client string
}

// refusedRequests are the last of them, the newest in front. Two with the same cause,
// value and host are one.
type refusedRequests struct {
	// next is when the next one of each cause may be kept. Under a flood of refusals it is
	// only read, so that no loop waits for the cache line of another.
	next [NumCauses]atomic.Int64

	mu   sync.Mutex
	last []RefusedRequest // guarded by mu
}

// LastRefused returns the last requests that were refused, at most 16, the newest first.
// Requests with the same Cause, Value and Host are one. Of each Cause at most one in a
// second is kept, and at most 8 in all; Stats.Refused counts every request.
// Safe from any goroutine.
func (s *Server) LastRefused() []RefusedRequest {
	s.lastRefused.mu.Lock()
	defer s.lastRefused.mu.Unlock()
	return slices.Clone(s.lastRefused.last)
}

// due reports whether a request that is refused now is to be kept.
func (k *refusedRequests) due(why Cause, now time.Duration) bool {
	next := k.next[why].Load()
	return int64(now) >= next && k.next[why].CompareAndSwap(next, int64(now+refusedInterval))
}

// keep puts one in front.
func (k *refusedRequests) keep(one RefusedRequest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	same, ofCause, oldest := -1, 0, -1
	for i, other := range k.last {
		if other.Cause != one.Cause {
			continue
		}
		ofCause++
		oldest = i
		if other.Value == one.Value && other.Host == one.Host {
			same = i
		}
	}
	switch {
	case same >= 0:
		k.last = slices.Delete(k.last, same, same+1)
	case ofCause == maxRefusedOfCause:
		k.last = slices.Delete(k.last, oldest, oldest+1)
	case len(k.last) == maxRefused:
		k.last = k.last[:maxRefused-1]
	}
	k.last = slices.Insert(k.last, 0, one)
}

// refuses counts a request on c that is refused, and keeps it if none of its cause was
// kept for a second. r is nil where the request is not at hand; it is borrowed. It is
// called on the shard's loop, which need not be that of c.
func (sh *shard) refuses(c *loop.Conn, r *httpparse.Request, why Cause) {
	if why == causeNone {
		return
	}
	sh.tally.refuses(why)
	s := sh.server
	if !s.lastRefused.due(why, sh.loop.Clock()) {
		return
	}
	one := RefusedRequest{Time: time.Now(), Cause: why}
	if r != nil {
		one.Value = shortened(refusedValue(r, why))
		if why == CauseForeignOrigin {
			one.Host = shortened(string(r.Header("Host")))
		}
		one.Client = clientName(s.clientAddr(r, c))
	} else if peer := c.RemoteAddr(); !s.proxies.Load().Trust(peer.Addr()) {
		one.Client = clientName(peer)
	}
	s.lastRefused.keep(one)
}

// refusedValue is what a request has sent that is refused for this cause. Causes of
// which the value is a secret, or the application's, have none.
func refusedValue(r *httpparse.Request, why Cause) string {
	switch why {
	case CauseForeignOrigin:
		return string(r.Header("Origin"))
	case CauseTransport:
		return queryValue(r, "transport")
	case CauseRevision:
		return queryValue(r, "EIO")
	case CauseMethod:
		return string(r.Method)
	default:
		return ""
	}
}

// shortened is the part of a text that is kept, as valid UTF-8.
func shortened(text string) string {
	if len(text) > maxRefusedText {
		text = text[:maxRefusedText] + "..."
	}
	return strings.Clone(strings.ToValidUTF8(text, "\uFFFD"))
}
