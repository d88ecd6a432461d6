package engine_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"turbine/engine"
)

// One server for proxies that speak the PROXY protocol, for proxies that write
// X-Forwarded-For, and for clients that come directly, each on an address of its
// own. A client that says what only a proxy may say, or that comes from elsewhere,
// changes nothing.
func ExampleProxyListener() {
	server, err := engine.New(engine.Options{
		Proxies: engine.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
	}, engine.Events{
		Open: func(_ *engine.Session, r *engine.Request) { fmt.Println("a session of", r.RemoteAddr().Addr()) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 2)
	listen := func(wrap func(net.Listener) net.Listener) string {
		listener, err := engine.Listen("127.0.0.1:0")
		if err != nil {
			fmt.Println(err)
			return ""
		}
		go func() { served <- server.Serve(wrap(listener)) }()
		return listener.Addr().String()
	}
	open := listen(func(l net.Listener) net.Listener { return l })
	proxied := listen(engine.ProxyListener)

	const request = "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: turbine\r\n"
	first := connect(proxied, "PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\r\n"+request+"\r\n")
	second := connect(open, request+"X-Forwarded-For: 198.51.100.8\r\n\r\n")

	_ = first.Close()
	_ = second.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nobody polls: they are cut off
	_ = server.Shutdown(ctx)
	fmt.Println(<-served)
	fmt.Println(<-served)
	// Output:
	// a session of 198.51.100.7
	// a session of 198.51.100.8
	// engine: server closed
	// engine: server closed
}

// connect connects, writes, and waits for the first bytes of the answer.
func connect(address, text string) net.Conn {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_, _ = conn.Write([]byte(text))
	_, _ = conn.Read(make([]byte, 12))
	return conn
}

// A server on a Unix socket, which only the owner may write to, for a proxy that
// runs as the same user.
func ExampleListenUnix() {
	directory, err := os.MkdirTemp("", "turbine")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(directory) }()
	path := filepath.Join(directory, "turbine.sock")
	listener, err := engine.ListenUnix(path, 0o600)
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := engine.New(engine.Options{Proxies: engine.Proxies{TrustUnixSockets: true}}, engine.Events{})
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	answer := fetch(client.Get("http://turbine/engine.io/?EIO=4&transport=websocket"))
	fmt.Println(strings.TrimSpace(answer))
	client.CloseIdleConnections()
	fmt.Println(server.Shutdown(context.Background()))
	fmt.Println(<-served)
	// Output:
	// {"code":3,"message":"Bad request"}
	// <nil>
	// engine: server closed
}
