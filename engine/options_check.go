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
	maxTime   = 10 * 365 * 24 * time.Hour
	maxNumber = math.MaxInt32
	maxBytes  = 1 << 50
	// Each request of MaxFallback has a goroutine, and a place in a channel from the
	// first request outside the engine on.
	maxFallbackLimit = 1 << 20
)

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
	setDuration(&o.IdleTimeout, 75*time.Second)
	setDuration(&o.CloseTimeout, 30*time.Second)
	setDuration(&o.ForeignUpgradeTimeout, time.Second)
	setDuration(&o.AdmitTimeout, 10*time.Second)
	setDuration(&o.FirstRequestTimeout, 30*time.Second)
	setDuration(&o.TLSHandshakeTimeout, loop.DefaultTLSTimeout)
	setDuration(&o.SlowCallback, 20*time.Millisecond)
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
	setInt(&o.MaxSessionsPerIP, 8_192)
	setInt(&o.MaxTLSHandshakes, loop.DefaultTLSHandshakes)
	setInt(&o.MaxPolls, 100_000)
	setInt(&o.MaxUpgrades, 10_000)
	setInt(&o.MaxQueue, 8<<20)
	setInt(&o.MaxQueuePackets, 16_384)
	setInt(&o.MaxPending, 256<<10)
	setInt(&o.HighWater, max(o.MaxQueue/4, 1))
	setInt(&o.LowWater, o.HighWater/4)
	setBudget := func(n *int64, most, parts int64) {
		if *n == 0 {
			*n = memoryShare(most, parts)
		}
	}
	setBudget(&o.QueueBudget, 1<<30, 4)
	setBudget(&o.BodyBudget, 256<<20, 16)
	setBudget(&o.PendingBudget, 256<<20, 16)
	if o.Exempt == nil {
		o.Exempt = peers.Shared()
	}
	if o.Overflow == 0 {
		o.Overflow = OverflowClose
	}
	setInt(&o.MaxAdmitting, 10_000)
	setInt(&o.MaxFallback, 1_000)
	setInt(&o.MaxFallbackWaiting, 1_000)
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

// memoryShare is most bytes, or so many parts of Go's memory limit if that is
// less.
func memoryShare(most, parts int64) int64 {
	limit := debug.SetMemoryLimit(-1) // asks only
	return max(min(limit/parts, most), 1)
}

// own copies what the caller could change after it was checked.
func (o *Options) own() {
	o.Transports, o.Revisions = slices.Clone(o.Transports), slices.Clone(o.Revisions)
	o.Middleware, o.Origins = slices.Clone(o.Middleware), slices.Clone(o.Origins)
	o.Exempt = append([]netip.Prefix{}, o.Exempt...) // an empty list stays one
	o.TrustedProxies = slices.Clone(o.TrustedProxies)
	if o.Cookie != nil {
		c := *o.Cookie
		o.Cookie = &c
	}
	if o.TLS != nil {
		t := *o.TLS
		o.TLS = &t
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

// check finds what the options cannot mean.
func (o *Options) check() error {
	err := cmp.Or(o.checkPaths(), o.checkTimes(), o.checkNumbers(), o.checkQueue(), o.checkPeers(), o.checkProtocol(),
		checkOrigins(o.Origins), o.CORS.check(), o.Cookie.check())
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
	if p := o.HealthPath; p != "" && (p[0] != '/' || strings.HasSuffix(p, "/") || strings.HasPrefix(p, o.Path)) {
		return badOption("HealthPath %q does not begin with a slash, ends with one, or is below Path", p)
	}
	return nil
}

func (o *Options) checkTimes() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"PingInterval", o.PingInterval}, {"PingTimeout", o.PingTimeout},
		{"UpgradeTimeout", o.UpgradeTimeout}, {"HeaderTimeout", o.HeaderTimeout},
		{"BodyTimeout", o.BodyTimeout}, {"IdleTimeout", o.IdleTimeout},
		{"CloseTimeout", o.CloseTimeout}, {"ForeignUpgradeTimeout", o.ForeignUpgradeTimeout},
		{"AdmitTimeout", o.AdmitTimeout}, {"FirstRequestTimeout", o.FirstRequestTimeout},
		{"TLSHandshakeTimeout", o.TLSHandshakeTimeout},
	} {
		if d.value < time.Millisecond {
			return badOption("%s of %v is below one millisecond", d.name, d.value)
		}
		if d.value > maxTime {
			return badOption("%s of %v is above ten years", d.name, d.value)
		}
	}
	if o.SlowCallback > maxTime {
		return badOption("SlowCallback of %v is above ten years; a negative time switches it off", o.SlowCallback)
	}
	if o.SlowCallback > 0 && o.SlowCallback < time.Millisecond {
		return badOption("SlowCallback of %v is below one millisecond", o.SlowCallback)
	}
	if o.DrainDelay < 0 {
		return badOption("DrainDelay of %v is negative", o.DrainDelay)
	}
	if o.DrainPeriod < 0 {
		return badOption("DrainPeriod of %v is negative", o.DrainPeriod)
	}
	if o.DrainDelay > maxTime || o.DrainPeriod > maxTime {
		return badOption("DrainDelay of %v or DrainPeriod of %v is above ten years", o.DrainDelay, o.DrainPeriod)
	}
	return nil
}

func (o *Options) checkNumbers() error {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"MaxPayload", int64(o.MaxPayload)}, {"MaxPayloadPackets", int64(o.MaxPayloadPackets)}, {"MaxFragments", int64(o.MaxFragments)},
		{"MaxRequestLine", int64(o.MaxRequestLine)}, {"MaxHeaderBytes", int64(o.MaxHeaderBytes)},
		{"MaxHeaders", int64(o.MaxHeaders)}, {"MaxPipelined", int64(o.MaxPipelined)},
		{"MaxQueue", int64(o.MaxQueue)}, {"MaxQueuePackets", int64(o.MaxQueuePackets)}, {"QueueBudget", o.QueueBudget},
		{"MaxConnsPerIP", int64(o.MaxConnsPerIP)}, {"ConnRate", int64(o.ConnRate)}, {"HandshakeRate", int64(o.HandshakeRate)},
		{"MaxSessionsPerIP", int64(o.MaxSessionsPerIP)},
		{"MaxTLSHandshakes", int64(o.MaxTLSHandshakes)},
		{"MaxPolls", int64(o.MaxPolls)}, {"MaxUpgrades", int64(o.MaxUpgrades)}, {"MaxAdmitting", int64(o.MaxAdmitting)},
		{"MaxPending", int64(o.MaxPending)}, {"PendingBudget", o.PendingBudget}, {"BodyBudget", o.BodyBudget},
		{"MaxFallback", int64(o.MaxFallback)}, {"MaxFallbackWaiting", int64(o.MaxFallbackWaiting)},
		{"Compression.Threshold", int64(o.Compression.Threshold)},
	} {
		if n.value < 1 {
			return badOption("%s of %d is below 1", n.name, n.value)
		}
		most := int64(maxNumber)
		if strings.HasSuffix(n.name, "Budget") {
			most = maxBytes
		}
		if n.name == "MaxFallback" {
			most = maxFallbackLimit
		}
		if n.value > most {
			return badOption("%s of %d is above %d", n.name, n.value, most)
		}
	}
	if o.MaxPayload > maxPayloadLimit {
		return badOption("MaxPayload of %d is above %d", o.MaxPayload, maxPayloadLimit)
	}
	if o.MaxHeaderBytes > maxHeaderBytesLimit {
		return badOption("MaxHeaderBytes of %d is above %d", o.MaxHeaderBytes, maxHeaderBytesLimit)
	}
	if o.Loops < 0 || o.Loops > 256 {
		return badOption("Loops of %d is not within 0 and 256", o.Loops)
	}
	if o.MaxConns < 0 || o.MaxConns > maxNumber {
		return badOption("MaxConns of %d is not within 0 and %d", o.MaxConns, maxNumber)
	}
	if o.MaxSessions < 0 || o.MaxSessions > maxNumber {
		return badOption("MaxSessions of %d is not within 0 and %d", o.MaxSessions, maxNumber)
	}
	if d := o.PerMessageDeflate; d != nil && (d.Threshold < 0 || d.Threshold > maxNumber) {
		return badOption("PerMessageDeflate.Threshold of %d is not within 0 and %d", d.Threshold, maxNumber)
	}
	return nil
}

func (o *Options) checkQueue() error {
	if o.Overflow != OverflowClose && o.Overflow != OverflowDrop {
		return badOption("unknown Overflow %d", o.Overflow)
	}
	if o.HighWater < 1 || o.LowWater < 0 || o.LowWater >= o.HighWater {
		return badOption("LowWater of %d and HighWater of %d: 0 <= LowWater < HighWater is needed", o.LowWater, o.HighWater)
	}
	if o.HighWater > o.MaxQueue {
		return badOption("HighWater of %d is above MaxQueue of %d: a queue ends before it gets there", o.HighWater, o.MaxQueue)
	}
	return nil
}

func (o *Options) checkPeers() error {
	for _, list := range []struct {
		name     string
		networks []netip.Prefix
	}{{"Exempt", o.Exempt}, {"TrustedProxies", o.TrustedProxies}} {
		for i, p := range list.networks {
			switch {
			case !p.IsValid():
				return badOption("%s: network %d is none", list.name, i)
			case p.Addr().Is4In6():
				return badOption("%s: %v is to be written as an IPv4 network", list.name, p)
			}
		}
	}
	switch o.ClientHeader {
	case "", proxied.ForwardedFor, proxied.Forwarded, proxied.RealIP:
		return nil
	}
	return badOption("ClientHeader %q is none of %s, %s and %s", o.ClientHeader, proxied.ForwardedFor, proxied.Forwarded, proxied.RealIP)
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
	shortest := min(o.PingInterval, o.PingTimeout, o.UpgradeTimeout, o.HeaderTimeout, o.BodyTimeout, o.IdleTimeout, o.CloseTimeout, o.AdmitTimeout, o.FirstRequestTimeout, o.TLSHandshakeTimeout)
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
