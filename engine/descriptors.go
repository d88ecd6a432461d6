package engine

import "turbine/loop"

// RaiseDescriptorLimit raises the process's limit of open descriptors as far
// as it may, and returns it with the number of connections that a server of
// that many loops (0 for one a CPU) then takes when Options.Limits.MaxConns is zero.
// Every WebSocket session is one connection. It is for programs to call before
// Serve. Safe from any goroutine.
func RaiseDescriptorLimit(loops int) (limit uint64, conns int, err error) {
	if limit, err = loop.RaiseDescriptorLimit(); err != nil {
		return 0, 0, err
	}
	conns, err = loop.DefaultMaxConns(loops)
	return limit, conns, err
}

// LoopCount is the number of event loops that Options.Loops asks for.
func LoopCount(loops int) int { return loop.LoopCount(loops) }
