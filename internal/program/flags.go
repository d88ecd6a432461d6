package program

import (
	"fmt"
	"sync/atomic"
	"time"

	"turbine/engine"

	"github.com/alecthomas/kong"
)

// flags are all flags of the program, in the groups that --help and docs/flags.md
// show. The help text of a flag is the only place where it is described. It says,
// in this order: what the flag limits or does, in which unit, what happens when
// the limit is reached, and what zero means.
type flags struct {
	configFlags   `group:"Configuration"`
	listenFlags   `group:"Listening"`
	protocolFlags `group:"Protocol"`
	appFlags      `group:"Application"`
	accessFlags   `group:"Access"`
	proxyFlags    `group:"Proxies"`
	tlsFlags      `group:"TLS"`
	queueFlags    `group:"Queues"`
	limitFlags    `group:"Limits"`
	timeoutFlags  `group:"Timeouts"`
	drainFlags    `group:"Stopping"`
	logFlags      `group:"Logs"`
	opsFlags      `group:"Operations"`
	clusterFlags  `group:"Cluster"`
	processFlags  `group:"Process"`
}

// description is what --help says before the flags.
const description = "An Engine.IO server on an event loop. " +
	"Every flag can also be set by the environment variable shown with it, and by the file of --config. The environment wins over the file, and a flag on the command line over both. " +
	"A flag that takes several values takes them comma-separated, or is given once for each. " +
	"Where the text of a flag does not say what 0 means, 0 means the default. " +
	"A negative value is given behind an equals sign: --slow-callback=-1s. " +
	"DEBUG=engine* in the environment logs what clients do, by scope: engine, engine:socket, engine:transport, engine:polling, engine:ws."

// options are those of the engine.
func (f *flags) options() (o engine.Options, err error) {
	for _, group := range []interface{ apply(o *engine.Options) error }{
		&f.listenFlags, &f.protocolFlags, &f.appFlags, &f.accessFlags, &f.proxyFlags, &f.tlsFlags, &f.queueFlags,
		&f.limitFlags, &f.timeoutFlags, &f.drainFlags, &f.opsFlags, &f.clusterFlags, &f.processFlags,
	} {
		if err := group.apply(&o); err != nil {
			return o, err
		}
	}
	return o, nil
}

// configFlags say where settings are in addition to the command line and the environment.
type configFlags struct {
	Config string `placeholder:"FILE" help:"Configuration file in YAML, whose keys are the names of flags. A key that is no flag's, and a value of the wrong kind, keep the server from starting. The file is read again on SIGHUP and when it changes. None by default."`
}

// protocolFlags say what is spoken.
type protocolFlags struct {
	Path          string        `default:"/engine.io/" help:"Path that Engine.IO is served under. Any other path, except that of --health-path, is answered with 501."`
	Transports    []string      `default:"polling,websocket" enum:"polling,websocket" help:"Transports that clients may use: polling, websocket."`
	Revisions     []int         `default:"4,3" help:"Protocol revisions that clients may speak: 4, 3."`
	PingInterval  time.Duration `default:"25s" help:"Time between two pings of a client."`
	PingTimeout   time.Duration `default:"20s" help:"Time for the answer to a ping. A session whose client does not answer in time is closed, so a vanished client is noticed after both times."`
	MaxPayload    int           `default:"1000000" help:"Limit of a request body and of a WebSocket message, in bytes, at most 1 GiB. A larger body is refused with 413, a larger message closes its session."`
	InitialPacket string        `placeholder:"TEXT" help:"Text of a message that every session gets with its handshake."`
	Compression   bool          `default:"true" negatable:"" help:"Compress responses to polls of 1,024 bytes and more."`
	Deflate       bool          `help:"Compress WebSocket messages of 1,024 bytes and more (permessage-deflate)."`
	Cookie        string        `placeholder:"NAME" help:"Name of a cookie with the session id, for load balancers. None by default."`
}

func (f *protocolFlags) apply(o *engine.Options) error {
	o.Path = f.Path
	o.PingInterval = f.PingInterval
	o.PingTimeout = f.PingTimeout
	o.MaxPayload = f.MaxPayload
	if !f.Compression {
		o.CompressionThreshold = -1
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

// appFlags say what the program does with messages and checks.
type appFlags struct {
	App        string `default:"echo" enum:"echo,broadcast" help:"What to do with a message: echo sends it back unchanged, broadcast sends it to every session."`
	HealthPath string `placeholder:"PATH" help:"Path of health checks: PATH is answered with 200, or with 503 while the server drains; PATH/live is always answered with 200. None by default."`
}

func (f *appFlags) apply(o *engine.Options) error {
	o.HealthPath = f.HealthPath
	return nil
}

// drainFlags say how the program ends.
type drainFlags struct {
	DrainDelay   time.Duration `default:"0s" help:"Time from SIGINT or SIGTERM until the first session is closed. Health checks and new clients are answered with 503 meanwhile. 0 means no delay."`
	DrainPeriod  time.Duration `default:"0s" help:"Time in which the sessions are then closed, each at a random moment. 0 means a second for every 10,000 sessions."`
	DrainTimeout time.Duration `default:"8s" help:"Time for all sessions to end after SIGINT or SIGTERM, delay and period included. Sessions that are left then are cut off. 0 cuts all of them off at once."`
}

func (f *drainFlags) apply(o *engine.Options) error {
	if f.DrainDelay+f.DrainPeriod > f.DrainTimeout {
		return fmt.Errorf("--drain-timeout: %v is not enough for a delay of %v and a period of %v", f.DrainTimeout, f.DrainDelay, f.DrainPeriod)
	}
	o.Drain.Delay = f.DrainDelay
	o.Drain.Period = f.DrainPeriod
	return nil
}

// change brings the flags into a server that runs, and into timeout that of its drain,
// in nanoseconds.
func (f *drainFlags) change(server *engine.Server, timeout *atomic.Int64) error {
	var o engine.Options
	if err := f.apply(&o); err != nil {
		return err
	}
	if err := server.SetDrain(o.Drain); err != nil {
		return err
	}
	timeout.Store(int64(f.DrainTimeout))
	return nil
}

// processFlags are those of the process as a whole.
type processFlags struct {
	Loops   int              `default:"0" help:"Number of event loops. 0 means one for each CPU."`
	PidFile string           `placeholder:"FILE" help:"File for the process id, also for that of each process that takes over. It is removed when the last one ends. If it cannot be written, the server does not start."`
	Version kong.VersionFlag `env:"-" help:"Print the version and exit."`
}

func (f *processFlags) apply(o *engine.Options) error {
	o.Loops = f.Loops
	return nil
}
