package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// BeginDrain is what Shutdown begins with, for tests in a World.
var BeginDrain = (*Server).beginDrain

// Waiting is the number of polls that wait.
func Waiting(s *Server) (n int) {
	for _, sh := range s.allShards() {
		n += int(sh.tally.polls.Load())
	}
	return n
}

// Carried is the number of connections whose TLS net/http has to do with.
func Carried(s *Server) int64 { return s.carried.count.Load() }

// Ended reports whether Shutdown has ended the server.
func Ended(s *Server) bool {
	s.outsideMu.Lock()
	defer s.outsideMu.Unlock()
	return s.outsideOver
}

// Surroundings is the number of http.Servers that s knows of.
func Surroundings(s *Server) int {
	s.outsideMu.Lock()
	defer s.outsideMu.Unlock()
	return len(s.surroundings)
}

// Outside is what requests outside the engine hold at present: goroutines, places
// to wait at, connections that were hijacked, and bytes of bodies.
func Outside(s *Server) [4]int {
	s.seats.mu.Lock()
	defer s.seats.mu.Unlock()
	return [4]int{s.seats.running, s.seats.waiting.Len(), s.tunnels(), int(s.outsideBodies.Load())}
}

// requireBalance holds the counts of a server that has ended all sessions against one
// another: what has begun has ended, in one way each.
func requireBalance(t testing.TB, s Stats) {
	t.Helper()
	var opened, closed int64
	for kind, at := range s.ByTransport {
		require.Zero(t, at.Sessions, "sessions counted on %v", Transport(kind))
		opened += at.Opened.Revision3 + at.Opened.Revision4
	}
	for _, n := range s.Closed {
		closed += n
	}
	require.Equal(t, opened, closed, "sessions opened and closed")
	require.Zero(t, s.Polls, "polls counted")
	require.Zero(t, s.Upgrades.Now, "upgrades counted")
	ended := s.Upgrades.Done
	for _, n := range s.Upgrades.Failed {
		ended += n
	}
	require.Equal(t, s.Upgrades.Started, ended, "upgrades begun and ended")
}

// RequireBalance is requireBalance.
var RequireBalance = requireBalance
