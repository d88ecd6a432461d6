//go:build linux || darwin || freebsd

package loop

import (
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Socket is a connection of package net that has a descriptor.
type Socket interface {
	net.Conn
	syscall.Conn
}

// Take is Adopt for c, a connection that this process has dialed, say. c must have no
// bytes buffered and no other use. It is closed, its descriptor having been duplicated;
// only if that fails it is not. Limits for accepted connections do not stop it, but it
// counts for MaxConns. After an error accept is not called. Safe from any goroutine.
func (l *Loop) Take(c Socket, accept func(*Conn) Handler) error {
	fd, err := duplicate(c)
	if err != nil {
		return err
	}
	var remote netip.AddrPort
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		remote = a.AddrPort()
		_ = tuneTCP(fd) // a connection that cannot be tuned is good all the same
	}
	_ = c.Close()
	return l.Adopt(fd, remote, accept)
}

// A Place is room among the reactor's connections for one that was accepted
// elsewhere. It counts from Reserve on, and is given back by one of its methods.
// A Place is used once, by one goroutine at a time.
type Place struct {
	reactor *Reactor
	loop    *Loop
	remote  netip.AddrPort
	held    bool
}

// Reserve holds a connection from remote against the limits for accepted ones,
// and makes a Place for it on the loop that has least to do. There is none, and the
// refusal says why, where it would be one too many; or, with no reason, when the
// reactor has stopped. Options.Refused is not told. No address, as that of a Unix
// socket, counts for MaxConns alone. Safe from any goroutine.
func (r *Reactor) Reserve(remote netip.AddrPort) (*Place, Refusal) {
	if r.stopping.Load() {
		return nil, 0
	}
	a := &r.acceptor
	held, why := a.admit(remote.Addr(), r.MaxConns()-r.conns(), r.clock())
	if why != 0 {
		if why == RefusedMaxConns {
			a.refused.Add(1)
		}
		return nil, why
	}
	l := a.dealer.Deal()
	l.expect()
	return &Place{reactor: r, loop: l, remote: remote, held: held}, 0
}

// Release gives the place back unused.
func (p *Place) Release() {
	if p.held {
		p.loop.gate.release(p.remote.Addr())
	}
	p.loop.unexpect()
}

// Take makes c a connection of the place's loop, whose handler accept chooses
// there and which has first as its first bytes, before any that c brings. c must
// have no bytes buffered and no other use. It is closed, its descriptor having
// been duplicated; only if that fails it is not. first is the loop's own from now
// on.
func (p *Place) Take(c Socket, first []byte, accept func(*Conn) Handler) error {
	fd, err := duplicate(c)
	if err != nil {
		p.Release()
		return err
	}
	_ = c.Close()
	if _, tcp := c.(*net.TCPConn); tcp {
		_ = tuneTCP(fd) // a connection that cannot be tuned is good all the same
	}
	remote := p.remote
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && !remote.IsValid() {
		remote = a.AddrPort() // it counts for no address all the same
	}
	return p.adopt(fd, remote, first, accept)
}

// Pair is Take for one end of a new pair of sockets, and returns the other.
// remote is what the connection says of its peer.
func (p *Place) Pair(remote netip.AddrPort, first []byte, accept func(*Conn) Handler) (*net.UnixConn, error) {
	if p.held {
		remote = p.remote // that is what it is counted for
	}
	ours, theirs, err := socketPair()
	if err != nil {
		p.Release()
		return nil, err
	}
	if err := p.adopt(theirs, remote, first, accept); err != nil {
		_ = ours.Close()
		return nil, err
	}
	return ours, nil
}

func (p *Place) adopt(fd int, remote netip.AddrPort, first []byte, accept func(*Conn) Handler) error {
	p.reactor.acceptor.accepted.Add(1)
	err := p.loop.Post(&placement{Place: *p, fd: fd, remote: remote, first: first, accept: accept})
	if err != nil {
		_ = unix.Close(fd)
		p.Release()
	}
	return err
}

// placement is a connection on its way to its Place.
type placement struct {
	Place
	fd     int
	remote netip.AddrPort
	first  []byte
	accept func(*Conn) Handler
}

func (t *placement) Run() {
	l := t.loop
	l.open(t.fd, t.remote, t.held, t.accept)
	c := l.conns.get(t.fd)
	if c == nil || c.state != connOpen || len(t.first) == 0 {
		return
	}
	returned := false
	defer l.guard(c, &returned)
	c.handler.Data(t.first)
	returned = true
}

// socketPair returns the ends of a pair of connected sockets: one for package
// net and one for a loop.
func socketPair() (ours *net.UnixConn, theirs int, err error) {
	syscall.ForkLock.RLock() // not every system has a flag to close them on exec
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, -1, os.NewSyscallError("socketpair", err)
	}
	file := os.NewFile(uintptr(fds[0]), "pair")
	defer func() { _ = file.Close() }() // FileConn duplicates it
	conn, err := net.FileConn(file)
	if err == nil {
		err = unix.SetNonblock(fds[1], true)
	}
	if err != nil {
		_ = unix.Close(fds[1])
		return nil, -1, err
	}
	return conn.(*net.UnixConn), fds[1], nil
}
