package engine

import "turbine/loop"

// BeginDrain is what Shutdown begins with, for tests in a World.
var BeginDrain = (*Server).beginDrain

// Waiting is the number of polls that wait.
func Waiting(s *Server) (n int) {
	for _, sh := range s.allShards() {
		done := make(chan int)
		if sh.loop.Post(loop.Func(func() { done <- sh.polls })) == nil {
			n += <-done
		}
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
