package engine

import (
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"turbine/engine/packet"
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
	// Shorten it behind a proxy that cuts idle connections earlier. The least is
	// a millisecond; 200 ms is the least that is kept within 5 %, because the
	// wheels step by 10 ms or more.
	PingInterval time.Duration
	// PingTimeout is how long the answer to a ping may take before the
	// session is closed. Zero means 20 seconds. The session is never closed
	// earlier, and at most a step of the wheels later: 10 ms for a PingTimeout
	// of up to 200 ms, which is the least that is kept within 5 %. A revision 3
	// client has PingTimeout for the round trip and for the jitter of its own
	// timers, of which one collection of its garbage may take 20 to 50 ms.
	PingTimeout time.Duration
	// UpgradeTimeout is how long a WebSocket may take, from its opening, to
	// become a session's transport. Zero means 10 seconds.
	UpgradeTimeout time.Duration
	// MaxPayload is the limit in bytes of one request body and of one
	// WebSocket message from a client, and what a response to a poll is
	// filled up to. At most 1 GiB, above which New refuses it. Zero means
	// 1,000,000.
	MaxPayload int
	// MaxPayloadPackets is the limit of packets in one request body. One with
	// more ends its session as one that cannot be decoded. Zero means 16,384.
	MaxPayloadPackets int
	// MaxFragments is the limit of fragments of one WebSocket message. Zero
	// means 16,384.
	MaxFragments int
	// BodyBudget is the limit in bytes of what has come of request bodies and
	// WebSocket messages that are not complete, of bodies on their way to the loop of
	// their session, of what a loop had no time for yet, and of what was sent ahead of
	// responses, of all connections together. Each loop has an equal share, of at
	// least MaxPayload. Above it, a body that is past its first 16 KiB is refused
	// with 503, messages that are past them with close code 1013, and a connection
	// that has sent more than 4 KiB ahead is aborted. The session ends in each
	// case. Zero means 256 MiB, or a sixteenth of Go's memory limit
	// (GOMEMLIMIT) if that is less.
	BodyBudget int64
	// MaxQueue is the limit in bytes of what a session keeps for a client
	// that does not take it, with 128 bytes for each message beside its data,
	// and on WebSocket the head of its frame. Buffers are powers of two in size, so
	// up to twice as much may be held.
	// Above it, Send returns ErrQueueFull and Overflow says what becomes of the
	// session. A message alone always fits, and so do one ping and one pong of
	// the protocol beside the messages. Zero means 8 MiB.
	MaxQueue int
	// MaxQueuePackets is the same limit in packets. Zero means 16,384.
	MaxQueuePackets int
	// QueueBudget is the limit in bytes of what all sessions together keep,
	// counted as for MaxQueue, with what the operating system has not taken
	// yet from connections. A Prepared counts once for each loop, and once more where
	// connections have it, however many sessions it waits for, and 128 bytes for each
	// session. Each loop has an equal
	// share. When a loop's share is used up, the sessions and connections that hold
	// most bytes for the longest time are closed until seven eighths of the share
	// are used; with OverflowDrop only once half of the reserve is also used. The
	// reserve is an eighth more, for sessions with less than 16 KiB waiting and a
	// connection that takes what it is given: for all others Send returns ErrBudget
	// meanwhile. Zero means 1 GiB, or a quarter of Go's memory limit
	// (GOMEMLIMIT) if that is less.
	QueueBudget int64
	// Executor lets callbacks block: those that tell what has happened to a
	// session run on its goroutines instead of on the event loop, and so does
	// Admit. NewExecutor(1024) is one; Events says which run where. What waits
	// for it is bounded by MaxPending and PendingBudget. Nil, the default, is
	// faster, and right for callbacks that are quick.
	//
	// If it refuses a task, and none of the server's is in its hands, a goroutine of
	// the server's own runs the callbacks. If it has taken tasks and begun none of
	// them for 5 seconds, while callbacks wait and nobody runs any, the tasks count
	// as dropped: the Logger is told, and the server's goroutine runs these
	// callbacks and later ones until the Executor begins a task again. Nothing is
	// lost, and no session ends for it.
	Executor Executor
	// MaxPending is the number of bytes of events that wait for the Executor, of
	// one session, at which nothing more is read from its client until half of it
	// is left: on WebSocket its bytes stay in the socket, on polling a post is
	// answered later. Each event counts 400 bytes beside its data. It is exceeded
	// by what was read already: 64 KiB, a message or a post. Zero means 256 KiB.
	MaxPending int
	// PendingBudget is the limit in bytes of events that wait for the Executor,
	// of all sessions, counted in the same way. From half of it on nothing more is
	// read from clients of which any wait. When it is used up, the sessions whose
	// events take most bytes for the longest time are closed until there is room:
	// what waits of them is dropped, and where Open is among it they end without Open
	// and Close.
	// Zero means 256 MiB, or a sixteenth of Go's memory limit (GOMEMLIMIT) if
	// that is less.
	PendingBudget int64
	// SlowCallback is how long a callback may hold up its event loop: those of
	// Events.Message for one read or post together, all others one by one. Beyond,
	// the Logger is told its name, session and stack, and Stats.Slow counts it. It
	// is noticed within half of that time more, and under Serve only. Zero means
	// 20 ms; a negative value, that nobody watches.
	SlowCallback time.Duration
	// Overflow is what happens to a session that a message does not fit in.
	// Zero means OverflowClose.
	Overflow Overflow
	// HighWater is the number of bytes waiting, counted as for MaxQueue, at
	// which Events.HighWater is called, at most MaxQueue. Zero means a quarter of
	// MaxQueue.
	HighWater int
	// LowWater is the number of bytes at which Events.LowWater is called
	// after that. Zero means a quarter of HighWater.
	LowWater int
	// Transports are those that clients may use. Empty means both.
	Transports []Transport
	// NoTrailingSlash takes Path without the slash that it ends with otherwise:
	// "/engine.io" then begins "/engine.io?EIO=4" and "/engine.iox", too.
	NoTrailingSlash bool
	// ForeignUpgradeTimeout is how long a WebSocket handshake for another path
	// stays open before its connection is closed, without an answer and without
	// a record in the log. Requests for an upgrade to other protocols are
	// answered as if they did not ask for it. Zero means 1 second.
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
	// request, and a new one for its first. Zero means 75 seconds. It has to be
	// longer than a proxy in front keeps idle connections: if both ends close at
	// the same moment, the proxy sends a request into a connection that is just
	// gone, and cannot repeat it if it is a POST. 60 seconds is the default of
	// nginx and of AWS load balancers, 600 that of Google's.
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
	// Fallback serves the requests that are not under Path, so that one port has
	// an application's pages and its sessions. It is served by net/http in HTTP/1,
	// with all that a handler has there: bodies of any length, streaming, trailers,
	// http.ResponseController, hijacking, though not of a *net.TCPConn.
	// http.Request.RemoteAddr is the connection's other end, or the one of a PROXY
	// header: what header fields of proxies say, it has to find out. Each request has a goroutine while it
	// lasts, and the connection is a loop's before and after. Its handler
	// waits for a body BodyTimeout in all for each 16 KiB of it, and a client may
	// take nothing of the response for CloseTimeout; a deadline that the handler
	// sets by http.ResponseController is instead of that. Nil means 501, and 404 where the
	// server itself is mounted, see ServeHTTP.
	Fallback http.Handler
	// MaxFallback is the limit of requests that are served at the same time by
	// Fallback, or by what is around a mounted server. A poll that waits counts
	// only where its connection cannot be taken, see ServeHTTP. Zero means 1,000.
	MaxFallback int
	// MaxFallbackWaiting is the limit of those that wait for their turn, each for
	// AdmitTimeout at most; beyond, the answer is 503. Zero means 1,000.
	MaxFallbackWaiting int
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
	// TLS is how to speak TLS, on the listeners that ServeTLS is given. Nil
	// means not at all.
	TLS *TLS
	// MaxTLSHandshakes is the limit of TLS handshakes under way, from the
	// client's first message on. One more takes the place of one that waits for
	// its client: the oldest of the address that holds most, if that is more than a
	// sixteenth of all, otherwise the oldest of all. Addresses in Exempt are not
	// held against each other. Zero means 4,096.
	MaxTLSHandshakes int
	// TLSHandshakeTimeout is how long a TLS handshake may take, from when its
	// connection was accepted. Zero means 10 seconds.
	TLSHandshakeTimeout time.Duration
	// HandshakeRate is how many sessions a second one such address may begin,
	// or try to; if it was quiet, ten seconds' worth at once. More are told 429
	// and when to come again. Zero means 100.
	HandshakeRate int
	// MaxSessions is the limit of sessions. Clients that would begin one more are
	// told 503 and when to come again. Zero means one for each KiB of Go's memory
	// limit (GOMEMLIMIT), or twice MaxConns if that is less.
	MaxSessions int
	// MaxSessionsPerIP is the limit of sessions that clients of one such address
	// have begun; more are told 429 and when to come again. A session counts until
	// its end, wherever its client may be by then. Zero means 8,192: clients that
	// lose their connections come back before their old sessions have ended.
	MaxSessionsPerIP int
	// Exempt are networks whose addresses may stand for any number of clients,
	// so that MaxConnsPerIP, ConnRate, HandshakeRate and MaxSessionsPerIP are not for them: those
	// of proxies, which then have to limit their clients themselves. Nil means
	// loopback, private and link-local networks, and those that providers share
	// among customers (100.64.0.0/10). An empty list that is not nil means
	// nobody: for a server that clients of such networks reach directly. A list
	// of both 0.0.0.0/0 and ::/0 means everybody, and switches the four off.
	// Unix sockets have no address and are always exempt, and so are
	// TrustedProxies.
	Exempt []netip.Prefix
	// TrustedProxies are networks of proxies in front of the server, which are
	// believed what they say of their clients: on a ProxyListener by PROXY
	// protocol, and in the header fields X-Forwarded-For, Forwarded (RFC 7239)
	// and X-Real-IP. The client's address is then what Request.RemoteAddr,
	// BindIP and the limits by address go by, and X-Forwarded-Proto or
	// Forwarded says whether it came over TLS, so that pages of the other
	// scheme are of another origin. Name the proxies only: whoever may connect
	// from these networks may claim to be anybody, and is bound by no limit by
	// address. Nil means none.
	TrustedProxies []netip.Prefix
	// TrustUnixSockets makes trusted proxies of all who connect over a Unix
	// socket: for sockets that nobody but the proxy may write to.
	TrustUnixSockets bool
	// ClientHeader is the one of those three fields in which the trusted
	// proxies say whom they speak for. Others are not looked at. Empty means
	// the first of X-Forwarded-For, Forwarded and X-Real-IP that a request has:
	// then a proxy that writes a later one has to remove what the client has
	// sent of those before it.
	ClientHeader string
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
	// Logger hears of panics in callbacks, of slow ones and of trouble in the
	// process, not of what clients do, but for the limits they meet and TLS
	// handshakes that fail: of those, at most once a second in sum. Nil means
	// slog.Default.
	Logger *slog.Logger
}

// Compression is about responses to polls. The zero value compresses those of
// 1,024 bytes and more. Where the connection of a mounted server cannot be taken,
// see ServeHTTP, and a middleware wraps the ResponseWriter, they are left to that.
type Compression struct {
	// Off switches it off.
	Off bool
	// Threshold is the size in bytes from which on a response is compressed.
	// Zero means 1,024; 1 compresses all.
	Threshold int
}
