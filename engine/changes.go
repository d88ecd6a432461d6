package engine

import (
	"turbine/internal/peers"
	"turbine/internal/proxied"
)

// SetLimits replaces these of Options.Limits while the server runs: MaxConns,
// MaxConnsPerIP, ConnRate, MaxSessions, MaxSessionsPerIP, HandshakeRate, Exempt and
// MaxTLSHandshakes. All others stay what New was given. Zero means the default, as there.
//
// The new limits are for connections, TLS handshakes and sessions that begin from now
// on. Nothing that is open ends because a limit is lower now: it has to end by itself
// before there is room. What a client has used up of the old rates counts for the new
// ones. A connection or session counts for its address as long as it lasts if it has
// begun with a limit by address and outside of Exempt, and never otherwise.
//
// The limits of connections are for those that the server accepts itself: loops behind
// Driver have their own. The error wraps ErrOptions, or is the system's where MaxConns is
// zero; then nothing has changed.
func (s *Server) SetLimits(l Limits) error {
	filled, err := Options{Limits: l}.withDefaults()
	if err != nil {
		return err
	}
	l = filled.Limits
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := 0
	if s.reactor != nil {
		if err := s.reactor.SetMaxConns(l.MaxConns); err != nil {
			return err
		}
		s.reactor.SetMaxConnsPerIP(l.MaxConnsPerIP)
		s.reactor.SetConnRate(l.ConnRate)
		conns = s.reactor.MaxConns()
	}
	s.bounds = l // for a reactor that is yet to be opened
	s.handshakes.Set(l.HandshakeRate)
	s.places.byAddress.Set(l.MaxSessionsPerIP)
	if s.shards != nil {
		s.places.limit.Store(l.maxSessions(conns))
	}
	s.useExempt()
	return nil
}

// SetProxies replaces Options.Proxies while the server runs. What a proxy says of its
// client is believed, or not, by the new list in each request and for each connection
// that comes from now on; a WebSocket keeps the client's address that its request has
// had. A session that is bound to an address by BindIP makes no more requests if its
// client has another address by the new list. While nobody is trusted a ProxyListener
// closes each new connection. The error wraps ErrOptions; then nothing has changed.
func (s *Server) SetProxies(p Proxies) error {
	filled, err := Options{Proxies: p}.withDefaults()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proxies.Store(filled.Proxies.believed())
	s.useExempt()
	return nil
}

// SetDrain replaces Options.Drain while the server runs, for a Shutdown that begins from
// now on. The error wraps ErrOptions; then nothing has changed.
func (s *Server) SetDrain(d Drain) error {
	filled, err := Options{Drain: d}.withDefaults()
	if err != nil {
		return err
	}
	s.drainPace.Store(&filled.Drain)
	return nil
}

// believed are the proxies as requests are looked at. p is the server's own.
func (p Proxies) believed() *proxied.Proxies {
	return &proxied.Proxies{Trusted: p.Trusted, UnixSockets: p.TrustUnixSockets, Field: p.ClientHeader}
}

// useExempt gives all limits by address the networks that they do not apply to:
// Limits.Exempt and the trusted proxies. s.mu is held, except in New.
func (s *Server) useExempt() {
	all := append(append(peers.Networks{}, s.bounds.Exempt...), s.proxies.Load().Trusted...) // an empty list stays one
	s.exempt.Store(&all)
	if s.reactor != nil {
		s.reactor.SetExempt(all)
	}
	if s.tls != nil {
		s.tls.loops.Limit(s.bounds.MaxTLSHandshakes, all)
	}
}
