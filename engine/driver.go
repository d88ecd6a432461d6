package engine

import (
	"turbine/loop"
)

// A Driver is the server as a program sees it that owns the event loops, such as
// looptest's World or a program with a loop.Reactor of its own. Such a program makes
// loops with LoopOptions, hands them over by UseLoops, and gives each connection to
// Accept or AcceptTLS. Every other program calls Serve instead, which does all that.
type Driver struct{ server *Server }

// Driver is for programs that own the event loops.
func (s *Server) Driver() Driver { return Driver{s} }

// LoopOptions are the options that the server's loops have under Serve. Safe from any
// goroutine.
func (d Driver) LoopOptions() loop.Options {
	d.server.mu.Lock()
	defer d.server.mu.Unlock()
	return d.server.loopOptions()
}

// UseLoops makes loops the server's own. It is called once, before the first
// connection, and not for a server that has loops by Serve: it panics then.
func (d Driver) UseLoops(loops []*loop.Loop) {
	d.server.mu.Lock()
	defer d.server.mu.Unlock()
	if d.server.shards != nil {
		panic("engine: UseLoops is called for a server that has loops")
	}
	d.server.useLoops(loops, 0)
}

// Accept takes a connection: it returns the handler that serves HTTP on it. It is
// called on the connection's loop, one of those given to UseLoops.
func (d Driver) Accept(c *loop.Conn) loop.Handler { return d.server.accept(c) }

// AcceptTLS is Accept for a connection that is to speak TLS. Options.TLS has to be
// set.
func (d Driver) AcceptTLS(c *loop.Conn) loop.Handler { return d.server.acceptTLS(c) }

// loopOptions are those with the limits as they are now. s.mu is held.
func (s *Server) loopOptions() loop.Options {
	o := s.options.loop(&s.bounds)
	o.Exempt = *s.exempt.Load()
	o.Refused = s.refused
	o.Blocked = s.blocked
	o.Ticked = s.ticked
	return o
}

// accept is called on the connection's loop.
func (s *Server) accept(c *loop.Conn) loop.Handler { return newHTTPConn(s, c) }
