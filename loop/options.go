package loop

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"turbine/internal/peers"
)

// Defaults of Options: what many people behind one address do not reach, and an
// attacker does.
const (
	DefaultConnsPerIP = 4096
	DefaultConnRate   = 200
)

// Refusal is the limit that closed a connection when it was accepted.
type Refusal uint8

// The refusals.
const (
	RefusedMaxConns Refusal = iota + 1
	RefusedConnsPerIP
	RefusedConnRate
)

// Errors a Handler's Closed may be told, in addition to the operating system's.
var (
	ErrPanic        = errors.New("loop: panic in a handler")
	ErrAborted      = errors.New("loop: connection aborted")
	ErrLinger       = errors.New("loop: peer took no more bytes")
	ErrTooManyConns = errors.New("loop: too many connections")
)

// Options of a reactor. The zero value of each field is its default.
type Options struct {
	// Loops is the number of event loops, at most 256. Zero means one for
	// each CPU that Go may use.
	Loops int
	// Tick is the step of the timing wheels: how late an alarm may ring.
	// Zero means 100 ms. A twentieth of the shortest timeout is a good value,
	// not below 10 ms: an idle process pays about 1 % of a core at 100 ms,
	// 5 % at 10 ms.
	Tick time.Duration
	// HighWater is the number of unsent bytes of a connection at which its
	// writer should stop: then Conn.Ready is false until Drained. Zero means
	// 64 KiB.
	HighWater int
	// Linger is how long a closing connection may go without the peer taking
	// a byte. Once all is sent the peer has 5 seconds, or Linger if that is
	// less, to close its side. Zero means 10 seconds.
	Linger time.Duration
	// MaxConns is the limit of connections that are accepted, of all loops
	// together. Zero means the process's descriptor limit less a reserve.
	MaxConns int
	// MaxConnsPerIP is the same for one IPv4 address, or one IPv6 network of
	// 64 bits. Zero means DefaultConnsPerIP, a negative value no limit.
	MaxConnsPerIP int
	// ConnRate is how many connections a second are accepted from one such
	// address; one that was quiet may use up ten seconds' worth at once. Zero
	// means DefaultConnRate, a negative value no limit.
	ConnRate int
	// Exempt are networks whose addresses these two are not for. Nil means
	// loopback, private and link-local networks; an empty list means none.
	// Unix sockets are always exempt.
	Exempt []netip.Prefix
	// Refused is told of each connection that is closed at once because of
	// one of these limits, and of its address, on loop 0. It must not block. Nil means nobody.
	Refused func(Refusal, netip.Addr)
	// Blocked is told, on that loop, when Loop.Unsent may have grown: a peer takes
	// less than is written to it. It must not block. Nil means nobody.
	Blocked func(*Loop)
	// Ticked is called, on that loop, when it has come to a tick of its clock and has rung
	// its alarms, and at its end: for what is worth doing a few times a second. It must
	// not block. Nil means nobody.
	Ticked func(*Loop)
	// Logger gets records of panics in handlers and of failing accepts, at most once a
	// second. Nil means slog.Default.
	Logger *slog.Logger

	// What follows is for tests alone.

	// HandshakesInTurn makes TLS handshakes part of the turn that brings their
	// bytes, so that a test runs the same each time. They hold up the loop.
	HandshakesInTurn bool
	// Faults makes system calls fail. Nil means that they fail as the operating
	// system pleases.
	Faults Faults
}

func (o Options) withDefaults() Options {
	if o.Tick == 0 {
		o.Tick = 100 * time.Millisecond
	}
	if o.HighWater == 0 {
		o.HighWater = 64 << 10
	}
	if o.Linger == 0 {
		o.Linger = 10 * time.Second
	}
	if o.MaxConnsPerIP == 0 {
		o.MaxConnsPerIP = DefaultConnsPerIP
	}
	if o.ConnRate == 0 {
		o.ConnRate = DefaultConnRate
	}
	if o.Exempt == nil {
		o.Exempt = peers.Shared()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}
