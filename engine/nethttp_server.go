package engine

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// An outside is where requests go that are not the server's own: an http.Server,
// to which the loops lend their connections for one request each. It is that
// server's listener.
type outside struct {
	server *Server
	http   *http.Server
	root   *http.Server // the one that a mounted server is part of; nil for Options.Fallback
	conns  int          // that a loop has of root; guarded by the server's outsideMu
	ready  chan *lentConn
	over   chan struct{}
	begin  sync.Once
	end    sync.Once
}

// newFallback is the outside of Options.Fallback.
func newFallback(s *Server) *outside {
	o := &outside{server: s, http: &http.Server{
		Handler:           s.options.Fallback,
		ReadHeaderTimeout: s.options.Timeouts.Header,
		ErrorLog:          slog.NewLogLogger(s.quiet.Handler(), slog.LevelError),
	}}
	return o.prepare()
}

// newSurroundings is the outside of a server that is mounted in root: its handlers
// and settings. root is not changed.
func newSurroundings(s *Server, root *http.Server) *outside {
	o := &outside{server: s, root: root, http: &http.Server{
		Handler:                      root.Handler,
		DisableGeneralOptionsHandler: root.DisableGeneralOptionsHandler,
		ReadTimeout:                  root.ReadTimeout,
		ReadHeaderTimeout:            s.options.Timeouts.Header,
		WriteTimeout:                 root.WriteTimeout,
		MaxHeaderBytes:               root.MaxHeaderBytes,
		ErrorLog:                     root.ErrorLog,
	}}
	if root.BaseContext != nil {
		o.http.BaseContext = o.rootBase
	}
	return o.prepare()
}

func (o *outside) prepare() *outside {
	o.http.ConnContext, o.http.ConnState = o.connContext, o.connState
	o.http.Handler = overTLS(o.http.Handler)
	o.over = make(chan struct{})
	return o
}

// serve takes c, which seats has let in. The first one starts the goroutine
// that waits for others, which Close ends.
func (o *outside) serve(c *lentConn) {
	o.begin.Do(func() {
		o.ready = make(chan *lentConn, o.server.seats.limit)
		go func() { _ = o.http.Serve(o) }()
	})
	o.ready <- c // it has room for as many as there are let in
}

// close cuts the requests that are served.
func (o *outside) close() { _ = o.http.Close() }

// Accept returns the next connection that the loops lend. What was lent before the
// end is served behind it, although its client is gone: its seat is
// given back by net/http.
func (o *outside) Accept() (net.Conn, error) {
	select {
	case c := <-o.ready:
		return c, nil
	case <-o.over:
	}
	select {
	case c := <-o.ready:
		return c, nil
	default:
		return nil, net.ErrClosed
	}
}

// Close ends the goroutine that Accept waits on. Requests that are served continue.
func (o *outside) Close() error {
	o.end.Do(func() { close(o.over) })
	return nil
}

// Addr is no address: the connections come from the loops.
func (o *outside) Addr() net.Addr { return address(netip.AddrPort{}) }

// connState learns what net/http is done with.
func (o *outside) connState(c net.Conn, state http.ConnState) {
	lent := c.(*lentConn)
	switch state {
	case http.StateIdle:
		lent.whenAnswered()
	case http.StateHijacked:
		lent.whenHijacked()
		o.server.seats.done()
	case http.StateClosed:
		o.server.seats.done()
	case http.StateNew, http.StateActive:
	}
}

// overTLS tells next of the TLS that the loops speak, which net/http cannot see.
func overTLS(next http.Handler) http.Handler {
	if next == nil {
		next = http.DefaultServeMux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lent, ok := r.Context().Value(lentKey{}).(*lentConn); ok {
			r.TLS = lent.tls
		}
		next.ServeHTTP(w, r)
	})
}

// lentKey is where a request's context holds the lentConn that it came by.
type lentKey struct{}

// connContext gives a request the context that it would have had from root.
func (o *outside) connContext(ctx context.Context, c net.Conn) context.Context {
	if o.root != nil {
		ctx = context.WithValue(ctx, http.ServerContextKey, o.root)
		ctx = o.rootContext(ctx, c)
	}
	return context.WithValue(ctx, lentKey{}, c)
}

// rootBase asks root.BaseContext, which may want a listener of another kind.
func (o *outside) rootBase(l net.Listener) (result context.Context) {
	defer func() {
		if p := recover(); p != nil {
			o.server.quiet.Error("panic in http.Server.BaseContext; requests go on without", "panic", p)
			result = context.Background()
		}
	}()
	return o.root.BaseContext(l)
}

// rootContext asks root.ConnContext, which may want a connection of another kind.
func (o *outside) rootContext(ctx context.Context, c net.Conn) (result context.Context) {
	if o.root.ConnContext == nil {
		return ctx
	}
	defer func() {
		if p := recover(); p != nil {
			o.server.quiet.Error("panic in http.Server.ConnContext; the request goes on without", "panic", p)
			result = ctx
		}
	}()
	return o.root.ConnContext(ctx, c)
}

// around is the outside of root, the http.Server of a connection that a loop has
// taken, until leave: Options.Fallback if there is no root, and nil when the server
// has ended.
//
// Nothing tells when an http.Server has ended: Close calls nobody, and those that
// Shutdown calls stay registered. So one is known only as long as a loop has
// connections of it.
func (s *Server) around(root *http.Server) *outside {
	if root == nil {
		return s.fallback
	}
	s.outsideMu.Lock()
	defer s.outsideMu.Unlock()
	if s.outsideOver {
		return nil
	}
	o := s.surroundings[root]
	if o == nil {
		if s.surroundings == nil {
			s.surroundings = map[*http.Server]*outside{}
		}
		o = newSurroundings(s, root)
		if s.outsideLast {
			o.http.SetKeepAlivesEnabled(false)
		}
		s.surroundings[root] = o
	}
	o.conns++
	return o
}

// leave is called at the end of a connection that around was called for.
func (s *Server) leave(o *outside) {
	if o == nil || o.root == nil {
		return
	}
	s.outsideMu.Lock()
	defer s.outsideMu.Unlock()
	if o.conns--; o.conns > 0 {
		return
	}
	_ = o.Close()
	delete(s.surroundings, o.root)
}

// outsides calls f for each.
func (s *Server) outsides(f func(*outside)) {
	s.outsideMu.Lock()
	defer s.outsideMu.Unlock()
	if s.fallback != nil {
		f(s.fallback)
	}
	for _, o := range s.surroundings {
		f(o)
	}
}

// endKeepAlive makes each request that is served outside the last one of its
// connection.
func (s *Server) endKeepAlive() {
	s.outsideMu.Lock()
	s.outsideLast = true
	s.outsideMu.Unlock()
	s.outsides(func(o *outside) { o.http.SetKeepAlivesEnabled(false) })
}

// closeOutsides is called when there are no connections any more.
func (s *Server) closeOutsides() {
	s.outsides((*outside).close)
	s.outsideMu.Lock()
	defer s.outsideMu.Unlock()
	s.surroundings, s.outsideOver = nil, true
}

// tunnels is the number of connections that handlers of net/http have hijacked.
func (s *Server) tunnels() (n int) {
	for _, sh := range s.allShards() {
		n += int(sh.tunnels.Load())
	}
	return n
}

// links is how many connections are those of other nodes, and end behind all others.
func (s *Server) links() int {
	if n := s.options.Node; n != nil && n.Peers != nil {
		return n.Peers.Conns()
	}
	return 0
}

// seats bounds the requests that net/http serves for the loops, each on a
// goroutine while it lasts: so many at the same time, and so many that wait.
// Its methods are safe from any goroutine.
type seats struct {
	limit     int
	waitLimit int

	mu      sync.Mutex
	running int
	waiting list.List // of *lentConn, the first one to go next
}

// enter lets c be served, now or when it is its turn, unless too many wait.
func (s *seats) enter(c *lentConn) (ok, waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.running < s.limit:
		s.start(c)
		return true, false
	case s.waiting.Len() < s.waitLimit:
		c.place = s.waiting.PushBack(c)
		return true, true
	}
	return false, false
}

// start is called with mu held.
func (s *seats) start(c *lentConn) {
	s.running++
	c.outside.serve(c)
}

// leave takes c from those that wait, and reports whether it was one.
func (s *seats) leave(c *lentConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.place == nil {
		return false
	}
	s.waiting.Remove(c.place)
	c.place = nil
	return true
}

// done makes room for the next one.
func (s *seats) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if first := s.waiting.Front(); first != nil {
		next := s.waiting.Remove(first).(*lentConn)
		next.place = nil
		s.start(next)
	}
}
