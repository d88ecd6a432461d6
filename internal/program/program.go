// Package program is what the command turbine does: its flags, listeners,
// certificates, limits, logs, memory, signals and restart, around package engine.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"turbine/engine"
	"turbine/engine/ops"
	"turbine/loop"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Extra is what a main package adds to the program.
type Extra struct {
	Version string // of a release; unreleased otherwise
	Commit  string // that the release is made of
}

// Exit codes.
const (
	exitFailed = 1 // it could not serve
	exitUsage  = 2 // the command line or the configuration file makes no sense, or a TLS file that it names cannot be used
)

// Run runs the program with the arguments of a command line, without the name of
// the program in front, until a signal ends it. It returns the exit code. It is
// called once, by main, and first of all: it sets slog's default, what becomes of
// signals, and the limits of the collector.
func Run(args []string, stdout, stderr io.Writer, extra Extra) int {
	asked := hearSignals()
	extra = extra.noted()
	version := extra.text()
	s, err := readSettings(args, version, stdout, stderr)
	if err != nil {
		return refuse(stderr, err)
	}
	if code, done := s.beside(stdout, stderr); done {
		return code
	}
	again := func() (*settings, error) { return readSettings(args, version, io.Discard, io.Discard) }
	return run(s, again, extra, asked, stdout, stderr)
}

// refuse says what the command line, the environment or the configuration file is to
// blame for.
func refuse(stderr io.Writer, err error) int {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "turbine: %s\n", line)
	}
	return exitUsage
}

// run serves with the settings, which again reads once more.
func run(s *settings, again func() (*settings, error), release Extra, asked askSignals, stdout, stderr io.Writer) int {
	f := s.flags
	logs := newLogging(stderr, &f.logFlags, s.words)
	defer logs.writer.flush()
	slog.SetDefault(logs.logger)
	warnOfVariables(slog.Default(), os.Environ(), s.list)
	if err := limitMemory(); err != nil {
		slog.Warn("no memory limit is set", "error", err)
	}
	sessions := newSessionLog(logs.logger, f)
	defer sessions.end()

	pattern := os.Getenv("DEBUG")
	n, err := newNode(f, release.Version)
	if err != nil {
		fmt.Fprintf(stderr, "turbine: %s\n", s.explain(err))
		return exitUsage
	}
	server, err := newServer(f, n, debugScopes(pattern, logs.debug), sessions)
	if err != nil {
		fmt.Fprintf(stderr, "turbine: %s\n", s.explain(err))
		return exitUsage
	}
	operations, err := newOperations(&f.opsFlags, s.source["ops-addr"] != byDefault, ops.Options{
		Server: server, Node: f.aloneName(), Cluster: n.shown(), Version: release.Version, Commit: release.Commit,
		LogLevel: levelSetting{logs}, Debug: &debugSetting{server: server, logger: logs.debug, pattern: pattern},
	})
	if err != nil {
		fmt.Fprintf(stderr, "turbine: %s\n", s.explain(err))
		return exitUsage
	}
	r := &running{server: server, logs: logs, sessions: sessions}
	r.drainTimeout.Store(int64(f.DrainTimeout))
	// That of TLS is the first, because what is wrong there shows when it is used.
	sets := []*watched{tlsFiles(server, f.files()), operations.watched(), newReload(s, again, r.live()...).configFile()}
	err = serve(server, n, f, &r.drainTimeout, operations, asked, stdout, sets...)
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(usageError)):
		fmt.Fprintf(stderr, "turbine: %s\n", s.explain(err))
		return exitUsage
	}
	fmt.Fprintf(stderr, "turbine: %v\n", err)
	return exitFailed
}

// A usageError is one that the settings are to blame for, found while the server starts.
type usageError struct{ error }

// newServer is the server that the flags ask for. The error is for whoever wrote
// the command line. sessions may be nil.
func newServer(f *flags, n *node, debug func(string) *slog.Logger, sessions *sessionLog) (*engine.Server, error) {
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	o.Debug = debug
	n.options(&o)
	var server *engine.Server
	events := engine.Events{Message: func(s *engine.Session, m engine.Message) {
		_ = s.Send(m) // an echo that does not fit closes the session, by Options.Queue.Overflow
	}}
	if f.App == "broadcast" {
		events.Message = func(_ *engine.Session, m engine.Message) {
			p, _ := engine.Prepare(m) // what came from a client can be sent
			_ = server.Broadcast(p)
		}
	}
	server, err = engine.New(o, sessions.around(events))
	return server, err
}

// serve runs the server until a signal ends it, and reads the sets of files again.
// drainTimeout is --drain-timeout in nanoseconds, which may change meanwhile.
func serve(server *engine.Server, n *node, f *flags, drainTimeout *atomic.Int64, operations *operations, asked askSignals, stdout io.Writer, sets ...*watched) error {
	limit, err := loop.RaiseDescriptorLimit()
	if err != nil {
		return err
	}
	sessions, err := loop.DefaultMaxConns(f.Loops) // a WebSocket session is a connection
	if err != nil {
		return err
	}
	if sessions < 1 {
		return fmt.Errorf("the descriptor limit of %d leaves no room for sessions; raise it (ulimit -n)", limit)
	}
	if f.MaxConns > 0 {
		sessions = min(sessions, f.MaxConns)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	process, err := newProcess(pidFile(f.PidFile))
	if err != nil {
		return err
	}
	defer process.end()
	places, err := process.listen(f, f.addresses())
	if err != nil {
		return err
	}
	if err := f.markTLS(places); err != nil {
		closeAll(places)
		return err
	}
	if err := operations.listen(process, places); err != nil {
		closeAll(places)
		return err
	}
	defer operations.end()
	if err := process.pid.write(); err != nil { // a supervisor would wait for the file forever
		closeAll(places)
		return err
	}
	defer logFigures(server, asked.figures)()
	defer watchFiles(asked.reload, sets...)()

	f.warn()
	debug.FreeOSMemory() // a quarter of an idle server's heap is what its start has used
	ready := readyLine(places, f.Loops, limit, sessions)
	for _, p := range places {
		p.own(true)
	}
	operations.serve()
	if err := n.join(server, f.nodeName(places), signals, operations.asked); err != nil {
		closeAll(places)
		_ = server.Close()
		if errors.Is(err, errStopped) {
			return nil
		}
		return fmt.Errorf("cannot join the cluster: %w", err)
	}
	served := serveAll(server, places)
	fmt.Fprintln(stdout, ready)
	process.free = n.handOver
	process.ready(asked.replace)

	joins := 0
	select {
	case err := <-served:
		server.StopAccepting() // the others, which removes what is in the file system
		return err
	case <-process.replaced():
		operations.handOver()
		handOver(server, places, signals)
	case <-operations.asked:
		joins = 1 // a hook asks for a drain, and then the supervisor sends SIGTERM
		process.stop()
		notify(daemon.SdNotifyStopping)
	case <-signals:
		process.stop()
		notify(daemon.SdNotifyStopping)
	}
	return drain(server, n, time.Duration(drainTimeout.Load()), signals, joins, served)
}

// serveAll serves clients of all places. The channel says when one of them is
// over, and why: the server has ended, or that place cannot be served.
func serveAll(server *engine.Server, places []*place) <-chan error {
	served := make(chan error, len(places))
	for _, p := range places {
		go func() { served <- p.serve(server) }()
	}
	return served
}

func readyLine(places []*place, loops int, limit uint64, sessions int) string {
	names := make([]string, len(places))
	for i, p := range places {
		names[i] = p.String()
		if p.tls {
			names[i] += " (TLS)"
		}
		if p.proxy {
			names[i] += " (PROXY protocol)"
		}
	}
	return fmt.Sprintf("turbine: listening on %s with %s (descriptor limit %d, room for %d sessions)",
		strings.Join(names, ", "), plural(loop.LoopCount(loops), "loop"), limit, sessions)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// drain closes all sessions in good order. A signal ends it at once, after as many that
// only join it.
func drain(server *engine.Server, n *node, timeout time.Duration, signals <-chan os.Signal, joins int, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	began, left := time.Now(), 0
	go func() {
		for {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			if joins == 0 {
				left = server.Stats().Sessions
				cancel()
				return
			}
			joins--
			slog.Info("already draining; another signal ends at once")
		}
	}()
	slog.Info("draining; a second signal ends at once", "sessions", server.Stats().Sessions)
	gone := n.leave(ctx)
	err := server.Shutdown(ctx)
	<-gone
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		slog.Warn("not all sessions ended in time", "after", timeout)
	case errors.Is(err, context.Canceled):
		slog.Warn("ended by a second signal", "after", time.Since(began).Round(time.Millisecond), "sessions", left)
	}
	if err := <-served; err != nil && !errors.Is(err, engine.ErrServerClosed) {
		return err
	}
	return nil
}
