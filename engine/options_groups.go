package engine

import (
	"net/netip"
	"time"
)

// Access says which pages may open sessions, and which clients may use a session that
// is open.
type Access struct {
	// Origins are the origins whose pages may talk to the server, in addition to the
	// server's own and those that CORS allows: "https://example.com", in lower case,
	// with a port unless it is the scheme's own, without a path. Pages of all other
	// origins are refused with 403, by WebSocket and by polling. The server's own origin
	// is one with the host and port of the request's Host: a proxy in front has to send
	// Host unchanged, or the public origin has to be listed here. "null", the Origin of
	// sandboxed pages, is another origin.
	//
	// A request without Origin comes from a program that is no browser, or from a script
	// element (JSONP). It is let in, unless the browser says by Sec-Fetch-Site, over TLS
	// and to localhost, that it is a script element of another origin's page, also of a
	// listed one.
	//
	// To poll, a page of another origin needs CORS, which also lets it in without an
	// entry here.
	Origins []string
	// AnyOrigin lets pages of every origin in. Every page on the Web may then
	// open a session with the cookies of the person that looks at it and act in
	// the name of that person: only for servers to which a cookie means nothing.
	AnyOrigin bool
	// CORS answers pages from other origins, and lets them in. Nil means that
	// browsers keep them from polling.
	CORS *CORS
	// Bind returns, for each request of a session (polls, posts and the upgrade), what
	// must be the same as at the handshake: credentials, an address. If it differs, the
	// request is refused with 403, and the session stays. So a stolen id is of no use
	// alone. BindIP, BindHeader and BindCookie are ready to use; for more than one, join
	// what they return. r is borrowed. Bind runs on the loop of the connection, for
	// several at the same time, and must not block. Nil asks for nothing but the id.
	Bind func(r *Request) string
}

// Proxies are the proxies in front of the server, and what they are believed.
type Proxies struct {
	// Trusted are networks of proxies in front of the server. What these proxies say of
	// their clients is believed: on a ProxyListener by PROXY protocol, and in the header
	// fields X-Forwarded-For, Forwarded (RFC 7239) and X-Real-IP. Request.RemoteAddr,
	// BindIP and the limits by address then use the client's address. X-Forwarded-Proto
	// or Forwarded says whether the client came over TLS, so that pages of the other
	// scheme are of another origin. Name the proxies only: whoever connects from these
	// networks may claim to be anybody, and is bound by no limit by address. Nil means
	// none.
	Trusted []netip.Prefix
	// TrustUnixSockets makes every peer on a Unix socket a trusted proxy: for
	// sockets that nobody but the proxy may write to.
	TrustUnixSockets bool
	// ClientHeader is the one of these three fields in which the trusted proxies name
	// the client. The others are ignored. Empty means the first of X-Forwarded-For,
	// Forwarded and X-Real-IP that a request has. Then a proxy that writes one of them
	// has to remove those before it that the client has sent.
	ClientHeader string
}

// Queue bounds what waits for clients that do not read.
type Queue struct {
	// MaxBytes is the limit in bytes of what a session keeps for a client that does not
	// take it. A message counts its data and 128 bytes, and on WebSocket the head of its
	// frame. Buffers are powers of two in size, so up to twice as much may be held.
	// Above it, Send returns ErrQueueFull and Overflow says what becomes of the session.
	// A message alone always fits, and so do one ping and one pong of the protocol in
	// addition to the messages. Zero means 8 MiB.
	MaxBytes int
	// MaxPackets is the same limit in packets. Zero means 16,384.
	MaxPackets int
	// Overflow is what happens to a session that a message does not fit in.
	// Zero means OverflowClose.
	Overflow Overflow
	// Budget is the limit in bytes of what all sessions together keep, counted as
	// for MaxBytes, with what the operating system has not taken yet from
	// connections. A Prepared counts once for each loop, and once more where
	// connections have it, however many sessions it waits for, and 128 bytes for
	// each session. Each loop has an equal share.
	//
	// When a loop's share is used up, the sessions and connections that hold most bytes
	// for the longest time are closed until seven eighths of the share are used; with
	// OverflowDrop only once half of the reserve is also used. The reserve is one eighth
	// more, for sessions with less than 16 KiB waiting whose connection takes what it is
	// given. For all other sessions Send returns ErrBudget meanwhile. Zero means 1 GiB,
	// or a quarter of Go's memory limit (GOMEMLIMIT) if that is less.
	Budget int64
	// HighWater is the number of bytes waiting, counted as for MaxBytes, at
	// which Events.HighWater is called, at most MaxBytes. Zero means a quarter of
	// MaxBytes.
	HighWater int
	// LowWater is the number of bytes at which Events.LowWater is called
	// after that, less than HighWater. Zero means a quarter of HighWater.
	LowWater int
}

// Limits are how many, how large and how often.
type Limits struct {
	// MaxConns is the limit of connections. Zero means as many as the
	// process's descriptor limit allows.
	MaxConns int
	// MaxConnsPerIP is the limit of connections from one IPv4 address, or one
	// IPv6 network of 64 bits, which is what one customer gets; more are closed
	// at once. Zero means 4,096: enough for thousands of users behind one
	// address. A negative value switches it off. See Exempt.
	MaxConnsPerIP int
	// ConnRate is how many connections a second one such address may open; after ten
	// quiet seconds, ten times as many at once. More are closed when they are accepted.
	// Zero means 200, a negative value no limit. See Exempt.
	ConnRate int
	// HandshakeRate is how many sessions a second one such address may begin, or try to;
	// after ten quiet seconds, ten times as many at once. More are refused with 429 and
	// Retry-After. Zero means 100, a negative value no limit. See Exempt.
	HandshakeRate int
	// MaxSessions is the limit of sessions. Above it, a new session is refused with 503
	// and Retry-After. Zero means one for each KiB of Go's memory limit (GOMEMLIMIT), or
	// twice MaxConns if that is less.
	MaxSessions int
	// MaxSessionsPerIP is the limit of sessions that clients of one such address have
	// begun; more are refused with 429 and Retry-After. A session counts until its end,
	// also if its client has moved to another address. Zero means 8,192: clients that
	// lose their connections come back before their old sessions have ended. A negative
	// value switches it off. See Exempt.
	MaxSessionsPerIP int
	// Exempt are networks to which MaxConnsPerIP, ConnRate, HandshakeRate and
	// MaxSessionsPerIP do not apply, because one address there may stand for any number
	// of clients: networks of proxies, which then have to limit their clients
	// themselves. Nil means loopback, private, link-local and carrier-grade NAT networks
	// (100.64.0.0/10). An empty list that is not nil exempts nobody: it is for a server
	// that clients of such networks reach directly. Unix sockets have no address and are
	// always exempt, and so are Proxies.Trusted.
	Exempt []netip.Prefix
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
	// MaxHeaderBytes is the limit in bytes of the header fields of a request,
	// at most 1 MiB. Zero means 16,384. Raise it for proxies that add much, or
	// pages with many cookies.
	MaxHeaderBytes int
	// MaxHeaders is the limit of the number of header fields of a request. Above it, or
	// above MaxHeaderBytes, the request is refused with 431. Zero means 100.
	MaxHeaders int
	// MaxRequestLine is the limit in bytes of a request line. Above it, the request is
	// refused with 414. Zero means 8,192.
	MaxRequestLine int
	// MaxPipelined is the limit in bytes of what a client may send ahead while
	// it waits for a response; above it, the connection is aborted. Zero means
	// 64 KiB.
	MaxPipelined int
	// MaxPayloadPackets is the limit of packets in one request body. A body with more
	// closes its session with ReasonParseError. Zero means 16,384.
	MaxPayloadPackets int
	// MaxFragments is the limit of fragments of one WebSocket message. Above it, the
	// session is closed, with close code 1008. Zero means 16,384.
	MaxFragments int
	// MaxPolls is the limit of polls that wait for something to send, in all. Above it,
	// a poll is refused with 503 and its session closed. Each loop has its share,
	// rounded up. Zero means 100,000.
	MaxPolls int
	// MaxUpgrades is the limit of switches to WebSocket under way, in all. Above it, a
	// switch is refused with 503, and the session stays on polling. Each loop has its
	// share, rounded up. Zero means 10,000.
	MaxUpgrades int
	// MaxAdmitting is the limit of clients that wait for a Verdict, in all; more are
	// refused with 503 at once. Each loop has its share, rounded up. Zero means 10,000.
	MaxAdmitting int
	// MaxPending is the number of bytes of events that wait for the Executor, of one
	// session, at which nothing more is read from its client until half of it is left:
	// on WebSocket its bytes stay in the socket, on polling a post is answered later.
	// Each event counts 400 bytes in addition to its data. What was read already may
	// exceed it: 64 KiB, a message or a post. Zero means 256 KiB.
	MaxPending int
	// PendingBudget is the limit in bytes of events that wait for the Executor, of all
	// sessions, counted in the same way. At half of it the server stops reading from
	// every client that has events waiting. When it is used up, the sessions whose
	// events take most bytes for the longest time are closed with ReasonOverflow until
	// there is room. Their waiting events are dropped; if Open is one of these, neither
	// Open nor Close is called. Zero means 256 MiB, or a sixteenth of Go's memory limit
	// (GOMEMLIMIT) if that is less.
	PendingBudget int64
	// MaxFallback is the limit of requests that are served at the same time by
	// Fallback, or by what is around a mounted server. A poll that waits counts
	// only where its connection cannot be taken, see ServeHTTP. Zero means 1,000.
	MaxFallback int
	// MaxFallbackWaiting is the limit of requests above MaxFallback that wait for their
	// turn, each for Timeouts.Admit at most. More are refused with 503. Zero means
	// 1,000.
	MaxFallbackWaiting int
	// MaxTLSHandshakes is the limit of TLS handshakes under way, from the
	// client's first message on. One more takes the place of one that waits for
	// its client: the oldest of the address that holds most, if that is more than a
	// sixteenth of all, otherwise the oldest of all. Addresses in Exempt are not
	// held against each other. Zero means 4,096.
	MaxTLSHandshakes int
}

// Timeouts are how long things may take. The least is a millisecond, the most ten
// years.
type Timeouts struct {
	// Idle is how long a kept-alive connection may wait for its next request, and a new
	// one for its first. Zero means 75 seconds. It has to be longer than a proxy in
	// front keeps idle connections: if the server closes first, the proxy may send a
	// request into a connection that has just gone, and cannot repeat it if it is a
	// POST. 60 seconds is the default of nginx and of AWS load balancers, 600 that of
	// Google's.
	Idle time.Duration
	// Header is how long a client may take to send the head of a
	// request from its first byte on. Zero means 10 seconds.
	Header time.Duration
	// Body is how long a client may take to send a request's body.
	// Zero means 30 seconds.
	Body time.Duration
	// Upgrade is how long a WebSocket may take, from its opening, to
	// become a session's transport. Zero means 10 seconds.
	Upgrade time.Duration
	// Close is how long a closing session waits for the client to take
	// what is queued for it. Zero means 30 seconds.
	Close time.Duration
	// Admit is how long a client waits for a Verdict before it is told
	// 503. Zero means 10 seconds.
	Admit time.Duration
	// FirstRequest is how long a client may take, after a handshake by
	// polling, until it is heard of again: every client polls at once. A
	// session on WebSocket from its beginning has nothing to say before the
	// first ping: there, PingInterval and PingTimeout bound how long it may be
	// silent. Zero means 30 seconds.
	FirstRequest time.Duration
	// TLSHandshake is how long a TLS handshake may take, from when its
	// connection was accepted. Zero means 10 seconds.
	TLSHandshake time.Duration
	// ForeignUpgrade is how long a WebSocket handshake for another path stays open
	// before its connection is closed, without an answer and without a record in the
	// log. Requests for an upgrade to other protocols are answered as if they had not
	// asked for an upgrade. Zero means 1 second. A negative value leaves the handshake
	// open for Idle.
	ForeignUpgrade time.Duration
	// SlowCallback is how long a callback may hold up its event loop: the calls of
	// Events.Message for one read or post together, all others one by one. The Logger
	// gets the name, session and stack of a slower one, and Stats.Slow counts it. It is
	// noticed within half of that time more, and under Serve only. Zero means 20 ms; a
	// negative value switches the watchdog off.
	SlowCallback time.Duration
}

// Drain is how Shutdown spreads the end of the sessions over time.
type Drain struct {
	// Delay is how long Shutdown waits before it closes the first session. Meanwhile
	// health checks and new clients are told 503, so load balancers have time to notice.
	// Zero means none.
	Delay time.Duration
	// Period is how long Shutdown takes, after Delay, to close the sessions, each at a
	// random moment of it, so that their clients do not all come back at once. Zero
	// means one second for every 10,000 sessions.
	Period time.Duration
}
