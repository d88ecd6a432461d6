// Cluster is three servers in one program, behind a balancer that gives each request to the
// next of them, and no client notices. In production each is a process of its own, on a
// machine of its own; what they do is the same.
//
//	go run ./cluster
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"turbine/cluster"
	"turbine/cluster/embedded"
	"turbine/engine"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "address of the balancer, for clients")
	routes := flag.String("routes", "127.0.0.1:6222", "address at which the first node's NATS server listens for the others")
	drain := flag.Duration("drain", 8*time.Second, "how long clients may take to leave after SIGTERM")
	flag.Parse()
	if err := run(*addr, *routes, *drain); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(addr, routes string, drain time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 4)
	var nodes []*node
	for _, name := range []string{"a", "b", "c"} {
		n, err := start(ctx, name, routes, served)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
		fmt.Printf("node %s serves http://%s\n", name, n.listener.Addr())
	}

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (is another one running? choose an address with -addr)", err)
	}
	front := &http.Server{Handler: balancer(nodes), ReadHeaderTimeout: 10 * time.Second}
	go func() { served <- front.Serve(listener) }()
	fmt.Printf("listening on http://%s\n", listener.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		stop() // a second signal ends the program at once
	}

	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	for _, n := range nodes { // one after the other, as in a rolling restart
		if err := n.stop(ctx); err != nil {
			fmt.Printf("node %s: not everybody left in time: %v\n", n.name, err)
		}
		fmt.Printf("node %s has left\n", n.name)
	}
	return front.Close()
}

// node is one server of the cluster.
type node struct {
	name     string
	cluster  *cluster.Cluster
	server   *engine.Server
	listener net.Listener
}

// start makes a node, has it join the others, and serves.
func start(ctx context.Context, name, routes string, served chan<- error) (*node, error) {
	c, err := cluster.New(cluster.Options{
		Name:     "example",
		NodeName: name,
		Embedded: embedded.Start, // a NATS server in this process

		// On one machine loopback addresses need no key and no TLS. The first node
		// listens for the NATS servers of the others here; those find the address
		// taken, use another port, and the first one by this list. On several machines
		// each listens on its own address, and the list has all of them.
		NATSListen: routes,
		Routes:     []string{routes},

		Event: func(e cluster.Event) { fmt.Printf("node %s: %s %s\n", name, e.Kind, e.Name) },
	})
	if err != nil {
		return nil, err
	}
	server, err := engine.New(engine.Options{Node: c.Node()}, engine.Events{
		Message: func(s *engine.Session, m engine.Message) {
			// The answer names the node that has the session, whichever took the request.
			_ = s.Send(engine.Text(fmt.Sprintf("%s: %s", name, m.Data)))
		},
	})
	if err != nil {
		return nil, err
	}
	// Join before Serve: so no client has an id that other nodes do not know.
	if err := c.Join(ctx, server); err != nil {
		return nil, err
	}
	listener, err := engine.Listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, engine.ErrServerClosed) {
			served <- fmt.Errorf("node %s: %w", name, err)
		}
	}()
	return &node{name, c, server, listener}, nil
}

// stop takes the node out: Leave and Shutdown run at the same time, so that what this node
// does for sessions of others ends while its own sessions are closed.
func (n *node) stop(ctx context.Context) error {
	left := make(chan error, 1)
	go func() { left <- n.cluster.Leave(ctx) }()
	return errors.Join(n.server.Shutdown(ctx), <-left)
}

// balancer gives each request to the next node that takes new sessions.
func balancer(nodes []*node) http.Handler {
	var turn atomic.Uint64
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			n := nodes[turn.Add(1)%uint64(len(nodes))]
			for range nodes {
				if n.server.Stats().Phase == engine.PhaseServing {
					break
				}
				n = nodes[turn.Add(1)%uint64(len(nodes))]
			}
			r.SetURL(&url.URL{Scheme: "http", Host: n.listener.Addr().String()})
			r.Out.Host = r.In.Host // a page's origin is compared with it
			r.SetXForwarded()
		},
	}
}
