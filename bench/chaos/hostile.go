//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A hostile is one client that does harm for as long as the server lets it: unlike a
// client, it has no end of its own, and the server may end it at will. n numbers it.
// It returns when it was ended, or when its time is over.
type hostile func(m *mob, n int) error

// hostiles are the kinds, by name.
var hostiles = map[string]hostile{
	"echoes":         closedLoop,
	"flood":          floodFrames,
	"pongs":          piledPongs,
	"hoards":         hoard(60_000, 2),
	"nibbles":        hoard(15_000, 1),
	"mutes":          mute,
	"packets":        inflating(true, smallPackets),
	"blocks":         inflating(true, emptyBlocks),
	"bombs":          inflating(true, bombs),
	"packets, plain": inflating(false, smallPackets),
	"blocks, plain":  inflating(false, emptyBlocks),
	"bombs, plain":   inflating(false, bombs),
	"handshakes":     handshakes(""),
	"one address":    handshakes("127.9.0.1"),
	"ahead":          sendAhead,
	"bodies, held":   holdBody(900_000),
	"bodies, small":  holdBody(4_000),
	"bodies, tiny":   holdBody(100),
}

// A mob is the hostile clients of a process.
type mob struct {
	target target
	until  time.Time
	rate   float64 // bytes a second of each; 0 for as many as it can

	sent     atomic.Int64 // bytes
	sessions atomic.Int64 // that began
}

// respite is the time between two lives of a hostile client.
const respite = 50 * time.Millisecond

// mob keeps Size hostile clients going until the time is over.
func (a *attackCommand) mob(ctx context.Context, run hostile) tally {
	m := &mob{target: target(a.Addr), until: time.Now().Add(a.For), rate: a.Rate / float64(a.Size)}
	var mu sync.Mutex
	total := newTally()
	var all sync.WaitGroup
	for place := range a.Size {
		all.Go(func() {
			next := time.Duration(place) * a.Ramp / time.Duration(a.Size)
			for n := place; pause(ctx, next) && !m.over(); n += a.Size {
				err := run(m, n)
				mu.Lock()
				total.Clients++
				if m.over() {
					total.Ends["until the end"]++
				} else {
					total.Ends[ending(err)]++
				}
				mu.Unlock()
				next = respite
			}
		})
	}
	all.Wait()
	total.Most = a.Size
	total.Sent, total.Sessions = m.sent.Load(), m.sessions.Load()
	return total
}

func (m *mob) over() bool { return !time.Now().Before(m.until) }

// ending is how the server ended a hostile client, in few words.
func ending(err error) string {
	var refused refusal
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &refused):
		return refused.Error()
	case broken(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "cut"
	}
	return "late or wrong answer"
}

// dial connects hostile client n; nothing of it waits beyond the end.
func (m *mob) dial(n int) (*peer, error) {
	p, err := m.target.dial(n, 0)
	if err != nil {
		return nil, err
	}
	return p, p.SetDeadline(m.until)
}

// send writes, and counts what was taken.
func (m *mob) send(p *peer, text string) error {
	n, err := io.WriteString(p.TCPConn, text)
	m.sent.Add(int64(n))
	return err
}

// pace returns a function that waits until so many bytes may be sent.
func (m *mob) pace() (wait func(bytes int)) {
	began, sent := time.Now(), 0.0
	return func(bytes int) {
		if m.rate == 0 {
			return
		}
		time.Sleep(min(time.Until(began.Add(time.Duration(sent/m.rate*1e9))), time.Until(m.until)))
		sent += float64(bytes)
	}
}

// discard reads until the end.
func discard(p *peer) { _, _ = io.Copy(io.Discard, p.in) }
