// Package loop is the event loop: connections, timers and a mailbox that
// belong to one goroutine each.
//
// A Loop reads sockets into one buffer, hands the bytes to the connection's
// Handler, and writes what the Handler left behind in one system call at the
// end of the turn. Nothing here starts a goroutine per connection.
//
//	reactor, err := loop.Open(loop.Options{}, func(c *loop.Conn) loop.Handler {
//		return &echo{conn: c}
//	})
//	...
//	err = reactor.Listen(listener, nil)
//	...
//	err = reactor.Serve() // until Stop
//
// The rules:
//
//   - One loop, one goroutine. Methods belong to the loop's goroutine unless
//     their comment says "Safe from any goroutine". Loop.Post is the door for
//     everybody else.
//   - Calls go down, events come up, never on one stack. Conn's methods return
//     nothing and never call back; their outcome is a later Data, Drained, EOF
//     or Closed. Closed comes exactly once and last.
//   - Bytes handed to a Handler are borrowed until it returns. Bytes handed to
//     Write are the caller's again when Write returns.
//   - A deadline is a fact, a timer only an alarm: an Alarm compares its stored
//     deadlines with Now and arms itself again.
//
// Everything that touches the operating system is behind Kernel, so that
// loop/looptest drives the very same Loop and Conn in memory.
package loop
