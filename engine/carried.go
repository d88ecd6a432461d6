package engine

import (
	"crypto/tls"
	"sync"
	"sync/atomic"

	"turbine/loop"
)

// carriedTLS knows the TLS of what net/http carries to the loops: all that these
// have of such a connection is one end of a pair of sockets. Its methods are
// safe from any goroutine.
type carriedTLS struct {
	count  atomic.Int64
	states sync.Map // *loop.Conn -> *tls.ConnectionState
}

// of is the state of what is carried over c, nil for most.
func (k *carriedTLS) of(c *loop.Conn) *tls.ConnectionState {
	if k.count.Load() == 0 {
		return nil
	}
	if state, ok := k.states.Load(c); ok {
		return state.(*tls.ConnectionState)
	}
	return nil
}

// tlsOf is the state of the TLS that c's client speaks, nil without.
func (s *Server) tlsOf(c *loop.Conn) *tls.ConnectionState {
	if state := s.carried.of(c); state != nil {
		return state
	}
	return c.TLS()
}

// secure reports whether c's client speaks TLS to this process.
func (s *Server) secure(c *loop.Conn) bool { return c.Secure() || s.carried.of(c) != nil }

// A carriage is one entry of carriedTLS, from when the loop has its end until
// what carries is done, in either order. A nil one is of a connection without TLS.
type carriage struct {
	all   *carriedTLS
	state *tls.ConnectionState

	mu   sync.Mutex
	conn *loop.Conn // guarded by mu
	over bool       // guarded by mu
}

func (k *carriage) begin(c *loop.Conn) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.over {
		k.conn = c
		k.all.states.Store(c, k.state)
		k.all.count.Add(1)
	}
}

func (k *carriage) end() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	if k.conn != nil {
		k.all.states.Delete(k.conn)
		k.all.count.Add(-1)
		k.conn = nil
	}
}
