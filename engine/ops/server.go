package ops

import (
	"container/list"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// What a client of the operations listener may use up.
const (
	maxConns       = 64 // connections at the same time
	maxHeaderBytes = 16 << 10
	headerTimeout  = 5 * time.Second  // for a TLS handshake and for a head
	readTimeout    = 10 * time.Second // for a request with its body
	writeTimeout   = 30 * time.Second // for an answer, unless it says that it takes longer
	idleTimeout    = 90 * time.Second // between two requests
)

// A Server serves a Handler on listeners, within limits that hold for anybody who can
// connect: 64 connections, 16 KiB of header fields, 64 KiB of body, and times for each
// part of a request. When there are 64 connections, a new one takes the place of the
// one that has had no request for the longest time, so that whoever only holds
// connections open keeps nobody out. It speaks HTTP/1.1, by net/http. Its methods are
// safe from any goroutine.
type Server struct {
	http http.Server
	age  atomic.Int64 // how often CloseIdle was called
}

// NewServer makes a Server.
func NewServer(h *Handler) *Server {
	s := &Server{}
	s.http = http.Server{
		Handler:                      s.ofThisAge(h),
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		ErrorLog:                     slog.NewLogLogger(h.refused.Handler(), slog.LevelWarn), // clients may cause it at will
		ConnContext:                  s.noteConn,
		DisableGeneralOptionsHandler: true, // it would answer before anything is checked
		Protocols:                    new(http.Protocols),
	}
	s.http.Protocols.SetHTTP1(true) // HTTP/2 has requests without number on one connection
	return s
}

// Serve serves clients of l, over TLS if there is a config, and returns
// http.ErrServerClosed after Shutdown or Close. It closes l.
func (s *Server) Serve(l net.Listener, config *tls.Config) error {
	l = &gate{Listener: l, most: maxConns}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	return s.http.Serve(l)
}

// CloseIdle closes the connections that wait for a request, and those with a request
// under way when it is done, so that their clients have to come again: to another
// process, or with a certificate that counts.
func (s *Server) CloseIdle() {
	s.age.Add(1)
	s.http.SetKeepAlivesEnabled(false)
	s.http.SetKeepAlivesEnabled(true)
}

// Shutdown closes the listeners and waits until requests under way have ended, or ctx
// has.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// Close closes the listeners and all connections.
func (s *Server) Close() error { return s.http.Close() }

// A gate is a listener that lets a number of connections be there at the same time.
type gate struct {
	net.Listener
	most int

	mu   sync.Mutex
	open int       // connections that are there; guarded by mu
	idle list.List // of *gated, those without a request, for the longest time in front; guarded by mu
}

// A gated connection is one that counts for a gate.
type gated struct {
	net.Conn
	gate  *gate
	place *list.Element // in gate.idle; nil while a request is served; guarded by gate.mu
	left  bool          // it counts no more; guarded by gate.mu

	scrape time.Time // when it may have the next page of metrics; of whoever serves its request
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &gated{Conn: conn, gate: g}
		if g.admit(c) {
			return c, nil
		}
		_ = conn.Close()
	}
}

// admit makes room for c, and reports whether there is some.
func (g *gate) admit(c *gated) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.most {
		front := g.idle.Front()
		if front == nil { // each of them has a request that is served
			return false
		}
		oldest := front.Value.(*gated)
		oldest.leave()
		_ = oldest.Conn.Close() // its goroutine is told by an error
	}
	g.open++
	c.place = g.idle.PushBack(c)
	return true
}

// leave is the end of a connection for its gate, whose mu is held.
func (c *gated) leave() {
	if c.left {
		return
	}
	c.left = true
	c.gate.open--
	if c.place != nil {
		c.gate.idle.Remove(c.place)
		c.place = nil
	}
}

func (c *gated) Close() error {
	c.gate.mu.Lock()
	c.leave()
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// serve says that a request is served from now on, until done is called.
func (c *gated) serve() (done func()) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	if c.place != nil {
		c.gate.idle.Remove(c.place)
		c.place = nil
	}
	return c.rest
}

func (c *gated) rest() {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	if !c.left && c.place == nil {
		c.place = c.gate.idle.PushBack(c)
	}
}

// What a request's context has: its connection under connKey, and under ageKey the
// server's age when the connection came.
type (
	connKey struct{}
	ageKey  struct{}
)

func (s *Server) noteConn(ctx context.Context, c net.Conn) context.Context {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	return context.WithValue(context.WithValue(ctx, connKey{}, c), ageKey{}, s.age.Load())
}

// ofThisAge closes a connection from before CloseIdle without an answer. To the client
// that is what a connection looks like that was closed while it was idle.
func (s *Server) ofThisAge(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(ageKey{}) != s.age.Load() {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	})
}

// busy says that a request is served for a client that may have it, until done is
// called: its connection gives its place to nobody.
func busy(ctx context.Context) (done func()) {
	if c, ok := ctx.Value(connKey{}).(*gated); ok {
		return c.serve()
	}
	return func() {} // on a server of somebody else
}

// release gives up early what busy says, for an answer of which the rest may take as
// long as the client likes.
func release(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*gated); ok {
		c.rest()
	}
}
