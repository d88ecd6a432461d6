package engine

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"turbine/internal/peers"
	"turbine/internal/proxied"
	"turbine/loop"
)

// ErrOptions is wrapped by the error that New returns for options that make
// no sense.
var ErrOptions = errors.New("engine: bad options")

// maxPayloadLimit bounds MaxPayload: lengths are kept in 32 bits.
const maxPayloadLimit = 1 << 30

// maxHeaderBytesLimit bounds MaxHeaderBytes: a head that comes line by line is
// looked at from its beginning each time.
const maxHeaderBytesLimit = 1 << 20

// Limits of times, numbers and bytes: sums and products of a few of them, with the
// time that a server has run, stay within 64 bits. Nobody needs more.
const (
	minTime   = time.Millisecond
	maxTime   = 10 * 365 * 24 * time.Hour
	maxLoops  = 256
	maxNumber = math.MaxInt32
	maxBytes  = 1 << 50
	// Each request of MaxFallback has a goroutine, and a place in a channel from the
	// first request outside the engine on.
	maxFallbackLimit = 1 << 20
)

// A number is an option that is a number or a time: what zero stands for, and what
// New takes. Where it can be off, a negative value switches it off.
type number[T int | int64 | time.Duration] struct {
	name                  string
	field                 *T
	standard, least, most T
	off                   bool
}

// settled fills in the defaults of numbers, and checks them in their order.
func settled[T int | int64 | time.Duration](numbers ...number[T]) error {
	for _, n := range numbers {
		if *n.field == 0 {
			*n.field = n.standard
		}
		switch value := *n.field; {
		case n.off && value < 0:
		case value < n.least:
			return badOption("%s of %v is below %v", n.name, value, n.least)
		case value > n.most:
			return badOption("%s of %v is above %v", n.name, value, n.most)
		}
	}
	return nil
}

// settleTimes fills in and checks the times.
func (o *Options) settleTimes() error {
	const off = true
	t := &o.Timeouts
	return settled([]number[time.Duration]{
		{"PingInterval", &o.PingInterval, 25 * time.Second, minTime, maxTime, !off},
		{"PingTimeout", &o.PingTimeout, 20 * time.Second, minTime, maxTime, !off},
		{"Timeouts.Idle", &t.Idle, 75 * time.Second, minTime, maxTime, !off},
		{"Timeouts.Header", &t.Header, 10 * time.Second, minTime, maxTime, !off},
		{"Timeouts.Body", &t.Body, 30 * time.Second, minTime, maxTime, !off},
		{"Timeouts.Upgrade", &t.Upgrade, 10 * time.Second, minTime, maxTime, !off},
		{"Timeouts.Close", &t.Close, 30 * time.Second, minTime, maxTime, !off},
		{"Timeouts.Admit", &t.Admit, 10 * time.Second, minTime, maxTime, !off},
		{"Timeouts.FirstRequest", &t.FirstRequest, 30 * time.Second, minTime, maxTime, !off},
		{"Timeouts.TLSHandshake", &t.TLSHandshake, loop.DefaultTLSTimeout, minTime, maxTime, !off},
		{"Timeouts.ForeignUpgrade", &t.ForeignUpgrade, time.Second, minTime, maxTime, off},
		{"Timeouts.SlowCallback", &t.SlowCallback, 20 * time.Millisecond, minTime, maxTime, off},
		{"Drain.Delay", &o.Drain.Delay, 0, 0, maxTime, !off},
		{"Drain.Period", &o.Drain.Period, 0, 0, maxTime, !off},
	}...)
}

// settleNumbers fills in and checks what is counted.
func (o *Options) settleNumbers() error {
	const off = true
	l := &o.Limits
	return settled([]number[int]{
		{"MaxPayload", &o.MaxPayload, 1_000_000, 1, maxPayloadLimit, !off},
		{"CompressionThreshold", &o.CompressionThreshold, defaultThreshold, 1, maxNumber, off},
		{"Loops", &o.Loops, 0, 0, maxLoops, !off},
		{"Limits.MaxConns", &l.MaxConns, 0, 0, maxNumber, !off}, // the descriptor limit decides
		{"Limits.MaxConnsPerIP", &l.MaxConnsPerIP, loop.DefaultConnsPerIP, 1, maxNumber, off},
		{"Limits.ConnRate", &l.ConnRate, loop.DefaultConnRate, 1, maxNumber, off},
		{"Limits.HandshakeRate", &l.HandshakeRate, 100, 1, maxNumber, off},
		{"Limits.MaxSessions", &l.MaxSessions, 0, 0, maxNumber, !off}, // see maxSessions
		{"Limits.MaxSessionsPerIP", &l.MaxSessionsPerIP, 8_192, 1, maxNumber, off},
		{"Limits.MaxHeaderBytes", &l.MaxHeaderBytes, 16_384, 1, maxHeaderBytesLimit, !off},
		{"Limits.MaxHeaders", &l.MaxHeaders, 100, 1, maxNumber, !off},
		{"Limits.MaxRequestLine", &l.MaxRequestLine, 8_192, 1, maxNumber, !off},
		{"Limits.MaxPipelined", &l.MaxPipelined, 64 << 10, 1, maxNumber, !off},
		{"Limits.MaxPayloadPackets", &l.MaxPayloadPackets, 16_384, 1, maxNumber, !off},
		{"Limits.MaxFragments", &l.MaxFragments, 16_384, 1, maxNumber, !off},
		{"Limits.MaxPolls", &l.MaxPolls, 100_000, 1, maxNumber, !off},
		{"Limits.MaxUpgrades", &l.MaxUpgrades, 10_000, 1, maxNumber, !off},
		{"Limits.MaxAdmitting", &l.MaxAdmitting, 10_000, 1, maxNumber, !off},
		{"Limits.MaxPending", &l.MaxPending, 256 << 10, 1, maxNumber, !off},
		{"Limits.MaxFallback", &l.MaxFallback, 1_000, 1, maxFallbackLimit, !off},
		{"Limits.MaxFallbackWaiting", &l.MaxFallbackWaiting, 1_000, 1, maxNumber, !off},
		{"Limits.MaxTLSHandshakes", &l.MaxTLSHandshakes, loop.DefaultTLSHandshakes, 1, maxNumber, !off},
		{"Queue.MaxBytes", &o.Queue.MaxBytes, 8 << 20, 1, maxNumber, !off},
		{"Queue.MaxPackets", &o.Queue.MaxPackets, 16_384, 1, maxNumber, !off},
	}...)
}

// settleWaterMarks fills in and checks the marks of queues, whose limit is settled: a
// queue ends before it gets to a mark above it.
func (o *Options) settleWaterMarks() error {
	q := &o.Queue
	if err := settled(number[int]{"Queue.HighWater", &q.HighWater, max(q.MaxBytes/4, 1), 1, q.MaxBytes, false}); err != nil {
		return err
	}
	return settled(number[int]{"Queue.LowWater", &q.LowWater, q.HighWater / 4, 0, q.HighWater - 1, false})
}

// settleBudgets fills in and checks the budgets, of which each has its part of Go's
// memory limit, if there is one.
func (o *Options) settleBudgets() error {
	return settled([]number[int64]{
		{"Queue.Budget", &o.Queue.Budget, memoryShare(1<<30, 4), 1, maxBytes, false},
		{"Limits.BodyBudget", &o.Limits.BodyBudget, memoryShare(256<<20, 16), 1, maxBytes, false},
		{"Limits.PendingBudget", &o.Limits.PendingBudget, memoryShare(256<<20, 16), 1, maxBytes, false},
	}...)
}

// withDefaults fills in the defaults and checks the result.
func (o Options) withDefaults() (Options, error) {
	if o.Path == "" {
		o.Path = "/engine.io/"
	}
	if o.Limits.Exempt == nil {
		o.Limits.Exempt = peers.Shared()
	}
	if o.Queue.Overflow == 0 {
		o.Queue.Overflow = OverflowClose
	}
	if len(o.Transports) == 0 {
		o.Transports = []Transport{Polling, WebSocket}
	}
	if len(o.Revisions) == 0 {
		o.Revisions = []Revision{Revision4, Revision3}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	for _, settle := range []func() error{o.settleTimes, o.settleNumbers, o.settleWaterMarks, o.settleBudgets, o.check} {
		if err := settle(); err != nil {
			return o, err
		}
	}
	o.own()
	return o, nil
}

// memoryShare is most bytes, or so many parts of Go's memory limit if that is
// less.
func memoryShare(most, parts int64) int64 {
	limit := debug.SetMemoryLimit(-1) // asks only
	return max(min(limit/parts, most), 1)
}

// own copies what the caller could change after it was checked.
func (o *Options) own() {
	o.Transports, o.Revisions = slices.Clone(o.Transports), slices.Clone(o.Revisions)
	o.Middleware, o.Access = slices.Clone(o.Middleware), o.Access.clone()
	o.Limits.Exempt = append([]netip.Prefix{}, o.Limits.Exempt...) // an empty list stays one
	o.Proxies.Trusted = slices.Clone(o.Proxies.Trusted)
	if o.Cookie != nil {
		c := *o.Cookie
		o.Cookie = &c
	}
	if o.Node != nil {
		n := *o.Node
		o.Node = &n
	}
	if o.TLS != nil {
		t := *o.TLS
		o.TLS = &t
	}
	if o.PerMessageDeflate != nil {
		d := *o.PerMessageDeflate
		o.PerMessageDeflate = &d
	}
}

// check finds what the options cannot mean.
func (o *Options) check() error {
	err := cmp.Or(o.checkPaths(), o.checkSettings(), o.checkPeers(), o.checkProtocol(),
		o.Access.check(), o.Cookie.check())
	if err != nil || o.TLS == nil {
		return err
	}
	if err := o.TLS.check(); err != nil {
		return badOption("TLS: %v", err)
	}
	return nil
}

// badOption is an ErrOptions that says which field and what is allowed.
func badOption(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrOptions, fmt.Sprintf(format, args...))
}

func (o *Options) checkPaths() error {
	if !strings.HasPrefix(o.Path, "/") {
		return badOption("Path %q does not begin with a slash", o.Path)
	}
	switch p := o.HealthPath; {
	case p == "":
	case p[0] != '/':
		return badOption("HealthPath %q does not begin with a slash", p)
	case strings.HasSuffix(p, "/"):
		return badOption("HealthPath %q ends with a slash", p)
	case strings.HasPrefix(p, o.prefix()):
		return badOption("HealthPath %q is below Path", p)
	case strings.HasPrefix(p+livePath, o.prefix()):
		return badOption("HealthPath %q: %q is below Path", p, p+livePath)
	}
	return nil
}

// prefix is what the paths of requests begin with that are Engine.IO.
func (o *Options) prefix() string {
	p := strings.TrimSuffix(o.Path, "/")
	if o.NoTrailingSlash {
		return p
	}
	return p + "/"
}

func (o *Options) checkSettings() error {
	if o.Queue.Overflow != OverflowClose && o.Queue.Overflow != OverflowDrop {
		return badOption("unknown Queue.Overflow %d", o.Queue.Overflow)
	}
	if o.Node != nil && o.Node.ID == 0 {
		return badOption("Node.ID of 0: it is to be drawn at random, and 0 is none")
	}
	if d := o.PerMessageDeflate; d != nil && (d.Threshold < 0 || d.Threshold > maxNumber) {
		return badOption("PerMessageDeflate.Threshold of %d is not within 0 and %d", d.Threshold, maxNumber)
	}
	return nil
}

func (o *Options) checkPeers() error {
	for _, list := range []struct {
		name     string
		networks []netip.Prefix
	}{{"Limits.Exempt", o.Limits.Exempt}, {"Proxies.Trusted", o.Proxies.Trusted}} {
		for i, p := range list.networks {
			switch {
			case !p.IsValid():
				return badOption("%s: network %d is none", list.name, i)
			case p.Addr().Is4In6():
				return badOption("%s: %v is to be written as an IPv4 network", list.name, p)
			}
		}
	}
	switch o.Proxies.ClientHeader {
	case "", proxied.ForwardedFor, proxied.Forwarded, proxied.RealIP:
		return nil
	}
	return badOption("Proxies.ClientHeader %q is none of %s, %s and %s", o.Proxies.ClientHeader, proxied.ForwardedFor, proxied.Forwarded, proxied.RealIP)
}

func (o *Options) checkProtocol() error {
	for _, t := range o.Transports {
		if t != Polling && t != WebSocket {
			return badOption("unknown transport %d", t)
		}
	}
	for _, r := range o.Revisions {
		if r != Revision3 && r != Revision4 {
			return badOption("unknown protocol revision %d", r)
		}
	}
	for i, m := range o.Middleware {
		if m == nil {
			return badOption("Middleware %d is nil", i)
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
	t := &o.Timeouts
	shortest := min(o.PingInterval, o.PingTimeout, t.Upgrade, t.Header, t.Body, t.Idle, t.Close, t.Admit, t.FirstRequest, t.TLSHandshake) / 20
	if t.ForeignUpgrade > 0 {
		shortest = min(shortest, t.ForeignUpgrade/2) // nobody waits for its end: that may be late by half
	}
	return max(10*time.Millisecond, min(shortest, maxTick))
}

// loop are the options of loops with the limits l.
func (o *Options) loop(l *Limits) loop.Options {
	return loop.Options{
		Loops:         o.Loops,
		Tick:          o.tick(),
		Linger:        o.Timeouts.Close,
		MaxConns:      l.MaxConns,
		MaxConnsPerIP: l.MaxConnsPerIP,
		ConnRate:      l.ConnRate,
		Logger:        o.Logger,
	}
}
