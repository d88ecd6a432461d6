// Package engine is an Engine.IO server: sessions that begin as HTTP long-polling
// or as a WebSocket, move from polling to WebSocket while they run, and carry
// messages both ways, in order and once each. It speaks protocol revisions 4 and 3.
//
//	server, err := engine.New(engine.Options{}, engine.Events{
//		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(server.ListenAndServe(":3000"))
//
// # Events and threads
//
// Events are called on event loops, a few goroutines that serve all clients. The
// events of one session come one after another, those of different sessions at the
// same time. They must not block: Options.Timeouts.SlowCallback reports those that
// do. Slow work goes to a goroutine of the application, which answers with Send. A
// slow decision about a new client is made with Admission.Later. If callbacks have to
// block, Options.Executor runs them on goroutines, where they may.
//
// All methods of Session and Server, and Accept and Refuse of a Verdict, are safe
// from any goroutine, in callbacks, and after the end of the session or the server,
// unless their comment says otherwise. They do not wait, except Serve and the like,
// Shutdown, and ReloadTLS, which reads files.
//
// A message that Send accepts arrives, or the session closes with a Reason. Close is
// the last event of a session and comes once. A panic in a callback, or
// runtime.Goexit, costs the session or the request that it was called for, and is
// logged.
//
// # What is borrowed
//
// What a callback is given is borrowed: the Data of a Message or Packet and the
// Request are valid until the callback returns. Send, Prepare and Request.Clone copy.
// A Session may be kept; after Close nothing happens through it. Session.Context ends
// with the session.
//
// # Limits
//
// Options bound everything that a client may use up. When a client falls behind,
// Events.HighWater and LowWater say so. Above Queue.MaxBytes, Queue.MaxPackets or
// Queue.Budget, Send returns an error; then the session is closed or the message is
// dropped, as Queue.Overflow says. Stats.Limits counts how often each limit was met.
//
// Pages of other origins are refused unless Access.Origins, Access.CORS or
// Access.AnyOrigin let them in. Access.Bind ties a session to the client that opened
// it.
//
// # Figures
//
// Server.Stats has what a server holds and what it has done since New, for metrics and
// tests; Stats.Each passes each figure on with its name. Nothing in it names a session.
//
// # Many receivers
//
// Prepare encodes a message once for many sessions. Server.Broadcast gives it to all
// sessions, Server.Publish to a group that sessions Join and Leave, Server.PublishTo
// to an Audience: any groups and sessions, without others.
//
// # Inside net/http and TLS
//
// Server.ServeHTTP makes the server a route of a program's own http.Server.
// Options.Fallback serves the other paths of the server's port with an http.Handler.
// Options.TLS and Server.ServeTLS speak TLS on the event loops; behind a proxy,
// Options.Proxies and ProxyListener say what the proxy is believed.
//
// # Ways to end
//
//   - Session.Close lets the client take what is queued, and then ends the session.
//   - Session.CloseWith is Close with a code and a reason for a WebSocket client.
//   - Session.CloseNow drops what is queued.
//   - Server.CloseGroup closes the members of a group, each as Session.Close does.
//   - Server.CloseSessions closes all sessions; the server stays.
//   - Server.Shutdown drains the server: sessions are closed one by one, over a period.
//   - Server.Close ends the server at once.
//   - Server.StopAccepting leaves new connections to another process on the same port.
//
// docs/embedding.md shows which names belong together, and docs/from-node.md maps the
// names of the server for Node.js to those here. Package enginetest tests programs
// that embed this one.
package engine
