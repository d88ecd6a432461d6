// Target is the server that black-box suites are pointed at. It shows them the
// house's own parts without the rest of a product around them: the Engine.IO
// echo under its path, a bare WebSocket echo at /ws, and plain HTTP everywhere
// else. See http.go for what that answers.
//
//	go run ./internal/e2e/target --addr 127.0.0.1:9001
//
// It is a tool for tests and knows no deadlines outside Engine.IO: a client that
// sends half a request may keep the connection for as long as it likes.
package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"turbine/engine"
	"turbine/httpparse"
	"turbine/loop"
	"turbine/wsframe"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitFailed = 1 // it could not serve
	exitUsage  = 2 // the command line makes no sense
)

type flags struct {
	Addr         string        `default:"127.0.0.1:9001" help:"TCP address to listen on."`
	Path         string        `default:"/engine.io/" help:"Path that Engine.IO is served under."`
	MaxMessage   int           `default:"16777216" help:"Limit of a message at /ws, in bytes."`
	MaxFragments int           `default:"65536" help:"Limit of fragments of a message at /ws."`
	Deflate      string        `default:"off" enum:"off,on,takeover" help:"permessage-deflate at /ws: off, on, or takeover, with contexts kept in both directions."`
	MaxBody      int           `default:"16777216" help:"Limit of a request body outside Engine.IO, in bytes."`
	PingInterval time.Duration `default:"25s" help:"How often an Engine.IO client is pinged."`
	PingTimeout  time.Duration `default:"20s" help:"How long the answer to a ping may take."`
	MaxPayload   int           `default:"1000000" help:"Limit of an Engine.IO request body and message, in bytes."`
	Loops        int           `default:"0" help:"Number of event loops; 0 means one for each CPU."`
	TLSCert      string        `name:"tls-cert" placeholder:"FILE" help:"Certificate in PEM, to speak TLS."`
	TLSKey       string        `name:"tls-key" placeholder:"FILE" help:"Its key in PEM."`
	Executor     int           `default:"0" help:"Run the Engine.IO echo on this many goroutines at most; 0 means on the event loops."`
	Mount        string        `default:"own" enum:"own,nethttp,nethttp-tls" help:"What carries Engine.IO: own loops, net/http, or net/http with TLS by those two files. In the latter two there is no /ws, and other paths echo bodies alone."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var f flags
	parser := kong.Must(&f,
		kong.Name("target"),
		kong.Description("A server for black-box suites: Engine.IO, WebSocket and HTTP echoes."),
		kong.Writers(stdout, stderr),
	)
	if _, err := parser.Parse(args); err != nil {
		fmt.Fprintf(stderr, "target: %v (see target --help)\n", err)
		return exitUsage
	}
	if f.Mount != mountOwn {
		return runMounted(&f, stdout, stderr)
	}
	reactor, err := open(&f)
	if err != nil {
		fmt.Fprintf(stderr, "target: %v\n", err)
		return exitUsage
	}
	if err := serve(reactor, f.Addr, stdout); err != nil {
		fmt.Fprintf(stderr, "target: %v\n", err)
		return exitFailed
	}
	return 0
}

func runMounted(f *flags, stdout, stderr io.Writer) int {
	server, err := newEngine(f)
	if err != nil {
		fmt.Fprintf(stderr, "target: %v\n", err)
		return exitUsage
	}
	if err := serveMounted(f, server, stdout); err != nil {
		fmt.Fprintf(stderr, "target: %v\n", err)
		return exitFailed
	}
	return 0
}

// A target is what all its connections share.
type target struct {
	engine  *engine.Server
	path    []byte           // of Engine.IO, with a slash at its end
	heads   httpparse.Limits // the defaults, as the engine's
	frames  wsframe.Limits
	deflate *wsframe.Deflate // nil without compression
	workers []worker         // one for each loop, by its index
	maxBody int
}

// A worker is what the WebSockets of one loop share.
type worker struct {
	compressor wsframe.Compressor
	inflater   wsframe.Decompressor
}

// tick is exact enough for the short heartbeats that suites ask for, 200 ms.
const tick = 10 * time.Millisecond

// open makes the target's loops.
func open(f *flags) (*loop.Reactor, error) {
	if f.MaxMessage < 1 || f.MaxFragments < 1 || f.MaxBody < 1 {
		return nil, errors.New("a limit is below 1")
	}
	server, err := newEngine(f)
	if err != nil {
		return nil, err
	}
	t := &target{
		engine:  server,
		path:    []byte(strings.TrimSuffix(f.Path, "/") + "/"),
		frames:  wsframe.Limits{Message: f.MaxMessage, Fragments: f.MaxFragments},
		maxBody: f.MaxBody,
	}
	if takeover := f.Deflate == "takeover"; takeover || f.Deflate == "on" {
		t.deflate = &wsframe.Deflate{ContextTakeover: takeover, ClientContextTakeover: takeover}
	}
	accept := t.accept
	if f.TLSCert != "" || f.TLSKey != "" {
		if accept, err = overTLS(f, accept); err != nil {
			return nil, err
		}
	}
	reactor, err := loop.Open(loop.Options{Loops: f.Loops, Tick: tick}, accept)
	if err != nil {
		return nil, err
	}
	t.workers = make([]worker, len(reactor.Loops()))
	server.Driver().UseLoops(reactor.Loops())
	return reactor, nil
}

// overTLS has TLS on all connections before accept takes them.
func overTLS(f *flags, accept func(*loop.Conn) loop.Handler) (func(*loop.Conn) loop.Handler, error) {
	pair, err := tls.LoadX509KeyPair(f.TLSCert, f.TLSKey)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	return loop.NewTLS(loop.TLSOptions{Config: config}).Accept(accept), nil
}

// newEngine makes the Engine.IO echo.
func newEngine(f *flags) (*engine.Server, error) {
	var executor engine.Executor
	if f.Executor > 0 {
		executor = engine.NewExecutor(f.Executor)
	}
	return engine.New(
		engine.Options{
			Path:         f.Path,
			PingInterval: f.PingInterval,
			PingTimeout:  f.PingTimeout,
			MaxPayload:   f.MaxPayload,
			Loops:        f.Loops, // where it has its own
			Executor:     executor,
			Limits:       engine.Limits{MaxSessions: 10_000_000}, // benchmarks of handshakes leave theirs to the heartbeat
		},
		engine.Events{Message: func(s *engine.Session, m engine.Message) {
			_ = s.Send(m) // an echo that does not fit closes the session
		}},
	)
}

// accept takes a new connection: all begin with HTTP.
func (t *target) accept(c *loop.Conn) loop.Handler { return &httpConn{target: t, conn: c} }

// serve runs the reactor until a signal ends it. Nothing is drained.
func serve(reactor *loop.Reactor, address string, stdout io.Writer) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	listener, err := net.Listen("tcp", address)
	if err != nil {
		reactor.Stop()
		return err
	}
	ready := fmt.Sprintf("target: listening on %s", listener.Addr())
	if err := reactor.Listen(listener, nil); err != nil {
		reactor.Stop()
		return err
	}
	served := make(chan error, 1)
	go func() { served <- reactor.Serve() }()
	fmt.Fprintln(stdout, ready)

	select {
	case err := <-served:
		return err
	case <-signals:
	}
	reactor.Stop()
	return <-served
}
