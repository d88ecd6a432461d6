package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"turbine/cluster"
)

const (
	user      = "turbine"
	ready     = 5 * time.Second       // for the ports to be open; it takes 3 ms
	readyStep = 50 * time.Millisecond // between two looks whether it will not be

	// routeRetries is how often a server tries, once a second, to reach another of which
	// it heard from a third. Those named in Routes it tries to reach forever.
	routeRetries = 600

	writeDeadline = 10 * time.Second
	maxPending    = 64 << 20 // bytes that a connection may have unsent, then the server cuts it
)

// Start starts a NATS server, for cluster.Options.Embedded. The URL is that for this
// process, and has the password in it. Stop ends the server and returns when its ports are
// closed and its goroutines have ended; it may be called more than once.
//
// Where the address for routes is taken, the server listens on a random port of the same
// host and has the address among its routes: so two processes of one machine find each
// other without more configuration, and so a new process starts beside the one that it
// takes over from. Such a server looks once a second whether the address is free, and
// then starts anew on it; what is published in that moment is lost, and counted as such
// by the cluster.
func Start(c cluster.EmbeddedConfig) (address string, stop func(), err error) {
	e := &embedded{config: c, log: c.Logger, quit: make(chan struct{})}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if c.MaxPayload <= 0 || c.MaxPayload > maxPending {
		return "", nil, fmt.Errorf("embedded: MaxPayload is %d, and has to be between 1 and %d", c.MaxPayload, maxPending)
	}
	if c.ClientPassword == "" || c.RoutePassword == "" {
		return "", nil, errors.New("embedded: both passwords are needed")
	}
	if e.host, e.port, err = split(c.Listen); err != nil {
		return "", nil, fmt.Errorf("embedded: address for routes: %w", err)
	}
	for _, route := range c.Routes {
		if _, _, err := split(strings.TrimPrefix(route, "dns:")); err != nil {
			return "", nil, fmt.Errorf("embedded: route: %w", err)
		}
	}
	e.names = resolve(c.Routes, e.log)
	if err := listens(e.host, 0); err != nil {
		return "", nil, fmt.Errorf("embedded: address for routes: %w", err)
	}
	moved := false
	if err := listens(e.host, e.port); err != nil {
		moved = true
		e.log.Warn("address for NATS routes is taken, so the server uses another port until it is free", "address", c.Listen, "error", err)
	}
	err = e.start(moved)
	if err != nil && !moved && e.port != 0 { // another process may have been a moment faster
		moved = true
		err = e.start(moved)
	}
	if err != nil {
		return "", nil, err
	}
	named := false
	for _, route := range c.Routes {
		named = named || strings.HasPrefix(route, "dns:")
	}
	if moved || named {
		e.watching.Go(e.watch)
	}
	u := url.URL{Scheme: "nats", User: url.UserPassword(user, c.ClientPassword), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(e.client))}
	return u.String(), e.stop, nil
}

type embedded struct {
	config   cluster.EmbeddedConfig
	log      *slog.Logger
	host     string
	port     int // as configured, 0 for a random one
	client   int // the port for this process, the same after a restart
	quit     chan struct{}
	once     sync.Once
	watching sync.WaitGroup

	// what start and watch use, one after the other
	names   []string // addresses of routes, with names resolved
	moved   bool     // listens on another port than port
	options *server.Options

	mu     sync.Mutex
	server *server.Server // nil after stop
	ended  bool
}

// split takes an address apart. A port has to be a number.
func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port of %q: %w", address, err)
	}
	return host, int(n), nil
}

// listens says why an address cannot be listened on.
func listens(host string, port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}

// start starts a server: on the configured address for routes, or, moved, on another.
func (e *embedded) start(moved bool) error {
	o := &server.Options{
		ServerName: e.config.Name,
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		Username:   user,
		Password:   e.config.ClientPassword,
		MaxPayload: int32(e.config.MaxPayload), // #nosec G115 -- at most maxPending
		MaxPending: maxPending,
		// The process is not the server's: the program handles signals, and logs.
		NoSigs: true, NoLog: true,
		NoSystemAccount: true,
		WriteDeadline:   writeDeadline,
		// A publisher is never made to wait for a slow consumer of this process.
		NoFastProducerStall: true,
		Routes:              e.routes(moved),
		Cluster: server.ClusterOpts{
			Name:     e.config.Cluster,
			Host:     e.host,
			Port:     e.port,
			Username: user,
			Password: e.config.RoutePassword,
			// One connection between two servers, or order would be lost between them.
			PoolSize: -1,
			// The ports for clients are of one process each.
			NoAdvertise:    true,
			Advertise:      e.config.Advertise,
			ConnectRetries: routeRetries,
			TLSTimeout:     3,
			AuthTimeout:    3,
			Compression:    server.CompressionOpts{Mode: server.CompressionOff},
		},
	}
	if e.client != 0 {
		o.Port = e.client
	}
	if moved {
		o.Cluster.Advertise = "" // it is that of the configured port
	}
	if moved || e.port == 0 {
		o.Cluster.Port = server.RANDOM_PORT
	}
	if e.config.TLS != nil {
		o.Cluster.TLSConfig = e.config.TLS.Clone()
	}
	s, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	said := newLogs(e.log)
	s.SetLoggerV2(said, false, false, false)
	s.Start()
	open := false
	for end := time.Now().Add(ready); !open && !said.fatal.Load() && time.Now().Before(end); {
		open = s.ReadyForConnections(readyStep)
	}
	if !open {
		s.Shutdown()
		s.WaitForShutdown()
		return fmt.Errorf("embedded: NATS could not open its ports on 127.0.0.1 and %s", e.config.Listen)
	}
	addr, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		s.Shutdown()
		return errors.New("embedded: NATS has no port")
	}
	e.client, e.moved, e.options = addr.Port, moved, o
	e.mu.Lock()
	e.server = s
	ended := e.ended
	e.mu.Unlock()
	if ended { // stop came while a new server started
		e.shut()
	}
	return nil
}

// reachable is an address that a dialer can use: that of all interfaces is this machine.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// routes are the addresses as the server wants them. A server that dials sends its
// password at once, and so it would to a stranger on that address: TLS is for that.
func (e *embedded) routes(moved bool) []*url.URL {
	list := e.names
	if moved {
		list = append(slices.Clone(list), reachable(net.JoinHostPort(e.host, strconv.Itoa(e.port))))
	}
	var all []*url.URL
	for _, address := range list {
		all = append(all, &url.URL{Scheme: "nats-route", User: url.UserPassword(user, e.config.RoutePassword), Host: address})
	}
	return all
}

func (e *embedded) stop() {
	e.once.Do(func() {
		e.mu.Lock()
		e.ended = true
		e.mu.Unlock()
		close(e.quit)
	})
	e.shut()
	e.watching.Wait()
	e.shut() // one that watch has started meanwhile
}

// shut ends the server that runs, if one does.
func (e *embedded) shut() {
	e.mu.Lock()
	s := e.server
	e.server = nil
	e.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}
