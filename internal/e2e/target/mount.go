package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"turbine/engine"
)

// The ways to mount the Engine.IO echo.
const (
	mountOwn        = "own"         // on loops of the target's own
	mountNetHTTP    = "nethttp"     // in an http.Server
	mountNetHTTPTLS = "nethttp-tls" // in one that does TLS
)

// serveMounted serves the Engine.IO echo inside an http.Server, next to a page
// that echoes bodies, until a signal ends it.
func serveMounted(f *flags, server *engine.Server, stdout io.Writer) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	mux := http.NewServeMux()
	mux.Handle(f.Path, server)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, http.MaxBytesReader(w, r.Body, int64(f.MaxBody)))
	})
	outer := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	listener, err := net.Listen("tcp", f.Addr)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() {
		if f.Mount == mountNetHTTPTLS {
			served <- outer.ServeTLS(listener, f.TLSCert, f.TLSKey)
		} else {
			served <- outer.Serve(listener)
		}
	}()
	fmt.Fprintf(stdout, "target: listening on %s\n", listener.Addr())

	select {
	case err := <-served:
		return err
	case <-signals:
	}
	now, cancel := context.WithCancel(context.Background())
	cancel() // nothing is drained
	_ = server.Shutdown(now)
	_ = outer.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
