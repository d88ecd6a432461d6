package cluster_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"time"

	"turbine/cluster"
	"turbine/cluster/embedded"
	"turbine/engine"
)

// A node that is the first of its cluster. The others name the address of its routes.
func Example() {
	c, err := cluster.New(cluster.Options{
		Name:       "shop",
		NodeName:   "first",
		NATSListen: "127.0.0.1:0", // on several machines: this one's address, the same port on all
		Embedded:   embedded.Start,
		Logger:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	server, err := engine.New(engine.Options{Node: c.Node()}, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Join(ctx, server); err != nil {
		log.Fatal(err)
	}
	listener, err := engine.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	for _, m := range c.Members() {
		fmt.Println(m.Name, m.State)
	}

	left := make(chan error, 1)
	go func() { left <- c.Leave(ctx) }()
	fmt.Println(server.Shutdown(ctx), <-left)
	fmt.Println(<-served)
	// Output:
	// first alive
	// <nil> <nil>
	// engine: server closed
}
