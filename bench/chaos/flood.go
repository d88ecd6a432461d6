//go:build linux

package main

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// Hostile clients of the heartbeats of others: each message is an ordinary one.

var (
	echoFrame  = frame("4" + strings.Repeat("x", 128))
	tinyFrames = strings.Repeat(frame("4x"), tinyCount) // 8 bytes each
)

// closedLoop sends a message, takes the echo, and sends the next.
func closedLoop(m *mob, n int) error {
	p, err := m.openWebSocket(n, "")
	if err != nil {
		return err
	}
	defer p.shut()
	for !m.over() {
		if err := m.send(p, echoFrame); err != nil {
			return err
		}
		for echoed := false; !echoed; {
			ping, err := p.skipFrame()
			if err != nil {
				return err
			}
			if echoed = !ping; ping {
				err = m.send(p, pong)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

var pong = frame("3")

// openWebSocket makes a WebSocket session, with so many lines more in the
// request.
func (m *mob) openWebSocket(n int, fields string) (*peer, error) {
	p, err := m.dial(n)
	if err != nil {
		return nil, err
	}
	if err := p.openWebSocketWith("", fields); err != nil {
		p.shut()
		return nil, err
	}
	m.sessions.Add(1)
	return p, nil
}

// skipFrame reads one frame, and says whether it was a ping of Engine.IO.
func (p *peer) skipFrame() (ping bool, err error) {
	var head [4]byte
	if _, err := io.ReadFull(p.in, head[:2]); err != nil {
		return false, err
	}
	size := int(head[1])
	switch size {
	case 1:
		c, err := p.in.ReadByte()
		return c == '2', err
	case 126:
		if _, err := io.ReadFull(p.in, head[2:]); err != nil {
			return false, err
		}
		size = int(head[2])<<8 | int(head[3])
	}
	_, err = p.in.Discard(size)
	return false, err
}

// floodFrames sends small messages as fast as it gets them back, so many at a
// time: its pongs wait behind them.
func floodFrames(m *mob, n int) error {
	p, err := m.openWebSocket(n, "")
	if err != nil {
		return err
	}
	defer p.shut()
	var f flooder
	read := make(chan error, 1)
	go func() { read <- f.read(p) }()
	for !m.over() {
		err := m.send(p, tinyFrames)
		if err == nil && f.ping.CompareAndSwap(true, false) {
			err = m.send(p, pong)
		}
		if err != nil {
			p.shut()
			return errors.Join(err, <-read)
		}
		for f.sent += tinyCount; f.sent-f.echoed.Load() > tinyFlight; {
			select {
			case err := <-read:
				return err
			case <-time.After(time.Millisecond):
			}
		}
	}
	p.shut()
	<-read //nolint:errcheck // it fails now, because the socket is shut
	return nil
}

// flooder is what its two sides know of each other.
type flooder struct {
	sent   int64 // messages
	echoed atomic.Int64
	ping   atomic.Bool // is to be answered
}

// read takes echoes, as many at once as there are. Among them a ping is seen,
// unless two reads share it.
func (f *flooder) read(p *peer) error {
	buffer := make([]byte, 64<<10)
	for bytes := 0; ; {
		n, err := p.Read(buffer)
		if err != nil {
			return err
		}
		if strings.Contains(string(buffer[:n]), tinyPing) {
			f.ping.Store(true)
		}
		bytes += n
		f.echoed.Store(int64(bytes / tinyEcho))
	}
}

const (
	tinyCount  = 512         // messages of a write
	tinyFlight = 8 << 10     // that are not back yet
	tinyEcho   = 4           // bytes of an echo on its way back
	tinyPing   = "\x81\x012" // the frame of a ping
)
