package engine

// SetRates replaces Limits.ConnRate and Limits.HandshakeRate of Options while the server
// runs; zero means their default, a negative value no limit. What a client has used up
// of the old rates counts for the new ones. The rate of connections is for those that
// the server accepts itself: loops behind Driver have their own. The error wraps
// ErrOptions; then nothing has changed.
func (s *Server) SetRates(conns, handshakes int) error {
	o := Options{Limits: Limits{ConnRate: conns, HandshakeRate: handshakes}}
	filled, err := o.withDefaults()
	if err != nil {
		return err
	}
	s.handshakes.Set(filled.Limits.HandshakeRate)
	s.connRate.Store(int64(filled.Limits.ConnRate)) // for a reactor that is yet to be opened
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reactor != nil {
		s.reactor.SetConnRate(filled.Limits.ConnRate)
	}
	return nil
}
