// Package looptest drives the loops of package loop in memory: connections
// without sockets, a clock that moves only when told, and one goroutine for
// all loops, so that a test is exact and repeatable.
//
//	world := looptest.NewWorld(1, loop.Options{}, accept)
//	peer := world.Dial()
//	peer.Write([]byte("hello"))
//	world.Run()
//	reply := peer.Read()
//	world.Advance(25 * time.Second) // rings every alarm on the way
//
// Only the system calls are simulated; the Loop and the Conn are the real
// ones. Package looptest/contract tests what both kernels promise. Faulty makes
// calls of either kernel fail at random.
package looptest
