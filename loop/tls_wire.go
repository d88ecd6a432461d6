package loop

import (
	"io"
	"net"
	"time"
)

const (
	// maxTLSPlain is the most that a TLS record carries.
	maxTLSPlain = 16 << 10
	// tlsBatch is how much is encrypted before it is known whether the kernel
	// takes it: what is left waits encrypted, next to what waits in the clear.
	tlsBatch = 2 * maxTLSPlain
	// maxTLSAnswers bounds what crypto/tls itself has to say, to key updates
	// for instance, to a peer that takes nothing.
	maxTLSAnswers = 4 * tlsBatch
	// maxTLSRecord is the size of the largest record, of TLS 1.2.
	maxTLSRecord = tlsHeader + maxTLSPlain + 2048
)

// plainText is the loop's buffer of what was decrypted, or is gathered to be
// encrypted. It has room for all that one read brings with a record that was
// not whole before.
func (l *Loop) plainText() []byte {
	if l.plain == nil {
		l.plain = make([]byte, readSize+maxTLSRecord)
	}
	return l.plain
}

// send is sendQueue.send for a connection with TLS: it encrypts what waits and
// writes it, until all is gone or the kernel takes no more.
func (f *tlsConn) send(l *Loop) (taken int, err error) {
	c := f.conn
	for {
		if f.wire != nil {
			n, err := f.wire.send(l, int(c.fd), c.state == connDraining)
			taken += n
			if err != nil || f.wire.size > 0 {
				return taken, err
			}
			l.giveBack(f.wire)
			f.wire = nil
		}
		if err := f.seal(l); err != nil || len(l.sealed) == 0 {
			return taken, err
		}
		n, err := l.kernel.Write(int(c.fd), l.sealed, c.state == connDraining)
		if err != nil {
			n = 0
		}
		taken += n
		if n < len(l.sealed) {
			f.wire = l.sendQueue()
			f.wire.copy(l.sealed[n:])
			return taken, err
		}
	}
}

// seal encrypts the next batch, if there is one, into the loop's scratch, and
// behind the last one close_notify if the connection, or its writing direction, closes.
func (f *tlsConn) seal(l *Loop) error {
	c, q := f.conn, f.conn.out
	l.sealed = l.sealed[:0]
	if f.shake != nil || f.tls == nil {
		return nil
	}
	f.sealing = true
	defer func() { f.sealing = false }()
	if q != nil && q.size > 0 {
		p := q.front(l.plainText()[:tlsBatch])
		if _, err := f.tls.Write(p); err != nil {
			return err
		}
		q.advance(l, len(p))
	}
	if (c.state == connDraining || c.ending) && !f.noticed && (q == nil || q.size == 0) {
		f.noticed = true
		return f.tls.CloseWrite()
	}
	return nil
}

// front returns the next bytes of q: the first buffer's, where they fill a
// record, else as many as fit into scratch, copied there.
func (q *sendQueue) front(scratch []byte) []byte {
	bufs := q.bufs.All()
	first := bufs[0].Bytes()[q.offset:]
	if len(first) >= maxTLSPlain || len(bufs) == 1 {
		return first[:min(len(first), len(scratch))]
	}
	n := copy(scratch, first)
	for _, b := range bufs[1:] {
		m := copy(scratch[n:], b.Bytes())
		n += m
		if m < b.Len() {
			break
		}
	}
	return scratch[:n]
}

// queue borrows p, which is encrypted, and sends it with the next flush.
func (f *tlsConn) queue(p []byte) {
	c := f.conn
	l := c.Loop()
	if len(p) == 0 || c.state == connClosed || c.finished {
		return
	}
	if f.wire == nil {
		f.wire = l.sendQueue()
	}
	f.wire.copy(p)
	if c.Unsent() >= l.options.HighWater { // Ready is false because of it
		c.pressured = true
	}
	if c.blocked {
		l.countUnsent(f.wire)
	}
	c.touch()
}

// deliver hands on what came during the handshake behind it. The Handler may
// move the connection meanwhile; then it continues there.
func (f *tlsConn) deliver() {
	if f.early == nil {
		f.pump(nil) // crypto/tls may have read ahead
	}
	for f.early != nil && f.conn.state == connOpen {
		n := min(f.early.Len(), readSize)
		f.pump(f.early.Bytes()[:n:n])
		if f.early == nil { // the connection is over
			return
		}
		f.early.Drop(n)
		if f.early.Len() == 0 {
			f.early.Release()
			f.early = nil
		}
	}
}

// tlsPipe is a tlsConn as the net.Conn under crypto/tls. During the handshake
// it belongs to the handshake's goroutine while that runs.
type tlsPipe tlsConn

// Read never waits but in the handshake. crypto/tls continues another time after
// an error that is temporary, as long as the handshake is over.
func (p *tlsPipe) Read(b []byte) (int, error) {
	for len(p.in) == 0 {
		switch {
		case p.shake != nil && (*tlsConn)(p).hoards(maxTLSMessage):
			return 0, errTLSTooLong
		case p.shake != nil:
			if !p.shake.wantMore() {
				return 0, errTLSAbandoned
			}
		case p.atEnd:
			return 0, io.EOF
		default:
			return 0, errTLSAgain
		}
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

// Write borrows b and takes all of it: crypto/tls writes no more after an
// error.
func (p *tlsPipe) Write(b []byte) (int, error) {
	f := (*tlsConn)(p)
	switch {
	case f.shake != nil:
		f.shake.out = append(f.shake.out, b...)
	case f.sealing:
		l := f.conn.Loop()
		l.sealed = append(l.sealed, b...)
	default:
		f.queue(b)
	}
	return len(b), nil
}

// Close does nothing: the connection is its loop's to close.
func (p *tlsPipe) Close() error { return nil }

// LocalAddr is not known.
func (p *tlsPipe) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr is the peer's address, for callbacks of the Config.
func (p *tlsPipe) RemoteAddr() net.Addr {
	if a := p.conn.RemoteAddr(); a.IsValid() {
		return net.TCPAddrFromAddrPort(a)
	}
	return &net.TCPAddr{}
}

// SetDeadline and the others do nothing: the loop keeps the deadlines.
func (p *tlsPipe) SetDeadline(time.Time) error      { return nil }
func (p *tlsPipe) SetReadDeadline(time.Time) error  { return nil }
func (p *tlsPipe) SetWriteDeadline(time.Time) error { return nil }

// errTLSAgain says that no bytes are there yet.
var errTLSAgain error = tlsAgain{}

type tlsAgain struct{}

func (tlsAgain) Error() string   { return "loop: no bytes yet" }
func (tlsAgain) Timeout() bool   { return true }
func (tlsAgain) Temporary() bool { return true }
