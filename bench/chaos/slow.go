//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

const (
	drip = time.Second // between two pieces of a slow sender
	// endless bounds how long a slow sender may continue.
	endless = time.Minute
)

// slowHead sends a request head, a byte a second.
func slowHead(t target, n int) (outcome, error) {
	p, err := t.dial(n, 0)
	if err != nil {
		return outcome{}, err
	}
	defer p.shut()
	if err := p.write(head("GET", "polling") + "X-Slow: "); err != nil {
		return outcome{}, err
	}
	return outcome{end: "408"}, p.timesOut("a")
}

// slowBody posts a body, a byte a second, to a session of its own.
func slowBody(t target, n int) (outcome, error) {
	p, err := t.dial(n, 0)
	if err != nil {
		return outcome{}, err
	}
	defer p.shut()
	sid, err := p.openPolling()
	if err != nil {
		return outcome{}, err
	}
	if err := p.write(head("POST", "polling&sid="+sid) + "Content-Length: 10000\r\n\r\n4"); err != nil {
		return outcome{}, err
	}
	return outcome{"408", transportError}, p.timesOut("a")
}

// largeFrame takes more than a day at this pace.
var largeFrame = frame("4" + strings.Repeat("x", 100_000))

// timesOut sends piece after piece until the server has had enough and answers
// 408.
func (p *peer) timesOut(piece string) error {
	err := p.trickle(piece, func() (bool, error) {
		if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
			return true, err
		}
		if _, err := p.expect(http.StatusRequestTimeout); err != nil {
			return true, err
		}
		return true, p.ended()
	})
	if err != nil {
		err = fmt.Errorf("slow request: %w", err)
	}
	return err
}

// slowFrame sends a large WebSocket message as one frame, a byte a second. It
// cannot answer pings meanwhile.
func slowFrame(t target, n int) (outcome, error) {
	return slowMessage(t, n, largeFrame[:20], "x")
}

// slowFragments sends a message in fragments of a byte, one a second. A pong of
// Engine.IO is also a message, and has to wait.
func slowFragments(t target, n int) (outcome, error) {
	return slowMessage(t, n, fragment(ws.OpText, false, "4"), fragment(ws.OpContinuation, false, "a"))
}

func slowMessage(t target, n int, first, piece string) (outcome, error) {
	p, err := t.dial(n, 0)
	if err != nil {
		return outcome{}, err
	}
	defer p.shut()
	if err := p.openWebSocket(""); err != nil {
		return outcome{}, err
	}
	if err := p.write(first); err != nil {
		return outcome{}, err
	}
	err = p.trickle(piece, func() (bool, error) {
		if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
			return true, err
		}
		f, err := p.readFrame()
		switch {
		case err != nil:
			return true, fmt.Errorf("slow message: %w", err)
		case f.Header.OpCode == ws.OpClose:
			return true, p.ended()
		case string(f.Payload) != "2":
			return true, fmt.Errorf("slow message: frame %.80q", f.Payload)
		}
		return false, nil
	})
	return outcome{"close frame", pingTimeout}, err
}

// trickle writes piece after piece until heard, which is called when something
// has come from the server, says that it is over.
func (p *peer) trickle(piece string, heard func() (over bool, err error)) error {
	for end := time.Now().Add(endless); time.Now().Before(end); {
		if err := p.SetDeadline(time.Now().Add(drip)); err != nil {
			return err
		}
		_, err := p.in.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
				return err
			}
			if err := p.write(piece); err != nil && !broken(err) {
				return err
			}
			continue
		}
		// An end without a word is for heard to complain of.
		if over, err := heard(); over || err != nil {
			return err
		}
	}
	return fmt.Errorf("the server lets a slow sender continue for %v", endless)
}
