//go:build linux

package main

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

const (
	shout     = 16 << 10               // bytes of a message of a client that does not read
	shoutPace = 150 * time.Millisecond // between two of them
	shoutMost = 64 << 20               // bytes in all
	// deafness is more than the server's idle and close timeouts together.
	deafness = 11 * time.Second
)

var (
	errUnbounded = errors.New("a client that does not read is never ended")
	loud         = "4" + strings.Repeat("x", shout)
)

// deafSocket sends messages over a WebSocket and never reads their echoes.
func deafSocket(t target, n int) (outcome, error) {
	p, err := t.dial(n, smallWindow)
	if err != nil {
		return outcome{}, err
	}
	defer p.shut()
	if err := p.openWebSocket(""); err != nil {
		return outcome{}, err
	}
	message := frame(loud)
	for range shoutMost / shout {
		if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
			return outcome{}, err
		}
		if err := p.write(message); broken(err) {
			return outcome{"connection reset", deafReason}, nil
		} else if err != nil {
			return outcome{}, err
		}
		time.Sleep(shoutPace)
	}
	return outcome{}, errUnbounded
}

// deafPolls posts messages over one connection, and polls over another without
// reading what that brings. The server has to end both, the session and the
// connection.
func deafPolls(t target, n int) (outcome, error) {
	poll, err := t.dial(n, smallWindow)
	if err != nil {
		return outcome{}, err
	}
	defer poll.shut()
	sid, err := poll.openPolling()
	if err != nil {
		return outcome{}, err
	}
	posts, err := t.dial(n, 0)
	if err != nil {
		return outcome{}, err
	}
	defer posts.shut()
	if err := shoutByPost(poll, posts, sid); err != nil {
		return outcome{}, err
	}
	// Further requests would keep the connection busy. The client sees that the
	// connection was closed when it asks again.
	time.Sleep(deafness)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * shoutPace) {
		if err := poll.get(sid); broken(err) {
			return outcome{"session refused, connection reset", deafReason}, nil
		} else if err != nil {
			return outcome{}, err
		}
	}
	return outcome{}, errUnbounded
}

// shoutByPost returns when the session is gone.
func shoutByPost(poll, posts *peer, sid string) error {
	for range shoutMost / shout {
		if err := posts.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		// The connection may be cut before the session, to keep the budget.
		if err := poll.get(sid); err != nil && !broken(err) {
			return err
		}
		if err := posts.write(post(sid, loud)); err != nil {
			return err
		}
		status, _, err := posts.answer()
		switch {
		case err != nil:
			return err
		case status == http.StatusBadRequest:
			return nil
		case status != http.StatusOK:
			return errors.New("a post is answered " + http.StatusText(status))
		}
		time.Sleep(shoutPace)
	}
	return errUnbounded
}

// get sends a poll and does not wait for what it brings.
func (p *peer) get(sid string) error {
	if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return p.write(head("GET", "polling&sid="+sid) + "\r\n")
}
