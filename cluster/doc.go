// Package cluster makes several servers one: behind a balancer without sticky sessions any
// node takes any request, and what one publishes reaches the sessions of all.
//
//	c, err := cluster.New(cluster.Options{
//		Name:       "shop",
//		Key:        key, // see ReadKey
//		Listen:     "10.0.0.1:7222", // links: requests travel over them
//		NATSListen: "10.0.0.1:6222", // routes between the embedded NATS servers
//		Routes:     []string{"10.0.0.1:6222", "10.0.0.2:6222", "10.0.0.3:6222"},
//		TLS:        config,
//		Embedded:   embedded.Start,
//	})
//	server, err := engine.New(engine.Options{Node: c.Node()}, events)
//	err = c.Join(ctx, server) // the other nodes are there, with links both ways
//	err = server.Serve(listener)
//
// At the end Leave runs beside Server.Shutdown:
//
//	go func() { left <- c.Leave(ctx) }()
//	err = server.Shutdown(ctx)
//	err = <-left
//
// # Who is there
//
// Nodes find each other over NATS, an embedded server in each or an external one. Each
// says once a second that it lives. One that says nothing for 4 seconds is suspect; it is
// dead, and its sessions are lost, when no link reaches it either. Options.Event is told
// of each change, Members has all of them.
//
// # The key
//
// Whoever has the key can speak for every session. From it the keys of links and of NATS
// are derived. Addresses that other machines reach need a key, and TLS unless
// Options.Insecure says that only the nodes are on that network.
package cluster
