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
	"slices"
	"strings"
	"syscall"
	"time"

	"turbine/engine"

	"github.com/alecthomas/kong"
	"github.com/coreos/go-systemd/v22/daemon"
)

// Extra is what a main package adds to the program.
type Extra struct {
	Version string // what --version says, unless the build knows one: see buildVersion
}

// Exit codes.
const (
	exitFailed = 1 // it could not serve
	exitUsage  = 2 // the command line makes no sense
)

type flags struct {
	Addr            []string         `default:":3000" placeholder:"ADDRESS" help:"Addresses to listen on: host:port, or unix:PATH for a Unix socket. More than one comma-separated, or the flag again."`
	Path            string           `default:"/engine.io/" help:"Path that Engine.IO is served under."`
	PingInterval    time.Duration    `default:"25s" help:"How often a client is pinged."`
	PingTimeout     time.Duration    `default:"20s" help:"How long the answer to a ping may take."`
	UpgradeTimeout  time.Duration    `default:"10s" help:"How long the switch to WebSocket may take."`
	MaxPayload      int              `default:"1000000" help:"Limit of a request body and of a WebSocket message, in bytes."`
	MaxQueue        int              `default:"8388608" help:"Limit of what waits for a client that does not read, in bytes; above, its session is closed."`
	QueueBudget     int64            `default:"0" help:"Limit of what waits for all clients together, in bytes; 0 means 1 GiB, or a quarter of GOMEMLIMIT if that is less."`
	Transports      []string         `default:"polling,websocket" enum:"polling,websocket" help:"Transports that clients may use."`
	Revisions       []int            `default:"4,3" help:"Protocol revisions that clients may speak: 4, 3."`
	Loops           int              `default:"0" help:"Number of event loops; 0 means one for each CPU."`
	Origin          []string         `placeholder:"ORIGIN" help:"Origins whose pages may connect beside the server's own, such as https://example.com. Pages of others are refused. None by default."`
	AnyOrigin       bool             `help:"Let pages of every origin connect, with the cookies of who looks at them."`
	BindIP          bool             `name:"bind-ip" help:"Take each request of a session only from the IP address that it began on; with IPv6 from its /64."`
	CORSOrigin      []string         `name:"cors-origin" placeholder:"ORIGIN" help:"Origins whose pages may connect and poll from elsewhere; * for any, which includes --any-origin. None by default."`
	CORSCredentials bool             `name:"cors-credentials" help:"Let those pages send cookies."`
	Cookie          string           `placeholder:"NAME" help:"Set a cookie of this name with the session id, for load balancers. None by default."`
	Compression     bool             `default:"true" negatable:"" help:"Compress responses to polls of 1,024 bytes and more."`
	Deflate         bool             `help:"Compress WebSocket messages of 1,024 bytes and more (permessage-deflate)."`
	InitialPacket   string           `placeholder:"TEXT" help:"Message that every session gets with its handshake."`
	App             string           `default:"echo" enum:"echo,broadcast" help:"What to do with a message: echo sends it back as it came, broadcast sends it to every session."`
	HealthPath      string           `placeholder:"PATH" help:"Answer health checks: PATH says 200, or 503 while draining; PATH/live says 200. None by default."`
	DrainDelay      time.Duration    `default:"0s" help:"How long after SIGINT or SIGTERM the first session is closed; health checks and new clients are told 503 meanwhile."`
	DrainPeriod     time.Duration    `default:"0s" help:"How long it then takes to close the sessions, each at a random moment; 0 means a second for every 10,000."`
	DrainTimeout    time.Duration    `default:"8s" help:"How long sessions may take to end after SIGINT or SIGTERM, delay and period included."`
	PidFile         string           `placeholder:"FILE" help:"Write the process id there when ready, as that of each process that takes over, and remove it at the end. If it cannot be written the server does not start."`
	SlowCallback    time.Duration    `default:"20ms" help:"Tell of callbacks that hold up an event loop for longer; a negative time switches that off."`
	LogLevel        slog.Level       `default:"info" help:"Least level of what is logged: debug, info, warn, error."`
	Version         kong.VersionFlag `env:"-" help:"Print the version and exit."`

	listenFlags `group:"Listening:"`
	tlsFlags    `group:"TLS:"`
	limitFlags  `group:"Limits:"`
}

// Run runs the program with the arguments of a command line, without the name of
// the program in front, until a signal ends it. It returns the exit code. It is
// called once, by main, and first of all: it sets slog's default, what becomes of
// signals, and the limits of the collector.
func Run(args []string, stdout, stderr io.Writer, extra Extra) int {
	asked := hearSignals()
	var f flags
	parser := kong.Must(&f,
		kong.Name("turbine"),
		kong.Description("An Engine.IO server on an event loop. Every flag can also be set by the environment variable shown with it. DEBUG=engine* logs what clients do, by scope: engine, engine:socket, engine:transport, engine:polling, engine:ws."),
		kong.DefaultEnvars("TURBINE"),
		kong.Vars{"version": "turbine " + buildVersion(extra.Version)},
		kong.Writers(stdout, stderr),
	)
	if _, err := parser.Parse(args); err != nil {
		fmt.Fprintf(stderr, "turbine: %v (see turbine --help)\n", err)
		return exitUsage
	}
	logs := newLogWriter(stderr)
	defer logs.flush()
	words := newWording(parser.Model.Flags)
	slog.SetDefault(slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: f.LogLevel, ReplaceAttr: words.attr})))
	warnOfVariables(os.Environ(), parser.Model.Flags)
	if err := limitMemory(); err != nil {
		slog.Warn("no memory limit is set", "error", err)
	}
	debug := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))

	server, err := newServer(&f, debugScopes(os.Getenv("DEBUG"), debug))
	if err != nil {
		fmt.Fprintf(stderr, "turbine: %s\n", words.usage(err))
		return exitUsage
	}
	if err := serve(server, &f, asked, stdout); err != nil {
		fmt.Fprintf(stderr, "turbine: %v\n", err)
		return exitFailed
	}
	return 0
}

// unreleased is the version of a main package that no release has set.
const unreleased = "development"

// buildVersion is the version, or what the go command has noted if that is not
// set.
func buildVersion(version string) string {
	if info, ok := debug.ReadBuildInfo(); ok && version == unreleased && info.Main.Version != "" {
		return info.Main.Version
	}
	return version
}

func newServer(f *flags, debug func(string) *slog.Logger) (*engine.Server, error) {
	o := engine.Options{
		Path:           f.Path,
		PingInterval:   f.PingInterval,
		PingTimeout:    f.PingTimeout,
		UpgradeTimeout: f.UpgradeTimeout,
		MaxPayload:     f.MaxPayload,
		MaxQueue:       f.MaxQueue,
		QueueBudget:    f.QueueBudget,
		Loops:          f.Loops,
		HealthPath:     f.HealthPath,
		DrainDelay:     f.DrainDelay,
		DrainPeriod:    f.DrainPeriod,
		SlowCallback:   f.SlowCallback,
		Compression:    engine.Compression{Off: !f.Compression},
		Origins:        f.Origin,
		AnyOrigin:      f.AnyOrigin,
		Debug:          debug,
	}
	if err := f.apply(&o); err != nil {
		return nil, err
	}
	if err := f.applyListening(&o); err != nil {
		return nil, err
	}
	if err := f.applyTLS(&o); err != nil {
		return nil, err
	}
	if f.BindIP {
		o.Bind = engine.BindIP
	}
	if len(f.CORSOrigin) > 0 {
		o.CORS = &engine.CORS{Origins: f.CORSOrigin, Credentials: f.CORSCredentials}
	}
	if f.DrainDelay+f.DrainPeriod > f.DrainTimeout {
		return nil, fmt.Errorf("--drain-timeout: %v is not enough for a delay of %v and a period of %v", f.DrainTimeout, f.DrainDelay, f.DrainPeriod)
	}
	if f.Cookie != "" {
		o.Cookie = &engine.Cookie{Name: f.Cookie}
	}
	if f.Deflate {
		o.PerMessageDeflate = &engine.PerMessageDeflate{}
	}
	if f.InitialPacket != "" {
		o.InitialPacket = &engine.Message{Data: []byte(f.InitialPacket)}
	}
	if err := f.applyProtocol(&o); err != nil {
		return nil, err
	}
	var server *engine.Server
	events := engine.Events{Message: func(s *engine.Session, m engine.Message) {
		_ = s.Send(m) // an echo that does not fit closes the session, by Options.Overflow
	}}
	if f.App == "broadcast" {
		events.Message = func(_ *engine.Session, m engine.Message) {
			p, _ := engine.Prepare(m) // what came from a client can be sent
			server.Broadcast(p)
		}
	}
	server, err := engine.New(o, events)
	return server, err
}

// applyProtocol says what clients may speak.
func (f *flags) applyProtocol(o *engine.Options) error {
	for _, name := range f.Transports {
		switch name {
		case "polling":
			o.Transports = append(o.Transports, engine.Polling)
		case "websocket":
			o.Transports = append(o.Transports, engine.WebSocket)
		}
	}
	for _, r := range f.Revisions {
		if r != int(engine.Revision3) && r != int(engine.Revision4) {
			return fmt.Errorf("--revisions: %d is not a protocol revision; there are 3 and 4", r)
		}
		o.Revisions = append(o.Revisions, engine.Revision(r))
	}
	return nil
}

// serve runs the server until a signal ends it.
func serve(server *engine.Server, f *flags, asked askSignals, stdout io.Writer) error {
	limit, sessions, err := engine.RaiseDescriptorLimit(f.Loops)
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
	places, err := process.listen(&f.listenFlags, f.addresses())
	if err != nil {
		return err
	}
	if err := f.markTLS(places); err != nil {
		closeAll(places)
		return err
	}
	if err := process.pid.write(); err != nil { // a supervisor would wait for the file forever
		closeAll(places)
		return err
	}
	defer logFigures(server, asked.figures)()
	defer watchCerts(server, f.files(), asked.reload)()

	if f.AnyOrigin || slices.Contains(f.CORSOrigin, "*") {
		slog.Warn("pages of every origin may connect, with the cookies of who looks at them")
	}
	ready := readyLine(places, f.Loops, limit, sessions)
	for _, p := range places {
		p.own(true)
	}
	served := serveAll(server, places)
	fmt.Fprintln(stdout, ready)
	process.ready(asked.replace)

	select {
	case err := <-served:
		server.StopAccepting() // the others, which removes what is in the file system
		return err
	case <-process.replaced():
		handOver(server, places, signals)
	case <-signals:
		process.stop()
		notify(daemon.SdNotifyStopping)
	}
	return drain(server, f.DrainTimeout, signals, served)
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
	}
	return fmt.Sprintf("turbine: listening on %s with %s (descriptor limit %d, room for %d sessions)",
		strings.Join(names, ", "), plural(engine.LoopCount(loops), "loop"), limit, sessions)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// drain closes all sessions in good order. A second signal ends it at once.
func drain(server *engine.Server, timeout time.Duration, signals <-chan os.Signal, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	slog.Info("draining; a second signal ends at once", "sessions", server.Stats().Sessions)
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		slog.Warn("not all sessions ended in time", "after", timeout)
	}
	if err := <-served; err != nil && !errors.Is(err, engine.ErrServerClosed) {
		return err
	}
	return nil
}
