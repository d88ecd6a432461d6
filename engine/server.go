package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"turbine/httpparse"
	"turbine/internal/peers"
	"turbine/internal/proxied"
	"turbine/internal/seldom"
	"turbine/loop"
	"turbine/wsframe"
)

// A Server serves Engine.IO. Its methods are safe from any goroutine, in callbacks
// and after its end, unless their comment says otherwise.
type Server struct {
	options Options
	events  Events
	path    []byte // what is Engine.IO begins with
	health  []byte // Options.HealthPath
	limits  httpparse.Limits
	frames  wsframe.Limits
	meter   limitMeter
	initial *Prepared // the initial packet; nil without
	ownIDs  ownIDs

	dispatch *dispatcher              // to Options.Executor; nil without
	watchdog atomic.Pointer[watchdog] // nil before Serve, and where nobody watches

	shares shares // written before the loops run

	handshakes *peers.Rates // by address, of all loops
	places     sessionPlaces
	exempt     atomic.Pointer[peers.Networks]  // Limits.Exempt, and the trusted proxies
	proxies    atomic.Pointer[proxied.Proxies] // Options.Proxies says the first ones
	tls        *serverTLS                      // nil without Options.TLS
	debug      debugLoggers
	traces     traces
	interests  *interests // nil without a bus

	pages            atomic.Pointer[pageRules] // Options.Access says the first ones
	middleware       http.Handler              // the chain of Options.Middleware; nil without
	deflateThreshold int                       // of WebSocket messages, bytes

	fallback      *outside     // of Options.Fallback; nil without
	seats         seats        // of all outsides
	outsideBodies atomic.Int64 // bytes of bodies that ServeHTTP holds
	carried       carriedTLS
	quiet         *slog.Logger // for trouble that clients may cause at will
	faults        seldom.Once  // of the application's errors that refuse clients
	denials       seldom.Once  // of clients that the application does not want
	bindings      seldom.Once  // of requests that are not bound to their session
	forbids       seldom.Once  // of requests that are forbidden for where they come from
	lastRefused   refusedRequests

	dealer *loop.Dealer // of the loops
	shards []*shard     // by loop; written before the loops run, read by others under mu
	phase  phase
	// Options.Drain, and SetDrain after it.
	drainPace atomic.Pointer[Drain]
	// Clients that are told 503 come back within so many seconds; 0 before a drain.
	retryWithin atomic.Int64
	handedOver  atomic.Bool // StopAccepting was called
	epoch       epoch       // of the clock of the loops

	mu      sync.Mutex
	bounds  Limits        // guarded by mu; those of SetLimits, with defaults
	reactor *loop.Reactor // guarded by mu; nil before the first Serve
	since   time.Time     // guarded by mu; when the server was given its loops
	done    chan struct{} // guarded by mu; closed when the reactor's loops have ended
	ended   error         // why they did, written before done is closed

	outsideMu    sync.Mutex
	surroundings map[*http.Server]*outside // of which the loops have connections; guarded by outsideMu
	outsideLast  bool                      // requests outside are their connections' last; guarded by outsideMu
	outsideOver  bool                      // guarded by outsideMu
}

// New checks the options and makes a Server, which has no goroutine before it serves.
// The error wraps ErrOptions.
func New(o Options, e Events) (*Server, error) {
	filled, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		options: filled,
		events:  e,
		path:    []byte(filled.prefix()),
		health:  []byte(filled.HealthPath),
		frames:  wsframe.Limits{Message: filled.MaxPayload, Fragments: filled.Limits.MaxFragments},
		limits: httpparse.Limits{
			RequestLine: filled.Limits.MaxRequestLine, HeaderBytes: filled.Limits.MaxHeaderBytes, HeaderCount: filled.Limits.MaxHeaders,
		},
		handshakes: peers.NewRates(filled.Limits.HandshakeRate),
		bounds:     filled.Limits,
		interests:  newInterests(filled.Node),
	}
	s.places.byAddress, s.places.exempt = peers.NewCounts(filled.Limits.MaxSessionsPerIP), &s.exempt
	s.proxies.Store(filled.Proxies.believed())
	s.drainPace.Store(&filled.Drain)
	s.useExempt()
	s.debug.set(filled.Debug)
	s.dispatch = newDispatcher(s)
	s.quiet = slog.New(seldom.Handler(filled.Logger.Handler()))
	s.seats.limit, s.seats.waitLimit = filled.Limits.MaxFallback, filled.Limits.MaxFallbackWaiting
	if filled.Fallback != nil {
		s.fallback = newFallback(s)
	}
	s.pages.Store(filled.Access.pageRules())
	if m := filled.InitialPacket; m != nil {
		if s.initial, err = Prepare(*m); err != nil {
			return nil, fmt.Errorf("%w: InitialPacket: %w", ErrOptions, err)
		}
	}
	if d := filled.PerMessageDeflate; d != nil {
		s.deflateThreshold = d.Threshold
		if d.Threshold == 0 {
			s.deflateThreshold = defaultThreshold
		}
	}
	if err := s.newTLS(); err != nil {
		return nil, err
	}
	if len(filled.Middleware) > 0 {
		s.middleware = middlewareEnd
		for _, wrap := range slices.Backward(filled.Middleware) {
			s.middleware = wrap(s.middleware)
		}
	}
	return s, nil
}

// useLoops makes loops the server's own, which may have that many connections, 0 if
// the system does not say. s.mu is held.
func (s *Server) useLoops(loops []*loop.Loop, conns int) {
	s.places.limit.Store(s.bounds.maxSessions(conns))
	s.shares = s.options.shares(len(loops))
	s.dealer = loop.NewDealer(loops)
	s.since = time.Now()
	s.shards = make([]*shard, len(loops))
	for _, l := range loops {
		s.shards[l.Index()] = &shard{server: s, loop: l, mark: mark{on: s.options.Timeouts.SlowCallback > 0}, wary: turnWary}
	}
}

// allShards returns the shards for a caller that is not on a loop.
func (s *Server) allShards() []*shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shards
}

// ListenAndServe is Listen and Serve. An error of Listen is a *net.OpError.
func (s *Server) ListenAndServe(address string) error {
	l, err := Listen(address)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// Serve takes the listener, which must be of the type that net.Listen returns for TCP
// or Unix sockets, and serves until Shutdown, which makes it return ErrServerClosed.
// It may be called for several listeners at the same time: all share the loops and
// the limits. Any other error is about l, and the other listeners keep running,
// unless the loops have ended. Behind a proxy that speaks the PROXY protocol, give it
// a ProxyListener.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, nil) }

// serve is Serve with a choice of the handler of each connection, nil for
// accept.
func (s *Server) serve(l net.Listener, accept func(*loop.Conn) loop.Handler) error {
	if p, ok := l.(proxyListener); ok {
		if s.proxies.Load().TrustNobody() {
			_ = l.Close()
			return errNobodyTrusted
		}
		l, accept = p.Listener, s.afterPreamble(accept)
	}
	done, err := s.start(func(reactor *loop.Reactor) error { return reactor.Listen(l, accept) })
	if err != nil {
		_ = l.Close()
		return err
	}
	<-done
	if s.ended != nil {
		return fmt.Errorf("engine: event loops: %w", s.ended)
	}
	return ErrServerClosed
}

// start makes the loops run, if they do not yet, and gives them something to
// do. done is closed when they have ended. If what they are first given fails,
// it is as if nothing had been.
func (s *Server) start(first func(*loop.Reactor) error) (done <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase.draining() {
		return nil, ErrServerClosed
	}
	reactor, running := s.reactor, s.reactor != nil
	if !running {
		if s.shards != nil {
			return nil, errors.New("engine: UseLoops has given this server loops that others drive")
		}
		if reactor, err = loop.Open(s.loopOptions(), s.accept); err != nil {
			return nil, fmt.Errorf("engine: open event loops: %w", err)
		}
		s.useLoops(reactor.Loops(), reactor.MaxConns()) // before the first connection
	}
	if err := first(reactor); err != nil {
		if !running {
			reactor.Stop()
			s.shards = nil
		}
		if errors.Is(err, loop.ErrStopped) { // StopAccepting was called
			err = ErrServerClosed
		}
		return nil, err
	}
	if !running {
		s.reactor, s.done = reactor, make(chan struct{})
		w := newWatchdog(s)
		w.start() // here: a Close may come next, and end the loops on its own goroutine
		go s.runLoops(reactor, w, s.done)
	}
	return s.done, nil
}

// runLoops is the goroutine that waits for the loops.
func (s *Server) runLoops(reactor *loop.Reactor, w *watchdog, done chan<- struct{}) {
	s.ended = reactor.Serve()
	w.end()
	s.closeOutsides()
	close(done)
}
