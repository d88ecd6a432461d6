// github.com/zishang520/socket.io's Engine.IO server: echo, or broadcast in a
// loop over all clients.
package main

import (
	"io"
	"log"
	"net/http"

	"turbine/bench/peer/golang/setting"

	"github.com/zishang520/socket.io/servers/engine/v3"
	"github.com/zishang520/socket.io/servers/engine/v3/config"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

func main() {
	options := config.DefaultServerOptions()
	options.SetPingInterval(setting.Milliseconds("PING_INTERVAL"))
	options.SetPingTimeout(setting.Milliseconds("PING_TIMEOUT"))
	options.SetMaxHttpBufferSize(1_000_000)

	web := types.NewWebServer(http.NotFoundHandler())
	server := engine.NewServer(options)
	server.Attach(web, &config.AttachOptions{})
	broadcast, work := setting.Broadcast(), setting.Work()
	_ = server.On("connection", func(args ...any) {
		socket := args[0].(engine.Socket)
		_ = socket.On("message", func(args ...any) {
			work()
			if !broadcast {
				socket.Send(args[0].(io.Reader), nil, nil)
				return
			}
			message := args[0].(types.BufferInterface)
			server.Clients().Range(func(_ string, s engine.Socket) bool {
				s.Send(message.Clone(), nil, nil)
				return true
			})
		})
	})
	if cert, key := setting.Certificate(); cert != "" {
		web.ListenTLS(setting.Address(), cert, key, nil)
	} else {
		web.Listen(setting.Address(), nil)
	}
	log.Print("listening on ", setting.Address())
	select {}
}
