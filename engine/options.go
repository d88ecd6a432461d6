package engine

import (
	"log/slog"
	"net/http"
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

// NumTransports is the length of Stats.ByTransport: how many transports there are, with
// zero, which is none.
const NumTransports = int(WebSocket) + 1

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
//
// A feature that is off by default, such as CORS, is off by nil. A feature that is on
// by default is switched off by a field No..., or, where its comment says so, by a
// negative value. New refuses all other negative values, and what cannot work, with
// an error that wraps ErrOptions.
type Options struct {
	// What is spoken.

	// Path is the prefix of the request targets that are Engine.IO. Zero
	// means "/engine.io/".
	Path string
	// NoTrailingSlash removes the slash that Path otherwise ends with: "/engine.io" then
	// also begins "/engine.io?EIO=4" and "/engine.iox".
	NoTrailingSlash bool
	// Transports are those that clients may use. Empty means both.
	Transports []Transport
	// Revisions are the protocol revisions that clients may speak. Empty
	// means 4 and 3.
	Revisions []Revision
	// NoUpgrades forbids the switch from polling to WebSocket.
	NoUpgrades bool
	// PingInterval is how often the server pings a revision 4 client, and how often a
	// revision 3 client is told to ping. Zero means 25 seconds. Shorten it behind a
	// proxy that cuts idle connections earlier. The least is a millisecond; 200 ms is
	// the least interval that is kept within 5 %, because timers step by 10 ms or more.
	PingInterval time.Duration
	// PingTimeout is how long the answer to a ping may take before the session is
	// closed. Zero means 20 seconds. The session is never closed earlier, and at most a
	// step of the timers later: 10 ms, or a twentieth of PingTimeout if that is more. A
	// revision 3 client has PingTimeout for the round trip and for the jitter of its own
	// timers: one garbage collection of the client may take 20 to 50 ms.
	PingTimeout time.Duration
	// MaxPayload is the limit in bytes of one request body and of one WebSocket message
	// from a client. A larger body is refused with 413, a larger message closes the
	// session. A response to a poll is filled up to the same size. It is at most 1 GiB.
	// Zero means 1,000,000.
	MaxPayload int
	// InitialPacket is a message that every session gets with its handshake.
	InitialPacket *Message
	// CompressionThreshold is the least size in bytes of a response to a poll that is
	// compressed, by gzip or deflate as the client accepts. Zero means 1,024, 1
	// compresses all, a negative value none. Where the connection of a mounted server
	// cannot be taken, see ServeHTTP, and a middleware wraps the ResponseWriter,
	// compression is left to that middleware.
	CompressionThreshold int
	// PerMessageDeflate compresses WebSocket messages. Nil means off.
	PerMessageDeflate *PerMessageDeflate
	// Cookie carries the session id, for load balancers that keep clients with
	// their server. Nil means none.
	Cookie *Cookie

	// What your code does.

	// Executor lets callbacks block: Admit, and the callbacks that report what has
	// happened to a session, run on its goroutines instead of on the event loop.
	// NewExecutor(1024) is one; Events says which callbacks run where. Limits.MaxPending
	// and Limits.PendingBudget bound what waits for it. Nil, the default, is faster, and
	// right for callbacks that are quick.
	//
	// If the Executor refuses a task and has no other task of the server, a goroutine of
	// the server runs the callbacks. If it has begun no task for 5 seconds, while
	// callbacks wait and nobody runs any, the tasks that it has taken count as dropped.
	// The Logger is told, and the server's goroutine runs these callbacks and later ones
	// until the Executor begins a task again. Nothing is lost, and no session ends for
	// it.
	Executor Executor
	// GenerateID makes the id of a new session from its request, which is borrowed. The
	// id must be hard to guess, not empty and not in use. Otherwise, and if it returns
	// an error, the client is refused with error 3. GenerateID runs on the connection's
	// loop, for several at the same time, and must not block; an application that has to
	// ask elsewhere uses Events.Admit with Admission.Later and Verdict.SetID. With Node
	// the session's id has '~' and 6 characters behind what was returned, and 4096 bytes
	// at most. Nil means 128 random bits.
	GenerateID func(r *Request) (string, error)
	// Middleware are standard middlewares, the first one outermost, that see every
	// request for Path before the server does: those that add header fields, set cookies
	// or answer themselves. They run on the event loop and must not block; the request
	// that they see has no body.
	Middleware []func(http.Handler) http.Handler
	// Fallback serves the requests that are not under Path, so that one port has an
	// application's pages and its sessions. It is served by net/http in HTTP/1, with all
	// that a handler has there: bodies of any length, streaming, trailers,
	// http.ResponseController, hijacking, though not of a *net.TCPConn.
	// http.Request.RemoteAddr is the connection's other end, or the address of a PROXY
	// header; the handler itself has to read what header fields of proxies say. Each
	// request has a goroutine while it lasts; the connection belongs to a loop before
	// and after. The handler waits Timeouts.Body for each 16 KiB of a body, and the
	// connection ends if the client takes nothing of the response for Timeouts.Close. A
	// deadline that the handler sets by http.ResponseController replaces these two. Nil
	// means 501, and 404 where the server itself is mounted, see ServeHTTP.
	Fallback http.Handler
	// HealthPath is a path, not below Path, with answers for load balancers and
	// supervisors. HealthPath itself is answered with 200 while clients may be sent
	// here, and with 503 from Shutdown on. HealthPath with "/live" behind it is answered
	// with 200 as long as the server runs. Empty means none.
	HealthPath string

	// Access and transport security.

	// Access says which pages may open sessions, and which clients may use one.
	Access Access
	// Proxies are the proxies in front of the server, and what they are believed.
	Proxies Proxies
	// TLS is how to speak TLS, on the listeners that ServeTLS is given. Nil
	// means not at all.
	TLS *TLS

	// Other servers.

	// Node makes the server one of several, each of which takes the requests to the
	// sessions of all. Session ids name the node then. Package cluster makes one. Nil, the
	// default, is a server alone.
	Node *Node

	// What it may cost.

	// Queue bounds what waits for clients that do not read.
	Queue Queue
	// Limits are how many, how large and how often.
	Limits Limits
	// Timeouts are how long things may take.
	Timeouts Timeouts
	// Drain is how Shutdown spreads the end of the sessions.
	Drain Drain
	// Loops is the number of event loops, at most 256. Zero means one for each CPU that
	// Go may use, which is GOMAXPROCS.
	Loops int

	// Logger gets records of panics in callbacks, of slow callbacks and of trouble in
	// the process. About clients it gets three kinds of records only, each at most once
	// a second: limits that they meet, refusals, and TLS handshakes that fail. Nil means
	// slog.Default.
	Logger *slog.Logger
	// Debug returns the logger for one of the scopes engine, engine:socket,
	// engine:transport, engine:polling and engine:ws, or nil to switch it off. It is
	// called once for each scope. Records have level debug, and each packet is a record:
	// it is for finding out what a client does. They name a session by its PublicID, and
	// show no value of a query that is not the protocol's. Nil switches all off, which
	// costs nothing. Server.SetDebug changes it later.
	Debug func(scope string) *slog.Logger
}
