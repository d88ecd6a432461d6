package enginetest

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Dial opens a session with the server at that URL, such as
// "http://127.0.0.1:3000/engine.io/", over sockets. It fails the test when the server
// refuses the client. The client says goodbye when the test ends.
func Dial(t testing.TB, url string, o Options) *Client {
	t.Helper()
	c, err := TryDial(t, url, o)
	return c.dialled(err)
}

// TryDial is Dial, and returns a *Refused where the server refuses the client; the
// Client is of no use then.
func TryDial(t testing.TB, url string, o Options) (*Client, error) {
	t.Helper()
	s, host, path, err := newSockets(url, o.TLS)
	if err != nil {
		t.Fatalf("enginetest: Dial: expected a URL such as \"http://127.0.0.1:3000/engine.io/\", came %q: %v", url, err)
	}
	c := newClient(t, s, host, path, o)
	t.Cleanup(func() { s.end(c) })
	return c, c.dial()
}

// sockets is the network of one client.
type sockets struct {
	address string
	tls     *tls.Config    // nil for plain connections
	stirred chan struct{}  // something has come, or ended
	running sync.WaitGroup // goroutines
	dialer  net.Dialer
	opened  []*socket // guarded by the client's mu
	closed  bool      // guarded by the client's mu
}

func newSockets(address string, config *tls.Config) (s *sockets, host, path string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", "", err
	}
	s = &sockets{stirred: make(chan struct{}, 1), dialer: net.Dialer{Timeout: patience}}
	port := "80"
	switch u.Scheme {
	case "http", "ws":
	case "https", "wss":
		port = "443"
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if s.tls = config.Clone(); s.tls.ServerName == "" {
			s.tls.ServerName = u.Hostname()
		}
	default:
		return nil, "", "", errors.New("it begins with neither http nor https")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	s.address = net.JoinHostPort(u.Hostname(), port)
	if path = u.EscapedPath(); path == "" || path == "/" {
		path = "/engine.io/"
	}
	return s, u.Host, path, nil
}

func (s *sockets) work() {}

func (s *sockets) stir() {
	select {
	case s.stirred <- struct{}{}:
	default:
	}
}

func (s *sockets) wait(c *Client, done func() bool) bool {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		c.mu.Lock()
		ok := done()
		c.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-s.stirred:
		case <-late.C:
			return false
		}
	}
}

func (s *sockets) each(c *Client, f func()) (stop func()) {
	interval, stopped := c.open.PingInterval, false
	var timer *time.Timer
	timer = time.AfterFunc(interval, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !stopped {
			f()
			timer.Reset(interval)
		}
	})
	return func() {
		stopped = true
		timer.Stop()
	}
}

func (s *sockets) hint() string {
	return "Over sockets it is waited for on the wall clock. The server tells the end of a session to Events.Close, and a panic to its Logger"
}

// end says goodbye, and waits for all goroutines.
func (s *sockets) end(c *Client) {
	c.goodbye()
	c.mu.Lock()
	c.lose("the test has ended")
	s.closed = true
	for _, o := range s.opened {
		_ = o.conn.Close() // also of connections that the client has ended, and the server has not
	}
	c.mu.Unlock()
	s.running.Wait()
}

// connect implements network.
func (s *sockets) connect(l *link) (wire, error) {
	if s.closed {
		return nil, errLost
	}
	conn, err := s.dialer.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	o := &socket{conn: conn, link: l, sockets: s}
	if s.tls != nil {
		o.conn = tls.Client(conn, s.tls)
	}
	o.more.L, o.resumed.L = &o.mu, &l.c.mu
	s.opened = append(s.opened, o)
	s.running.Go(o.read)
	s.running.Go(o.write)
	return o, nil
}

// A socket is a wire that is a connection of the system's. One goroutine reads, one
// writes.
type socket struct {
	conn    net.Conn
	link    *link
	sockets *sockets

	paused  bool      // guarded by the client's mu
	resumed sync.Cond // of the client's mu

	mu     sync.Mutex
	more   sync.Cond // of mu
	out    []byte    // guarded by mu: not yet written
	ending bool      // guarded by mu: end was called

	idle atomic.Int32 // goroutines that have ended
}

func (o *socket) send(p []byte) {
	o.mu.Lock()
	o.out = append(o.out, p...)
	o.mu.Unlock()
	o.more.Signal()
}

func (o *socket) end() {
	o.mu.Lock()
	o.ending = true
	o.mu.Unlock()
	o.more.Signal()
	o.pause(false)
}

func (o *socket) reset() {
	if t, ok := o.tcp(); ok {
		_ = t.SetLinger(0)
		_ = t.Close() // TLS would say goodbye
	}
	_ = o.conn.Close()
	o.end()
}

// tcp is the connection below TLS.
func (o *socket) tcp() (*net.TCPConn, bool) {
	conn := o.conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	t, ok := conn.(*net.TCPConn)
	return t, ok
}

func (o *socket) pause(on bool) {
	o.paused = on
	o.resumed.Broadcast()
}

// rests ends a goroutine. The second one closes the connection.
func (o *socket) rests() {
	if o.idle.Add(1) == 2 {
		_ = o.conn.Close()
	}
}

// write is the goroutine that writes.
func (o *socket) write() {
	defer o.rests()
	for {
		o.mu.Lock()
		for len(o.out) == 0 && !o.ending {
			o.more.Wait()
		}
		p := o.out
		o.out = nil
		o.mu.Unlock()
		if len(p) == 0 {
			break
		}
		if _, err := o.conn.Write(p); err != nil {
			break // read will see the error
		}
	}
	if half, ok := o.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// read is the goroutine that reads.
func (o *socket) read() {
	c := o.link.c
	defer o.rests()
	defer o.sockets.stir()
	buffer := make([]byte, 64<<10)
	for {
		n, err := o.conn.Read(buffer)
		c.mu.Lock()
		for o.paused {
			o.resumed.Wait()
		}
		if n > 0 {
			o.link.data(o, buffer[:n])
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			o.link.ended(o, err)
			o.end() // write may wait
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		o.sockets.stir()
	}
}
