package loop

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"turbine/internal/peers"
	"turbine/internal/seldom"
	"turbine/pool"
)

// Defaults of TLSOptions.
const (
	// DefaultTLSHandshakes is how many handshakes may be under way: what 16
	// processors compute in a second comes to a quarter of it in the time that
	// a distant client takes for its part.
	DefaultTLSHandshakes = 4096
	// DefaultTLSTimeout is how long one may take.
	DefaultTLSTimeout = 10 * time.Second
)

// Errors a connection may end with because of its TLS, in addition to those of
// crypto/tls.
var (
	ErrTLSTimeout   = errors.New("loop: TLS handshake too slow")
	ErrTLSTooMany   = errors.New("loop: too many TLS handshakes")
	ErrTLSFlood     = errors.New("loop: peer makes TLS answer and takes nothing")
	errNotTLS       = errors.New("first bytes are no TLS handshake")
	errTLSAbandoned = errors.New("loop: TLS handshake abandoned")
	errTLSEarlyEnd  = errors.New("connection ended inside the handshake")
	errTLSExit      = errors.New("loop: a callback of the TLS config has ended its goroutine")
	errTLSTooLong   = errors.New("TLS message too long")
	errTLSProtocol  = errors.New("peer chose another protocol")
)

// A TLSLimit is what a connection met before its handshake was done.
type TLSLimit uint8

// The limits of handshakes.
const (
	TLSHandshakes TLSLimit = iota + 1 // TLSOptions.MaxHandshakes
	TLSTimeout                        // TLSOptions.Timeout
	TLSSilence                        // the same, and not a byte had come
)

// TLSOptions of a TLS. The zero value of each field but Config is its default.
type TLSOptions struct {
	// Config is for all connections, and is copied. Its callbacks, and what signs
	// with keys that are not the standard library's, run next to the loops, each on
	// the goroutine of its handshake. While they wait, other handshakes compute,
	// and MaxHandshakes bounds how many wait. The same holds for what its
	// GetConfigForClient returns, which is copied for each handshake.
	Config *tls.Config
	// Protocols are those that the Handlers speak. They come in front of the
	// NextProtos of each config; a connection that has negotiated another one is
	// closed once its handshake is done, which is what a certificate authority
	// that looks at acme-tls/1 asks for. Nil means that the Handlers speak whatever
	// is negotiated.
	Protocols []string
	// Timeout is how long a connection may take, from when it was accepted,
	// until its handshake is done. Zero means 10 seconds.
	Timeout time.Duration
	// MaxHandshakes is the limit of handshakes under way, from the client's
	// first message on. One more takes the place of one that waits for its client:
	// the oldest of the address that holds most, if that is more than a sixteenth of
	// all, otherwise the oldest of all. If none waits for its client the new one is
	// closed. Zero means 4,096.
	MaxHandshakes int
	// Exempt are networks whose addresses may stand for any number of clients: what
	// one of them holds is not counted together.
	Exempt peers.Networks
	// Plain is the answer to a client that does not speak TLS, whose first bytes, at
	// least five, are borrowed. Nil, as a nil answer, means none.
	Plain func(first []byte) (answer []byte)
	// Met is told on its loop of each connection that is closed for one of the
	// limits. Nil means nobody.
	Met func(*Loop, TLSLimit)
	// Logger gets records of handshakes that fail, at most once a second. Nil means
	// slog.Default.
	Logger *slog.Logger
}

// TLSStats are counts since NewTLS.
type TLSStats struct {
	Done    uint64 // handshakes done
	Resumed uint64 // of these, those that resumed an earlier session
	Failed  uint64 // those that failed, what is no TLS at all included
	Plain   uint64 // of these, those that TLSOptions.Plain had an answer for
	Now     int    // handshakes under way
}

// TLS speaks TLS on connections, between the socket's bytes and the Handler:
// its Accept is for Reactor.Listen and Open. All loops share it.
//
// The Handler, and whatever uses the Conn, see no difference. What is written waits
// in plain text and is encrypted when it is flushed, as far as the kernel takes it.
type TLS struct {
	options TLSOptions
	base    *tls.Config                // what each handshake begins with; it has the keys of session tickets
	current atomic.Pointer[tls.Config] // what it continues with, unless the application has another
	compute chan struct{}              // a place for each handshake that has a processor
	places  *places

	done, resumed, failed, plain atomic.Uint64

	complaints seldom.Once
}

// NewTLS makes a TLS.
func NewTLS(o TLSOptions) *TLS {
	if o.Timeout == 0 {
		o.Timeout = DefaultTLSTimeout
	}
	if o.MaxHandshakes == 0 {
		o.MaxHandshakes = DefaultTLSHandshakes
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	t := &TLS{options: o, base: o.Config.Clone()}
	t.adapt(t.base)
	t.places = newPlaces(o.MaxHandshakes, o.Exempt)
	t.base.GetConfigForClient = t.configFor
	t.Use(o.Config)
	// Handshakes compute for a millisecond at a time. With more of them than
	// processors the loops, which wait for one like any other goroutine, would
	// wait for all of them.
	t.compute = make(chan struct{}, runtime.GOMAXPROCS(0))
	return t
}

// Limit replaces MaxHandshakes and Exempt of the options, for handshakes that begin from
// now on. Zero means the default, and nil that nobody is exempt. Safe from any goroutine.
func (t *TLS) Limit(maxHandshakes int, exempt []netip.Prefix) {
	if maxHandshakes == 0 {
		maxHandshakes = DefaultTLSHandshakes
	}
	t.places.set(maxHandshakes, slices.Clone(exempt))
}

// Accept returns an accept function that has TLS on each connection before
// accept chooses its Handler, which is when the handshake is done.
func (t *TLS) Accept(accept func(*Conn) Handler) func(*Conn) Handler {
	return func(c *Conn) Handler {
		f := &tlsConn{conn: c, handler: discard{}}
		f.shake = newHandshake(t, f, accept)
		c.SetHandler(f) // so that it can be hurried
		return f
	}
}

// Stats returns the counts. Safe from any goroutine.
func (t *TLS) Stats() TLSStats {
	return TLSStats{
		Done: t.done.Load(), Resumed: t.resumed.Load(),
		Failed: t.failed.Load(), Plain: t.plain.Load(),
		Now: t.places.count(),
	}
}

// met calls the option Met.
func (t *TLS) met(l *Loop, limit TLSLimit) {
	if f := t.options.Met; f != nil {
		f(l, limit)
	}
}

// fail counts a handshake that failed, and logs it.
func (t *TLS) fail(c *Conn, err error) {
	t.failed.Add(1)
	if suppressed, ok := t.complaints.Allow(c.Loop().clock()); ok {
		t.options.Logger.Warn("TLS handshake failed", "error", err, "peer", c.RemoteAddr(), "suppressed", suppressed)
	}
}

// tlsConn is what is between a connection and its Handler where there is TLS:
// crypto/tls over a net.Conn that never waits.
//
//	| state     | event                      | next      | does
//	| hello     | piece of a first record    | hello     | kept
//	| hello     | no TLS                     | closing   | TLSOptions.Plain
//	| hello     | whole first record         | shaking   | a place under way, a goroutine; without: closed
//	| -         | dialed, TLS.Client         | shaking   | the same; its first record is sent
//	| shaking   | bytes                      | shaking   | kept, handed over when they are wanted
//	| shaking   | handshake failed           | closing   | its alert is sent
//	| shaking   | handshake done             | open      | accept, then bytes that came behind it
//	| hello, shaking | deadline, peer gone   | closed    | the goroutine ends
//	| open      | bytes                      | open      | decrypt, Handler.Data
//	| open      | close_notify, end of stream | open     | Handler.EOF, once
//	| open      | what cannot be decrypted   | closed    | alert as far as the kernel takes it, Handler.Closed
//	| open      | Close, all sent            | open      | close_notify, then as without TLS
//
// hello and shaking are those with a handshake. It has shake while it lasts. A client
// is told of each end before open.
type tlsConn struct {
	conn    *Conn
	handler Handler
	tls     *tls.Conn  // nil before the handshake and after Closed
	shake   *handshake // nil when done
	wire    *sendQueue // encrypted and not taken by the kernel, in front of conn.out; nil when empty
	early   *pool.Buf  // came during the handshake, not decrypted yet; nil without
	part    *pool.Buf  // of a record that is not whole; nil without
	in      []byte     // what crypto/tls may read: borrowed
	owed    error      // what ends the stream, while the connection moves
	over    bool       // the peer's end was told
	atEnd   bool       // the socket's end was seen
	sealing bool       // what crypto/tls writes goes to the loop's scratch
	noticed bool       // close_notify was sent
	client  bool       // of the two it is the one that dialed
}

// filter is the connection's TLS, nil without.
func (c *Conn) filter() *tlsConn {
	f, _ := c.handler.(*tlsConn)
	return f
}

// Secure reports whether the connection speaks TLS.
func (c *Conn) Secure() bool { return c.filter() != nil }

// TLS returns a copy of the state of the connection's TLS, nil without or where
// the connection is over.
func (c *Conn) TLS() *tls.ConnectionState {
	f := c.filter()
	if f == nil || f.tls == nil || f.shake != nil {
		return nil
	}
	state := f.tls.ConnectionState()
	return &state
}

// Data borrows p.
func (f *tlsConn) Data(p []byte) {
	if f.shake != nil {
		f.shake.data(p)
		return
	}
	f.pump(p)
}

func (f *tlsConn) Drained() { f.handler.Drained() }

// EOF is the end of the socket's stream. Inside a record it is an error, but not
// without close_notify: HTTP and WebSocket tell by themselves whether a message
// is whole, and many clients just close.
func (f *tlsConn) EOF() {
	f.atEnd = true
	if f.shake != nil {
		f.conn.end(errTLSEarlyEnd)
		return
	}
	f.pump(nil)
}

func (f *tlsConn) Closed(err error) {
	if f.shake != nil {
		f.shake.abandon(err)
		return
	}
	handler := f.handler
	f.handler, f.tls = discard{}, nil
	handler.Closed(err)
}

// pump decrypts p, which it borrows, and what came before and was no whole
// record, and hands the result on, all of it in one piece: that is how the
// Handler may move the connection, with what it has not used, or pause it.
func (f *tlsConn) pump(p []byte) {
	c := f.conn
	l := c.Loop()
	plain := l.plainText()
	n, err := f.open(p, plain)
	if f.wire != nil && f.wire.size > maxTLSAnswers {
		err = ErrTLSFlood
	}
	if n > 0 {
		f.handler.Data(plain[:n])
	}
	if err != nil {
		f.end(err)
	}
}

// end says that no more will come.
func (f *tlsConn) end(err error) {
	c := f.conn
	switch {
	case c.state == connClosed || f.over:
	case c.state == connMoving:
		f.owed = err // the new loop tells
	case err != io.EOF:
		f.over = true
		if f.wire != nil && !c.blocked { // the alert says why
			_, _ = f.wire.send(c.Loop(), int(c.fd), false)
		}
		c.end(err)
	default:
		f.over = true
		f.ended()
	}
}

// ended is sawEOF for the end of what was encrypted, which may come before the
// socket's.
func (f *tlsConn) ended() {
	c := f.conn
	if c.state == connDraining {
		if !c.eof {
			c.Loop().sawEOF(c)
		}
		return
	}
	c.eof = true
	c.rewatch()
	if c.state == connOpen {
		f.handler.EOF()
	}
}

// arrived continues on the loop that the connection has moved to.
func (f *tlsConn) arrived() {
	f.deliver()
	if err := f.owed; err != nil && f.conn.state != connMoving {
		f.owed = nil
		f.end(err)
	}
}

// drop gives back what the connection holds, when it is over.
func (f *tlsConn) drop(l *Loop) {
	if f.wire != nil {
		l.giveBack(f.wire)
		f.wire = nil
	}
	for _, b := range []**pool.Buf{&f.early, &f.part} {
		if *b != nil {
			(*b).Release()
			*b = nil
		}
	}
}
