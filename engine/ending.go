package engine

// ending is why a session ends, if it does. Any goroutine asks for it without a lock; it
// is part of Session.public, set under the session's mu, by endFor alone.
//
//	| ending          | by                                                     | the queue  | reason
//	| endingNot       | -                                                      | is open    | -
//	| endingInTurn    | Close behind what is being published; CloseWith        | drains     | forced close
//	| endingCalled    | Close, CloseGroup, CloseSessions; endingInTurn's turn  | drains     | forced close
//	| endingDrain     | the drain, at the session's turn                       | drains     | server shutting down
//	| endingNow       | CloseNow                                               | is dropped | forced close
//	| endingQueueFull | a message that the queue has no room for               | is dropped | queue overflow
//	| endingBudget    | a packet, or a relief, at the loop's share             | is dropped | queue overflow
//	| endingOver      | Session.close, unless the queue was dropped before     | is dropped | what close was told
//
// A session that ends is sealed: Send is over. The first of the endings that let the queue
// drain counts; the first of those that drop it counts more, and stays.
type ending uint32

const (
	endingNot ending = iota
	endingInTurn
	endingCalled
	endingDrain
	endingNow
	endingQueueFull
	endingBudget
	endingOver

	endingMask = 7
)

// drops reports whether the session does not wait for its queue: it is closed, or the run
// that closes it is to come.
func (e ending) drops() bool { return e >= endingNow }

// ends is why the session ends, or endingNot. Safe from any goroutine.
func (s *Session) ends() ending { return ending(s.public.Load() >> publicEnding & endingMask) }

// sealed reports whether Send is over. Safe from any goroutine.
func (s *Session) sealed() bool { return s.ends() != endingNot }

// endFor is the only place that sets the ending. It leaves what counts more. s.mu is held.
func (s *Session) endFor(next ending) {
	now := s.ends()
	if now != endingNot && (now.drops() || !next.drops()) && (now != endingInTurn || next != endingCalled) {
		return
	}
	for {
		old := s.public.Load()
		if s.public.CompareAndSwap(old, old&^(endingMask<<publicEnding)|uint32(next)<<publicEnding) {
			return
		}
	}
}

// end ends the session for e, unless something that counts as much has come before.
// endingInTurn lets what is published go first, and is endingCalled if nothing is. It
// reports whether the session was open until now: of all who end a session, one is told
// true. Safe from any goroutine.
func (s *Session) end(e ending) (first bool) {
	s.mu.Lock()
	first = !s.sealed()
	if !first && !e.drops() {
		s.mu.Unlock()
		return false
	}
	if e == endingInTurn && !s.mustWait() {
		e = endingCalled
	}
	s.endFor(e)
	if e == endingInTurn {
		s.server.shard(s.loop).enqueue((*endEntry)(s), true)
	}
	run := e != endingInTurn && s.needsRun()
	s.mu.Unlock()
	if run {
		s.post()
	}
	return first
}

// why is what Events.Close is told of a session that is not closed yet and ends for its
// ending. It is called on the session's loop.
func (s *Session) why() (Reason, error) {
	switch s.ends() {
	case endingDrain:
		return ReasonShutdown, nil
	case endingQueueFull:
		return reasonOf(ErrQueueFull), ErrQueueFull
	case endingBudget:
		return reasonOf(ErrBudget), ErrBudget
	default: // a call
		return ReasonForcedClose, s.byApp()
	}
}

// ended tells that the orderly end, which Close asked for, is complete.
func (s *Session) ended() { s.close(s.why()) }
