// Package enginetest tests programs that embed package engine: it has an
// Engine.IO client, and a World, which runs the program's server in memory.
//
//	func TestEcho(t *testing.T) {
//		w := enginetest.New(t, engine.Options{}, events())
//		c := w.Dial(enginetest.Options{Transport: engine.WebSocket})
//		c.Send(engine.Message{Data: []byte("hello")})
//		if got := c.NextText(); got != "hello" {
//			t.Errorf("got %q", got)
//		}
//	}
//
// # In memory
//
// A World has one event loop, no sockets, and a clock that moves only by
// World.Advance: a test of heartbeats and timeouts takes no time and is exact. The
// server is the real one, and so is the loop; only the system calls are simulated.
// Callbacks run while the test is in a method of the World or of a Client, on the
// test's goroutine, or on those of engine.Options.Executor. World.Settle waits for
// the latter. The World ends with the test: it closes all sessions, and the test
// fails when a session, a connection, or bytes that wait are left after that.
//
// What needs Serve is not in a World: listeners and their limits by address,
// PROXY protocol, a server that is mounted in net/http, and Shutdown, which returns at
// once. Test these over sockets.
//
// # Over sockets
//
// Dial connects the same client to a server that listens, in this process or in
// another one. What the server does is waited for, 5 seconds at most.
//
// # Rules
//
// A method that cannot do what it says fails the test, at once, as
// testing.TB.Fatal does. The message says what was expected, what came, and what
// can be done. So all methods belong to the goroutine of the test: they must not be
// called in the server's callbacks or from other goroutines. A client answers the
// server's pings by itself (Options.Mute), or pings in revision 3.
//
// The package imports testing and no other package for tests, so a program that
// uses it has no dependency that package engine does not have.
package enginetest
