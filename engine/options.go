package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"turbine/engine/packet"
	"turbine/internal/peers"
	"turbine/loop"
)

// Revision is a revision of the Engine.IO protocol: 4, or 3 which
// socket.io 1 and 2 speak.
type Revision = packet.Revision

// The revisions.
const (
	Revision3 = packet.Revision3
	Revision4 = packet.Revision4
)

// Transport is a way to carry packets.
type Transport uint8

// The transports.
const (
	Polling Transport = iota + 1
	WebSocket
)

// String is the transport's name in the protocol.
func (t Transport) String() string {
	switch t {
	case Polling:
		return "polling"
	case WebSocket:
		return "websocket"
	}
	return "unknown"
}

// Options of a Server. The zero value of each field is its default.
type Options struct {
	// Path is the prefix of the request targets that are Engine.IO. Zero
	// means "/engine.io/".
	Path string
	// PingInterval is how often the server pings a revision 4 client, and how
	// often a revision 3 client is told to ping. Zero means 25 seconds.
	// Shorten it behind a proxy that cuts idle connections earlier.
	PingInterval time.Duration
	// PingTimeout is how long the answer to a ping may take before the
	// session is closed. Zero means 20 seconds.
	PingTimeout time.Duration
	// UpgradeTimeout is how long a WebSocket may take, from its opening, to
	// become a session's transport. Zero means 10 seconds.
	UpgradeTimeout time.Duration
	// MaxPayload is the limit in bytes of one request body and of one
	// WebSocket message from a client, and what a response to a poll is
	// filled up to. Zero means 1,000,000.
	MaxPayload int
	// MaxPayloadPackets is the limit of packets in one request body. One with
	// more ends its session as one that cannot be decoded. Zero means 16,384.
	MaxPayloadPackets int
	// MaxFragments is the limit of fragments of one WebSocket message. Zero
	// means 16,384.
	MaxFragments int
	// BodyBudget is the limit in bytes of what has come of request bodies that
	// are not complete, of all connections together. Each loop has an equal
	// share, of at least MaxPayload. Beyond, a body is refused with 503 and its
	// session closed. Zero means 256 MiB, or a sixteenth of Go's memory limit
	// (GOMEMLIMIT) if that is less.
	BodyBudget int64
	// MaxQueue is the limit in bytes of what a session keeps for a client
	// that does not take it, with 128 bytes for each message beside its data,
	// and on WebSocket the head of its frame;
	// beyond, Send returns ErrQueueFull and Overflow says what becomes of the
	// session. A message alone always fits. Zero means 8 MiB.
	MaxQueue int
	// MaxQueuePackets is the same limit in packets. Zero means 16,384.
	MaxQueuePackets int
	// QueueBudget is the limit in bytes of what all sessions together keep,
	// counted as for MaxQueue, with what the operating system has not taken
	// yet from connections. Each loop has an equal share. Beyond, Send returns
	// ErrBudget, but for sessions with less than 16 KiB waiting and a connection
	// that takes what it is given, as long as an eighth more lasts: who reads is
	// not disturbed by who does not. Then, too, connections of polling clients,
	// and closing ones, are cut if 16 KiB are unsent. Zero means 1 GiB, or a
	// quarter of Go's memory limit (GOMEMLIMIT) if that is less.
	QueueBudget int64
	// Overflow is what happens to a session that a message does not fit in.
	// Zero means OverflowClose.
	Overflow Overflow
	// HighWater is the number of bytes waiting, counted as for MaxQueue, at
	// which Events.HighWater is called. Zero means a quarter of MaxQueue.
	HighWater int
	// LowWater is the number of bytes at which Events.LowWater is called
	// after that. Zero means a quarter of HighWater.
	LowWater int
	// Transports are those that clients may use. Empty means both.
	Transports []Transport
	// NoTrailingSlash takes Path without the slash that it ends with otherwise:
	// "/engine.io" then begins "/engine.io?EIO=4" and "/engine.iox", too.
	NoTrailingSlash bool
	// ForeignUpgradeTimeout is how long an upgrade request for another path
	// stays open before it is ended without an answer. Zero means 1 second.
	ForeignUpgradeTimeout time.Duration
	// KeepForeignUpgrades leaves such requests open for IdleTimeout.
	KeepForeignUpgrades bool
	// Origins are those whose pages may talk to the server beside its own and
	// those that CORS allows: "https://example.com", with a port unless it is
	// the scheme's own, without a path, in lower case. All other pages are
	// refused with 403, be it WebSocket or polling: a request whose Origin has
	// another host or port than its Host. A proxy in front has to pass Host on,
	// or the public origin has to be here. "null", the Origin of sandboxed
	// pages, is another origin. A request without Origin is from no browser and
	// is let in, or from a script element: those of pages from elsewhere, also
	// listed ones, are refused where the browser says so by Sec-Fetch-Site,
	// over TLS and to localhost.
	//
	// To poll, a page from elsewhere needs CORS, too: for it that is enough.
	Origins []string
	// AnyOrigin lets pages of every origin in. Every page on the Web may then
	// open a session with the cookies of who looks at it and act in the name of
	// that person: only for servers to which a cookie means nothing.
	AnyOrigin bool
	// Bind says, for each request of a session, polls, posts and the upgrade,
	// what must be as it was at the handshake: credentials, an address; else
	// the request is refused with 403, and the session stays as it is. So an id
	// that was stolen is of no use alone. BindIP, BindHeader and BindCookie are
	// ready to use; for more than one, join what they return. r is borrowed. It
	// runs on the loop of the connection, for several at the same time, and
	// must not block. Nil asks for nothing but the id.
	Bind func(r *Request) string
	// CORS answers pages from other origins, and lets them in. Nil means that
	// browsers keep them from polling.
	CORS *CORS
	// Cookie carries the session id, for load balancers that keep clients with
	// their server. Nil means none.
	Cookie *Cookie
	// InitialPacket is a message that every session gets with its handshake.
	InitialPacket *Message
	// Compression is about responses to polls, of gzip or deflate as the
	// client accepts. On unless switched off.
	Compression Compression
	// PerMessageDeflate compresses WebSocket messages. Nil means off.
	PerMessageDeflate *PerMessageDeflate
	// GenerateID makes the id of a new session from its request, which is
	// borrowed. It must be hard to guess, not empty and not in use, or the
	// client is refused with error 3, as it is when an error is returned. It
	// must not block; who has to ask elsewhere uses Events.Admit with
	// Request.Later and Verdict.SetID. Nil means 128 random bits.
	GenerateID func(r *Request) (string, error)
	// AdmitTimeout is how long a client waits for a Verdict before it is told
	// 503. Zero means 10 seconds.
	AdmitTimeout time.Duration
	// MaxAdmitting is the limit of clients that wait for a Verdict; more are
	// told 503 at once. Each loop has its share, rounded up. Zero means 10,000.
	MaxAdmitting int
	// Middleware are standard middlewares, the first one outermost, that see
	// every request for Path before the server does: those that add header
	// fields, set cookies or answer themselves. They run on the event loop and
	// must not block; the request they see has no body.
	Middleware []func(http.Handler) http.Handler
	// NoUpgrades forbids the switch from polling to WebSocket.
	NoUpgrades bool
	// Revisions are the protocol revisions that clients may speak. Empty
	// means 4 and 3.
	Revisions []Revision
	// HeaderTimeout is how long a client may take to send the head of a
	// request from its first byte on. Zero means 10 seconds.
	HeaderTimeout time.Duration
	// BodyTimeout is how long a client may take to send a request's body.
	// Zero means 30 seconds.
	BodyTimeout time.Duration
	// MaxRequestLine is the limit in bytes of a request line. Zero means 8,192.
	MaxRequestLine int
	// MaxHeaderBytes is the limit in bytes of the header fields of a request,
	// at most 1 MiB. Zero means 16,384. Raise it for proxies that add much, or
	// pages with many cookies.
	MaxHeaderBytes int
	// MaxHeaders is the limit of their number. Zero means 100.
	MaxHeaders int
	// MaxPipelined is the limit in bytes of what a client may send ahead while
	// it waits for a response; beyond, its connection is aborted. Zero means
	// 64 KiB.
	MaxPipelined int
	// IdleTimeout is how long a kept-alive connection may wait for its next
	// request, and a new one for its first. Zero means 60 seconds.
	IdleTimeout time.Duration
	// CloseTimeout is how long a closing session waits for the client to take
	// what is queued for it. Zero means 30 seconds.
	CloseTimeout time.Duration
	// DrainDelay is how long Shutdown waits, from when health checks and new
	// clients are told 503 on, before it closes the first session: time for
	// load balancers to notice. Zero means none.
	DrainDelay time.Duration
	// DrainPeriod is how long Shutdown takes, after DrainDelay, to close the
	// sessions, each at a random moment of it: so their clients do not come
	// back all at once. Zero means a second for every 10,000 sessions.
	DrainPeriod time.Duration
	// HealthPath is a path with answers for load balancers and supervisors, not
	// below Path: HealthPath itself says whether clients may be sent here, 200,
	// or 503 from Shutdown on; HealthPath with "/live" behind it says 200 as
	// long as the server runs. Empty means none.
	HealthPath string
	// Loops is the number of event loops, at most 256. Zero means one for each
	// CPU that Go may use.
	Loops int
	// MaxConns is the limit of connections. Zero means as many as the
	// process's descriptor limit allows.
	MaxConns int
	// MaxConnsPerIP is the limit of connections from one IPv4 address, or one
	// IPv6 network of 64 bits, which is what one customer gets; more are closed
	// at once. Zero means 4,096: enough for thousands of users behind one
	// address. See Exempt.
	MaxConnsPerIP int
	// ConnRate is how many connections a second one such address may open; if
	// it was quiet, ten seconds' worth at once. More are closed at once. Zero
	// means 200.
	ConnRate int
	// HandshakeRate is how many sessions a second one such address may begin,
	// or try to; if it was quiet, ten seconds' worth at once. More are told 429
	// and when to come again. Zero means 100.
	HandshakeRate int
	// Exempt are networks whose addresses may stand for any number of clients,
	// so that MaxConnsPerIP, ConnRate and HandshakeRate are not for them: those
	// of proxies, which then have to limit their clients themselves. Nil means
	// loopback, private and link-local networks, and those that providers share
	// among customers (100.64.0.0/10). An empty list that is not nil means
	// nobody: for a server that clients of such networks reach directly. A list
	// of both 0.0.0.0/0 and ::/0 means everybody, and switches the three off.
	// Unix sockets have no address and are always exempt.
	Exempt []netip.Prefix
	// MaxPolls is the limit of polls that wait for something to send, in all.
	// Beyond, a poll is told 503 and its session closed. Each loop has its
	// share, rounded up. Zero means 100,000.
	MaxPolls int
	// MaxUpgrades is the limit of switches to WebSocket under way, in all.
	// Beyond, they are told 503, and the sessions stay on polling. Each loop
	// has its share, rounded up. Zero means 10,000.
	MaxUpgrades int
	// FirstRequestTimeout is how long a client may take, after a handshake by
	// polling, until it is heard of again: every client polls at once. A
	// session on WebSocket from its beginning has nothing to say before the
	// first ping: there, PingInterval and PingTimeout bound how long it may be
	// silent. Zero means 30 seconds.
	FirstRequestTimeout time.Duration
	// Debug returns the logger for one of the scopes engine, engine:socket,
	// engine:transport, engine:polling and engine:ws, or nil to switch it off.
	// It is asked once for each. Records have level debug. Nil switches all
	// off, which costs nothing. It is for finding out what a client does; each
	// packet is a record.
	Debug func(scope string) *slog.Logger
	// Logger hears of panics in callbacks and of trouble in the process, not
	// of what clients do, but for the limits they meet: of those, at most once
	// a second in sum. Nil means slog.Default.
	Logger *slog.Logger
}

// Compression is about responses to polls. The zero value compresses those of
// 1,024 bytes and more.
type Compression struct {
	// Off switches it off.
	Off bool
	// Threshold is the size in bytes from which on a response is compressed.
	// Zero means 1,024; 1 compresses all.
	Threshold int
}

// ErrOptions is wrapped by the error that New returns for options that make
// no sense.
var ErrOptions = errors.New("engine: bad options")

// maxPayloadLimit bounds MaxPayload: lengths are kept in 32 bits.
const maxPayloadLimit = 1 << 30

// maxHeaderBytesLimit bounds MaxHeaderBytes: a head that comes line by line is
// looked at from its beginning each time.
const maxHeaderBytesLimit = 1 << 20

// withDefaults fills in the defaults and checks the result.
func (o Options) withDefaults() (Options, error) {
	if o.Path == "" {
		o.Path = "/engine.io/"
	}
	setDuration := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	setDuration(&o.PingInterval, 25*time.Second)
	setDuration(&o.PingTimeout, 20*time.Second)
	setDuration(&o.UpgradeTimeout, 10*time.Second)
	setDuration(&o.HeaderTimeout, 10*time.Second)
	setDuration(&o.BodyTimeout, 30*time.Second)
	setDuration(&o.IdleTimeout, 60*time.Second)
	setDuration(&o.CloseTimeout, 30*time.Second)
	setDuration(&o.ForeignUpgradeTimeout, time.Second)
	setDuration(&o.AdmitTimeout, 10*time.Second)
	setDuration(&o.FirstRequestTimeout, 30*time.Second)
	setInt := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	setInt(&o.MaxPayload, 1_000_000)
	setInt(&o.MaxPayloadPackets, 16_384)
	setInt(&o.MaxFragments, 16_384)
	setInt(&o.MaxRequestLine, 8_192)
	setInt(&o.MaxHeaderBytes, 16_384)
	setInt(&o.MaxHeaders, 100)
	setInt(&o.MaxPipelined, 64<<10)
	setInt(&o.MaxConnsPerIP, loop.DefaultConnsPerIP)
	setInt(&o.ConnRate, loop.DefaultConnRate)
	setInt(&o.HandshakeRate, 100)
	setInt(&o.MaxPolls, 100_000)
	setInt(&o.MaxUpgrades, 10_000)
	setInt(&o.MaxQueue, 8<<20)
	setInt(&o.MaxQueuePackets, 16_384)
	setInt(&o.HighWater, max(o.MaxQueue/4, 1))
	setInt(&o.LowWater, o.HighWater/4)
	if o.QueueBudget == 0 {
		o.QueueBudget = defaultBudget()
	}
	if o.BodyBudget == 0 {
		o.BodyBudget = defaultBodyBudget()
	}
	if o.Exempt == nil {
		o.Exempt = peers.Shared()
	}
	if o.Overflow == 0 {
		o.Overflow = OverflowClose
	}
	setInt(&o.MaxAdmitting, 10_000)
	setInt(&o.Compression.Threshold, defaultThreshold)
	if len(o.Transports) == 0 {
		o.Transports = []Transport{Polling, WebSocket}
	}
	if len(o.Revisions) == 0 {
		o.Revisions = []Revision{Revision4, Revision3}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := o.check(); err != nil {
		return o, err
	}
	o.own()
	return o, nil
}

// own copies what the caller could change after it was checked.
func (o *Options) own() {
	o.Transports, o.Revisions = slices.Clone(o.Transports), slices.Clone(o.Revisions)
	o.Middleware, o.Origins = slices.Clone(o.Middleware), slices.Clone(o.Origins)
	o.Exempt = append([]netip.Prefix{}, o.Exempt...) // an empty list stays one
	if o.Cookie != nil {
		c := *o.Cookie
		o.Cookie = &c
	}
	if o.PerMessageDeflate != nil {
		d := *o.PerMessageDeflate
		o.PerMessageDeflate = &d
	}
	if o.CORS != nil {
		c := *o.CORS
		c.Origins, c.Patterns = slices.Clone(c.Origins), slices.Clone(c.Patterns)
		c.Methods, c.Headers, c.ExposedHeaders = slices.Clone(c.Methods), slices.Clone(c.Headers), slices.Clone(c.ExposedHeaders)
		o.CORS = &c
	}
}

func (o Options) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrOptions, fmt.Sprintf(format, args...))
	}
	if !strings.HasPrefix(o.Path, "/") {
		return bad("Path %q does not begin with a slash", o.Path)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"PingInterval", o.PingInterval}, {"PingTimeout", o.PingTimeout},
		{"UpgradeTimeout", o.UpgradeTimeout}, {"HeaderTimeout", o.HeaderTimeout},
		{"BodyTimeout", o.BodyTimeout}, {"IdleTimeout", o.IdleTimeout},
		{"CloseTimeout", o.CloseTimeout}, {"ForeignUpgradeTimeout", o.ForeignUpgradeTimeout},
		{"AdmitTimeout", o.AdmitTimeout}, {"FirstRequestTimeout", o.FirstRequestTimeout},
	} {
		if d.value < time.Millisecond {
			return bad("%s of %v is below one millisecond", d.name, d.value)
		}
	}
	if o.MaxPayload < 1 || o.MaxPayload > maxPayloadLimit {
		return bad("MaxPayload of %d is not within 1 and %d bytes", o.MaxPayload, maxPayloadLimit)
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"MaxPayloadPackets", o.MaxPayloadPackets}, {"MaxFragments", o.MaxFragments},
		{"MaxRequestLine", o.MaxRequestLine}, {"MaxHeaderBytes", o.MaxHeaderBytes},
		{"MaxHeaders", o.MaxHeaders}, {"MaxPipelined", o.MaxPipelined},
		{"MaxQueue", o.MaxQueue}, {"MaxQueuePackets", o.MaxQueuePackets},
		{"MaxConnsPerIP", o.MaxConnsPerIP}, {"ConnRate", o.ConnRate}, {"HandshakeRate", o.HandshakeRate},
		{"MaxPolls", o.MaxPolls}, {"MaxUpgrades", o.MaxUpgrades}, {"MaxAdmitting", o.MaxAdmitting},
	} {
		if n.value < 1 {
			return bad("%s of %d is below 1", n.name, n.value)
		}
	}
	if o.MaxHeaderBytes > maxHeaderBytesLimit {
		return bad("MaxHeaderBytes of %d is above %d", o.MaxHeaderBytes, maxHeaderBytesLimit)
	}
	if o.BodyBudget < 1 {
		return bad("BodyBudget of %d is below 1 byte", o.BodyBudget)
	}
	if text, ok := checkNetworks(o.Exempt); !ok {
		return bad("Exempt: %s", text)
	}
	if o.QueueBudget < 1 {
		return bad("QueueBudget of %d is below 1 byte", o.QueueBudget)
	}
	if o.Overflow != OverflowClose && o.Overflow != OverflowDrop {
		return bad("unknown Overflow %d", o.Overflow)
	}
	if o.HighWater < 1 || o.LowWater < 0 || o.LowWater >= o.HighWater {
		return bad("LowWater of %d and HighWater of %d: 0 <= LowWater < HighWater is needed", o.LowWater, o.HighWater)
	}
	if o.DrainDelay < 0 {
		return bad("DrainDelay of %v is negative", o.DrainDelay)
	}
	if o.DrainPeriod < 0 {
		return bad("DrainPeriod of %v is negative", o.DrainPeriod)
	}
	if p := o.HealthPath; p != "" && (p[0] != '/' || strings.HasSuffix(p, "/") || strings.HasPrefix(p, o.Path)) {
		return bad("HealthPath %q does not begin with a slash, ends with one, or is below Path", p)
	}
	if o.Loops < 0 || o.Loops > 256 {
		return bad("Loops of %d is not within 0 and 256", o.Loops)
	}
	if o.MaxConns < 0 {
		return bad("MaxConns of %d is negative", o.MaxConns)
	}
	if o.Compression.Threshold < 1 {
		return bad("Compression.Threshold of %d is below 1 byte", o.Compression.Threshold)
	}
	if d := o.PerMessageDeflate; d != nil && d.Threshold < 0 {
		return bad("PerMessageDeflate.Threshold of %d is negative", d.Threshold)
	}
	if err := checkOrigins(o.Origins); err != nil {
		return err
	}
	if o.CORS != nil {
		if err := o.CORS.check(); err != nil {
			return bad("CORS: %v", err)
		}
	}
	if o.Cookie != nil {
		if err := o.Cookie.check(); err != nil {
			return bad("Cookie: %v", err)
		}
	}
	for _, t := range o.Transports {
		if t != Polling && t != WebSocket {
			return bad("unknown transport %d", t)
		}
	}
	for _, r := range o.Revisions {
		if r != Revision3 && r != Revision4 {
			return bad("unknown protocol revision %d", r)
		}
	}
	return nil
}

func (o *Options) allows(t Transport) bool        { return slices.Contains(o.Transports, t) }
func (o *Options) allowsRevision(r Revision) bool { return slices.Contains(o.Revisions, r) }

// maxTick is the longest step of the timing wheels. Pings leave within 100 ms of
// when they are due, those that wait for others of the same step included.
const maxTick = 50 * time.Millisecond

// tick is the step of the timing wheels: a twentieth of the shortest timeout,
// so that deadlines are met within 5 %, or 10 ms where that is more.
func (o *Options) tick() time.Duration {
	shortest := min(o.PingInterval, o.PingTimeout, o.UpgradeTimeout, o.HeaderTimeout, o.BodyTimeout, o.IdleTimeout, o.CloseTimeout, o.AdmitTimeout, o.FirstRequestTimeout)
	// Nobody waits for the end of a foreign upgrade: that may be late by half.
	return max(10*time.Millisecond, min(shortest/20, o.ForeignUpgradeTimeout/2, maxTick))
}

func (o *Options) loop() loop.Options {
	return loop.Options{
		Loops:         o.Loops,
		Tick:          o.tick(),
		Linger:        o.CloseTimeout,
		MaxConns:      o.MaxConns,
		MaxConnsPerIP: o.MaxConnsPerIP,
		ConnRate:      o.ConnRate,
		Exempt:        o.Exempt,
		Logger:        o.Logger,
	}
}
