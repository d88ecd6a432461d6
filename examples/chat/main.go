// Chat has rooms with the people there and what was said last, and a page to do it
// in, all on one port.
//
//	go run ./chat
//
// Then open http://localhost:3000 in two windows.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"turbine/engine"
)

// The page, with the browser build of the official client, engine.io-client
// 6.6.8 as npm has it (MIT, engine.io.LICENSE next to it).
//
//go:embed page
var files embed.FS

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "address of the page and the chat; :3000 is also for other machines")
	drain := flag.Duration("drain", 8*time.Second, "how long clients may take to leave after SIGTERM")
	flag.Parse()
	if err := run(*addr, *drain); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(addr string, drain time.Duration) error {
	chat := &hub{rooms: map[string]*room{}}
	server, err := engine.New(engine.Options{
		Fallback:   page(),
		MaxPayload: 4096, // enough for maxText, whatever its characters
	}, engine.Events{
		Open:    chat.open,
		Message: chat.message,
		Close:   chat.close,
	})
	if err != nil {
		return err
	}
	chat.publish = func(room string, p *engine.Prepared) { _ = server.Publish(room, p) } // no error while it serves
	listener, err := engine.Listen(addr)
	if err != nil {
		return fmt.Errorf("%w (is another one running? choose an address with -addr)", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Printf("chat: open http://%s in two windows\n", listener.Addr())

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

// page serves the files. Its header lets the page load and connect to nothing
// but this server, and run no script that somebody has put into a message.
func page() http.Handler {
	root, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is there, or this does not compile
	}
	serve := http.FileServerFS(root)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		serve.ServeHTTP(w, r)
	})
}
