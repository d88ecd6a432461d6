package engine

import (
	"net/netip"
	"runtime/debug"
	"sync/atomic"

	"turbine/httpparse"
	"turbine/internal/peers"
	"turbine/loop"
)

// sessionPlaces is how many sessions there may be, in all and by address. Its
// methods are safe from any goroutine.
type sessionPlaces struct {
	limit     atomic.Int64 // set before the loops run
	taken     atomic.Int64
	byAddress *peers.Counts
	exempt    *atomic.Pointer[peers.Networks]
}

// A holder is the address that a session counts for, the zero holder if none.
type holder peers.Key

// noAddress is no address's Key: what begins so counts as the IPv4 address in it.
const noAddress = holder(0x2002 << 48)

func (p *sessionPlaces) holderOf(address netip.Addr) holder {
	if p.exempt.Load().Contain(address) {
		return 0
	}
	return holder(peers.KeyOf(address)) ^ noAddress
}

func (h holder) key() peers.Key { return peers.Key(h ^ noAddress) }

// full reports whether there is no place for one more of h's, and which limit
// says so.
func (p *sessionPlaces) full(h holder) (limit Limit, full bool) {
	if p.taken.Load() >= p.limit.Load() {
		return LimitSessions, true
	}
	if h != 0 && p.byAddress.Full(h.key()) {
		return LimitSessionsPerIP, true
	}
	return 0, false
}

// take takes a place for one of h's, or says which limit is met. holds is the
// address that the place counts for: none while there is no limit by address.
func (p *sessionPlaces) take(h holder) (holds holder, limit Limit, ok bool) {
	if p.taken.Add(1) > p.limit.Load() {
		p.taken.Add(-1)
		return 0, LimitSessions, false
	}
	if h == 0 {
		return 0, 0, true
	}
	held, ok := p.byAddress.Add(h.key())
	switch {
	case !ok:
		p.taken.Add(-1)
		return 0, LimitSessionsPerIP, false
	case !held:
		return 0, 0, true
	}
	return h, 0, true
}

func (p *sessionPlaces) release(h holder) {
	p.taken.Add(-1)
	if h != 0 {
		p.byAddress.Remove(h.key())
	}
}

// sessionMemory is the share of Go's memory limit, in bytes, for which there is one
// session by default. An idle one is some hundred bytes.
const sessionMemory = 1 << 10

// maxSessions is what MaxSessions stands for, of a server that may have that many
// connections; 0 of one whose connections are not the system's.
func (l *Limits) maxSessions(conns int) int64 {
	if l.MaxSessions > 0 {
		return int64(l.MaxSessions)
	}
	limit := max(debug.SetMemoryLimit(-1)/sessionMemory, 1) // asks only
	if conns > 0 {
		// A session has a connection most of the time. A session whose client has left
		// without a word stays for a heartbeat, in addition to the one that the client came
		// back with.
		limit = min(limit, 2*min(int64(conns), 1<<40))
	}
	return limit
}

// mayOpen holds a request that would begin a session against the limits of
// sessions, and refuses it if need be. There may be none left all the same when
// the session begins: takePlace asks again.
func (h *httpConn) mayOpen(r *httpparse.Request) bool {
	places := &h.server.places
	limit, full := places.full(places.holderOf(h.server.clientAddr(r, h.conn).Addr()))
	if full {
		h.refuseSession(r, limit)
	}
	return !full
}

// takePlace takes a place for the session of a, or refuses it. The place is
// register's, or given back by freePlace.
func (h *httpConn) takePlace(r *httpparse.Request, a *Admission) bool {
	places := &h.server.places
	holder, limit, ok := places.take(places.holderOf(h.server.clientAddr(r, h.conn).Addr()))
	if !ok {
		h.refuseSession(r, limit)
	}
	a.holder, a.placed = holder, ok
	return ok
}

// freePlace gives a's place back unless a session has taken it.
func (s *Server) freePlace(a *Admission) {
	if a.placed {
		a.placed = false
		s.places.release(a.holder)
	}
}

// refuseSession tells a client that there is no place for its session: 503 if
// there is none for anybody, 429 if its address has too many.
func (h *httpConn) refuseSession(r *httpparse.Request, limit Limit) {
	h.met(limit)
	if limit == LimitSessions {
		h.unavailable(CauseSessions)
		return
	}
	h.refuses(r, CauseSessionsPerIP)
	h.refuse(r, tooMany(h.server.retryAfter()), nil)
}

// sessionHolders are the addresses that the sessions of one loop count for, by
// slot: 8 bytes for each, and none where nobody counts. It belongs to the loop. A
// session's own address may be another's later: of its WebSocket, or of its proxy.
type sessionHolders []holder

// put notes the address that the session in that slot counts for.
func (all *sessionHolders) put(slot loop.Slot, h holder) {
	if h == 0 {
		return
	}
	if missing := int(slot) + 1 - len(*all); missing > 0 {
		*all = append(*all, make([]holder, missing)...)
	}
	(*all)[slot] = h
}

// take returns the address that the session in that slot counted for, and forgets it.
func (all sessionHolders) take(slot loop.Slot) (h holder) {
	if int(slot) < len(all) {
		h, all[slot] = all[slot], 0
	}
	return h
}
