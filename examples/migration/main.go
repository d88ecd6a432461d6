// Migration is node/server.mjs, an echo server on engine.io for Node.js, moved to
// Turbine line by line. The comments are the lines of the original. TestSameTranscript
// runs the same client against both and compares all that it sees.
//
//	go run ./migration
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"turbine/engine"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "address to listen on; :3000 is also for other machines")
	pingInterval := flag.Duration("ping-interval", 25*time.Second, "how often a client is pinged")
	pingTimeout := flag.Duration("ping-timeout", 20*time.Second, "how long the answer may take")
	drain := flag.Duration("drain", 8*time.Second, "how long clients may take to leave after SIGTERM")
	flag.Parse()
	if err := run(*addr, *pingInterval, *pingTimeout, *drain); err != nil {
		fmt.Fprintln(os.Stderr, "migration:", err)
		os.Exit(1)
	}
}

func run(addr string, pingInterval, pingTimeout, drain time.Duration) error {
	server, err := engine.New(engine.Options{
		PingInterval: pingInterval, // pingInterval: 25000, in milliseconds there
		PingTimeout:  pingTimeout,  // pingTimeout: 20000
		MaxPayload:   1e5,          // maxHttpBufferSize: 1e5

		// initialPacket: "welcome"
		InitialPacket: &engine.Message{Data: []byte("welcome")},

		// allowEIO3: false, which is the original's default: clients of socket.io 1
		// and 2 are let in here unless one says so.
		Revisions: []engine.Revision{engine.Revision4},
	}, engine.Events{
		// Events are given to New, for good: there is no on() and off(). They run on
		// several event loops, those of one session one after another: what sessions
		// share needs a lock, which a program for Node never needed.

		// allowRequest: (request, callback) => callback("wrong token", false)
		Admit: func(a *engine.Admission) error {
			if a.Query("token") != "secret" {
				return engine.Refuse("wrong token")
			}
			return nil // a decision that waits for something: a.Later()
		},

		// server.on("connection", (socket) => {...})
		Open: func(s *engine.Session, r *engine.Request) {
			name := r.Query("name") // socket.request._query.name
			s.SetValue(name)        // there, the closure of the connection keeps it
			fmt.Printf("%s: open, revision %d, %s\n", name, s.Revision(), s.Transport())
		},

		// socket.on("upgrade", () => ...)
		Upgrade: func(s *engine.Session) { fmt.Printf("%s: upgrade, %s\n", s.Value(), s.Transport()) },

		// socket.on("message", (data) => ...): text is a string there, a Buffer
		// otherwise; here m.Binary tells. m.Data is lent until this returns.
		Message: func(s *engine.Session, m engine.Message) {
			if !m.Binary && string(m.Data) == "bye" {
				s.Close() // socket.close()
				return
			}
			// socket.send(data): it never waits, here too. It says when the session
			// is over or its client too far behind, and closes it then.
			_ = s.Send(m)
		},

		// socket.on("close", (reason) => ...): with the same reasons
		Close: func(s *engine.Session, reason engine.Reason, _ error) {
			fmt.Printf("%s: close, %s\n", s.Value(), reason)
		},

		// server.on("connection_error", ({ req, code, message }) => ...)
		ConnectionError: func(r *engine.Request, e *engine.HandshakeError) {
			fmt.Printf("%s: refused, %d %s\n", r.Query("name"), e.Code, e.Message)
		},
	})
	if err != nil {
		return err
	}

	// listen(address, options, callback), in two steps: the address is known, and
	// whether it can be had, before anything is served.
	listener, err := engine.Listen(addr)
	if err != nil {
		return fmt.Errorf("%w (is another one running? choose an address with -addr)", err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Printf("listening on http://%s\n", listener.Addr())

	// process.on("SIGTERM", () => {
	//   server.close();
	//   server.httpServer.close(() => process.exit());
	// })
	// Shutdown is both, and waits until clients have what was queued for them.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		stop() // a second signal ends the program at once
	}
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		slog.Warn("not everybody left in time", "error", err)
	}
	if err := <-served; !errors.Is(err, engine.ErrServerClosed) {
		return err
	}
	return nil
}
