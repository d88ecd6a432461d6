// Package engine is an Engine.IO server: sessions that begin as HTTP
// long-polling or as a WebSocket, move from the one to the other on the fly, and
// carry messages both ways, in order and once each. It speaks protocol
// revisions 4 and 3.
//
//	server, err := engine.New(engine.Options{}, engine.Events{
//		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(server.ListenAndServe(":3000"))
//
// The contract:
//
//   - Events are called on event loops, a few goroutines that serve all clients. The
//     events of one session come one after another, those of different sessions at
//     the same time. They must not block: Options.Timeouts.SlowCallback tells which
//     one did. Slow work goes to a goroutine of the application's own, which answers
//     with Send, and a slow decision about a new client is made with Request.Later;
//     or Options.Executor runs the callbacks on goroutines, where they may block.
//   - What a callback is given is borrowed: the Data of a Message or Packet and
//     the Request are valid until it returns. Send, Prepare and Request.Clone
//     copy. A Session may be kept; after Close nothing happens through it.
//     Session.Context ends with the session.
//   - All methods of Session and Server, and the Verdict's Accept and Refuse, are
//     safe from any goroutine, in callbacks, and after the end of the session or
//     the server. They do not wait, but for those that serve, Shutdown, and
//     ReloadTLS, which reads files.
//   - A message that Send accepts arrives, or the session closes with a Reason.
//     Close is the last event of a session and comes once.
//   - What clients may use up is bounded by Options. For who falls behind:
//     Events.HighWater and LowWater tell; beyond Queue.MaxBytes, Queue.MaxPackets or
//     Queue.Budget, Send returns an error and the session is closed, or the
//     message dropped, as Options.Queue.Overflow says.
//   - Pages of other origins are refused unless Options.Access.Origins, CORS or AnyOrigin
//     let them in; Options.Access.Bind ties a session to who opened it.
//   - Prepare encodes a message once for many: Server.Broadcast gives it to
//     all, Server.Publish to a group that sessions Join and Leave.
//   - A panic in a callback, or runtime.Goexit, costs its session, or its
//     request, and is logged.
//
// docs/from-node.md maps the names of the server for Node.js to those here.
package engine
