package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	"turbine/engine"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// An echo server, here on a free port and with a client for one message.
func ExampleServer() {
	server, err := engine.New(engine.Options{}, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }, // m.Data is borrowed, Send copies
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	url := "http://" + listener.Addr().String() + "/engine.io/?EIO=4&transport=polling"
	_, sid, _ := strings.Cut(fetch(http.Get(url)), `"sid":"`)
	url += "&sid=" + sid[:20]
	fmt.Println(fetch(http.Post(url, "text/plain", strings.NewReader("4hello"))))
	fmt.Println(fetch(http.Get(url)))
	fmt.Println(fetch(http.Post(url, "text/plain", strings.NewReader("1"))))

	http.DefaultClient.CloseIdleConnections()
	fmt.Println(server.Shutdown(context.Background()))
	fmt.Println(<-served)
	// Output:
	// ok
	// 4hello
	// ok
	// <nil>
	// engine: server closed
}

func fetch(r *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	line, _ := bufio.NewReader(r.Body).ReadString('\n')
	return line
}

// A message to all sessions is encoded once. This program runs in memory: the
// World drives the loops, and its clock moves only when told.
func ExampleServer_Broadcast() {
	server, err := engine.New(engine.Options{}, engine.Events{
		Close: func(_ *engine.Session, reason engine.Reason, _ error) { fmt.Println(reason) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	world := looptest.NewWorld(2, loop.Options{}, server.Accept)
	server.Bind(world.Loops())
	defer world.Close()

	peers := []*looptest.Peer{world.Dial(), world.Dial()}
	for _, p := range peers {
		p.Write([]byte("GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\n" +
			"Host: example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	}
	world.Run()
	for _, p := range peers {
		p.Read()
	}
	fmt.Println(server.Stats().Sessions, "sessions")

	server.Broadcast(engine.Prepare(engine.Message{Data: []byte("hello, all")}))
	world.Run()
	for _, p := range peers {
		fmt.Printf("%q\n", p.Read())
		p.Write(wsframe.AppendMaskedFrame(nil, ws.OpClose, true, [4]byte{}, nil))
	}
	world.Run()
	// Output:
	// 2 sessions
	// "\x81\v4hello, all"
	// "\x81\v4hello, all"
	// transport close
	// transport close
}
