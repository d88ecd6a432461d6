package engine

import "sync/atomic"

// An Audience says which sessions get a message: the union of Groups and Sessions,
// each session once, without those of Except and ExceptSessions. It is everybody
// only if Groups and Sessions are nil: a list that is empty and not nil is nobody.
//
// With Options.Node, Groups and Except are those of all nodes. The other fields are about
// this node: Keep keeps nothing from sessions of others, and Done counts none of them. An
// Audience of Sessions without Groups stays here whole.
type Audience struct {
	// Groups are names: a session gets the message if it is in at least one of them.
	Groups []string
	// Sessions also get the message. Nil, and a session of another server, is nobody.
	Sessions []*Session
	// Except are names of groups: a session that is in one of them gets nothing,
	// whatever Groups and Sessions say.
	Except []string
	// ExceptSessions get nothing, whatever Groups and Sessions say.
	ExceptSessions []*Session
	// Keep is asked about each session that is left. It runs on the session's loop
	// and must not block. Nil keeps all.
	Keep func(*Session) bool
	// Done is called once, when the last session has had its turn, on one of the
	// loops, where it must not block. taken is how many sessions took the message:
	// it was queued for them. refused is how many did not: they were closing, had
	// ended (of Sessions), had no room, or Keep panicked. A session that Keep does not
	// keep is in neither. When loops stop first, the sessions that had no turn are in
	// neither. Where PublishTo returns an error Done is not called.
	Done func(taken, refused int)
}

// delivery is what one call asks of all loops. They share it, and change nothing
// except the counters.
type delivery struct {
	prepared  *Prepared // nil: the sessions are closed
	groups    []string
	except    []string
	listed    map[*Session]struct{} // Audience.Sessions and ExceptSessions: other parts of a walk leave them out
	keep      func(*Session) bool
	done      func(taken, refused int)
	everybody bool

	// With done:
	left           atomic.Int32 // walks that have not ended
	taken, refused atomic.Int64
}

// list copies the sessions that a lists, and returns by loop those that get the
// message; nil for none.
func (d *delivery) list(server *Server, a *Audience, loops int) (byLoop [][]*Session) {
	if len(a.Sessions)+len(a.ExceptSessions) == 0 {
		return nil
	}
	d.listed = make(map[*Session]struct{}, len(a.Sessions)+len(a.ExceptSessions))
	for _, s := range a.ExceptSessions {
		d.listed[s] = struct{}{}
	}
	if len(a.Sessions) == 0 {
		return nil
	}
	byLoop = make([][]*Session, loops)
	for _, s := range a.Sessions {
		if _, known := d.listed[s]; known || s == nil || s.server != server {
			continue
		}
		d.listed[s] = struct{}{}
		byLoop[s.loop.Index()] = append(byLoop[s.loop.Index()], s)
	}
	return byLoop
}

// tellDone calls Done on the loop that was last.
func (sh *shard) tellDone(d *delivery) {
	sh.mark.enter(callDone, nil)
	returned := false
	defer func() {
		sh.mark.leave()
		if !returned {
			sh.server.logPanic(sh.loop, "panic in Audience.Done", recover())
		}
	}()
	d.done(int(d.taken.Load()), int(d.refused.Load()))
	returned = true
}
