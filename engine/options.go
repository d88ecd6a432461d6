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
// What can be off is off by nil if it is off by default, such as CORS, by a field
// No... if it is on, and by a negative value if it is a number: then its comment
// says so. New refuses all other negative values, and what cannot work, with an
// error that wraps ErrOptions.
type Options struct {
	// What is spoken.

	// Path is the prefix of the request targets that are Engine.IO. Zero
	// means "/engine.io/".
	Path string
	// NoTrailingSlash takes Path without the slash that it ends with otherwise:
	// "/engine.io" then also begins "/engine.io?EIO=4" and "/engine.iox".
	NoTrailingSlash bool
	// Transports are those that clients may use. Empty means both.
	Transports []Transport
	// Revisions are the protocol revisions that clients may speak. Empty
	// means 4 and 3.
	Revisions []Revision
	// NoUpgrades forbids the switch from polling to WebSocket.
	NoUpgrades bool
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
	// MaxPayload is the limit in bytes of one request body and of one
	// WebSocket message from a client, and what a response to a poll is
	// filled up to. At most 1 GiB, above which New refuses it. Zero means
	// 1,000,000.
	MaxPayload int
	// InitialPacket is a message that every session gets with its handshake.
	InitialPacket *Message
	// CompressionThreshold is the size in bytes from which on a response to a
	// poll is compressed, by gzip or deflate as the client accepts. Zero means
	// 1,024, 1 compresses all, a negative value none. Where the connection of a
	// mounted server cannot be taken, see ServeHTTP, and a middleware wraps the
	// ResponseWriter, compression is left to that middleware.
	CompressionThreshold int
	// PerMessageDeflate compresses WebSocket messages. Nil means off.
	PerMessageDeflate *PerMessageDeflate
	// Cookie carries the session id, for load balancers that keep clients with
	// their server. Nil means none.
	Cookie *Cookie

	// What your code does.

	// Executor lets callbacks block: those that tell what has happened to a
	// session run on its goroutines instead of on the event loop, and so does
	// Admit. NewExecutor(1024) is one; Events says which run where. What waits
	// for it is bounded by Limits.MaxPending and Limits.PendingBudget. Nil, the
	// default, is faster, and right for callbacks that are quick.
	//
	// If it refuses a task, and none of the server's is in its hands, a goroutine of
	// the server's own runs the callbacks. If it has taken tasks and begun none of
	// them for 5 seconds, while callbacks wait and nobody runs any, the tasks count
	// as dropped: the Logger is told, and the server's goroutine runs these
	// callbacks and later ones until the Executor begins a task again. Nothing is
	// lost, and no session ends for it.
	Executor Executor
	// GenerateID makes the id of a new session from its request, which is
	// borrowed. It must be hard to guess, not empty and not in use, or the
	// client is refused with error 3, as it is when an error is returned. It
	// must not block; an application that has to ask elsewhere uses Events.Admit
	// with Request.Later and Verdict.SetID. Nil means 128 random bits.
	GenerateID func(r *Request) (string, error)
	// Middleware are standard middlewares, the first one outermost, that see
	// every request for Path before the server does: those that add header
	// fields, set cookies or answer themselves. They run on the event loop and
	// must not block; the request they see has no body.
	Middleware []func(http.Handler) http.Handler
	// Fallback serves the requests that are not under Path, so that one port has
	// an application's pages and its sessions. It is served by net/http in HTTP/1,
	// with all that a handler has there: bodies of any length, streaming, trailers,
	// http.ResponseController, hijacking, though not of a *net.TCPConn.
	// http.Request.RemoteAddr is the connection's other end, or the one of a PROXY
	// header: what header fields of proxies say, it has to find out. Each request
	// has a goroutine while it lasts, and the connection is a loop's before and
	// after. Its handler waits for a body Timeouts.Body in all for each 16 KiB of
	// it, and a client may take nothing of the response for Timeouts.Close; a
	// deadline that the handler sets by http.ResponseController is instead of that.
	// Nil means 501, and 404 where the server itself is mounted, see ServeHTTP.
	Fallback http.Handler
	// HealthPath is a path with answers for load balancers and supervisors, not
	// below Path: HealthPath itself says whether clients may be sent here, 200,
	// or 503 from Shutdown on; HealthPath with "/live" behind it says 200 as
	// long as the server runs. Empty means none.
	HealthPath string

	// Access and transport security.

	// Access is which pages and clients may use which session.
	Access Access
	// Proxies are the proxies in front, and what they are believed.
	Proxies Proxies
	// TLS is how to speak TLS, on the listeners that ServeTLS is given. Nil
	// means not at all.
	TLS *TLS

	// What it may cost.

	// Queue bounds what waits for clients that do not read.
	Queue Queue
	// Limits are how many, how large and how often.
	Limits Limits
	// Timeouts are how long things may take.
	Timeouts Timeouts
	// Drain is how Shutdown spreads the end of the sessions.
	Drain Drain
	// Loops is the number of event loops, at most 256. Zero means one for each
	// CPU that Go may use.
	Loops int

	// Logger hears of panics in callbacks, of slow ones and of trouble in the
	// process. Of what clients do it hears only which limits they meet, that they
	// are refused, and TLS handshakes that fail: of each of these at most once a
	// second. Nil means slog.Default.
	Logger *slog.Logger
	// Debug returns the logger for one of the scopes engine, engine:socket,
	// engine:transport, engine:polling and engine:ws, or nil to switch it off.
	// It is asked once for each. Records have level debug. Nil switches all
	// off, which costs nothing. It is for finding out what a client does; each
	// packet is a record.
	Debug func(scope string) *slog.Logger
}
