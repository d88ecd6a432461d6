package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"turbine/loop"
)

const (
	// DialTime is how long a dial may take, the handshake of TLS not included.
	DialTime = 2 * time.Second
	// maxDials is how many goroutines of one Dialer may dial at a time. A node that
	// answers is dialed in a millisecond, so that more of them means one that does not.
	maxDials = 1024
)

// ErrDials says that a Dialer has too much to do already.
var ErrDials = errors.New("link: too many dials under way")

// Dial makes a Dialer for TCP. With tls the connection speaks it as its client; nil means
// that it is plain. name is whose certificate a node has to show; empty means the host of
// the address that is dialed.
func Dial(tls *loop.TLS, name string) Dialer {
	d := &dialer{tls: tls, name: name}
	return d.dial
}

type dialer struct {
	tls     *loop.TLS
	name    string
	dialing atomic.Int64
}

// A dialing is one attempt. It belongs to the loop, but for its goroutine.
type dialing struct {
	dialer  *dialer
	on      *loop.Loop
	address string
	stop    context.CancelFunc
	accept  func(*loop.Conn) loop.Handler // nil: the caller has heard
	failed  func(error)
	err     error // of the goroutine
}

func (d *dialer) dial(on *loop.Loop, address string, accept func(*loop.Conn) loop.Handler, failed func(error)) (cancel func()) {
	ctx, stop := context.WithTimeout(context.Background(), DialTime)
	a := &dialing{dialer: d, on: on, address: address, stop: stop, accept: accept, failed: failed}
	if d.dialing.Add(1) > maxDials {
		d.dialing.Add(-1)
		a.fail(ErrDials)
	} else {
		go a.work(ctx)
	}
	return a.cancel
}

// work is the goroutine.
func (a *dialing) work(ctx context.Context) {
	defer a.dialer.dialing.Add(-1)
	defer a.stop()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", a.address)
	if err != nil {
		a.fail(fmt.Errorf("link: %w", err))
		return
	}
	take := a.open
	if t := a.dialer.tls; t != nil {
		name := a.dialer.name
		if name == "" {
			name, _, _ = net.SplitHostPort(a.address) // it could be dialed
		}
		take = t.Client(name, a.open, a.tell)
	}
	if err := a.on.Take(c.(*net.TCPConn), take); err != nil {
		_ = c.Close()
		a.fail(fmt.Errorf("link: %w", err))
	}
}

// fail tells the loop of err, on any goroutine. A loop that has stopped needs no telling:
// all that it had is over.
func (a *dialing) fail(err error) {
	a.stop()
	a.err = err
	_ = a.on.Post(a)
}

// Run is the loop's turn after fail.
func (a *dialing) Run() { a.tell(a.err) }

// What follows runs on the loop.

// open is what the connection asks for its first handler.
func (a *dialing) open(c *loop.Conn) loop.Handler {
	accept := a.accept
	a.accept, a.failed = nil, nil
	if accept == nil {
		c.Abort()
		return closedConn{}
	}
	return accept(c)
}

func (a *dialing) tell(err error) {
	failed := a.failed
	a.accept, a.failed = nil, nil
	if failed != nil {
		failed(err)
	}
}

func (a *dialing) cancel() {
	a.accept, a.failed = nil, nil
	a.stop()
}
