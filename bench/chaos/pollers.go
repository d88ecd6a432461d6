//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"turbine/bench/load"
	"turbine/engine/packet"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// pollers are well-behaved polling clients: one poll waits at a time, one post is
// under way. They check that every message comes, once and in order.
type pollers struct {
	server    *server
	clients   int
	size      int           // bytes of a message
	pace      time.Duration // between two messages of one client
	behind    time.Duration // how long after the head of a post its body comes
	broadcast bool          // the first alone sends, and all have it

	until time.Time

	mu      sync.Mutex
	sent    [][]time.Time // by sender, when each message was sent; mu is held
	outcome load.Outcome  // mu is held
}

// run is for what load.Run is for others.
func (g *pollers) run(ctx context.Context, d time.Duration, ready func()) (load.Outcome, error) {
	g.sent = make([][]time.Time, g.clients)
	g.outcome.Latency = hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	all := make([]*poller, g.clients)
	for i := range all {
		p := &poller{group: g, number: i, pongs: make(chan struct{}, 8)}
		if g.broadcast {
			p.from = 0
		} else {
			p.from = i
		}
		if err := p.open(); err != nil {
			return g.outcome, fmt.Errorf("a well-behaved client cannot open: %w", err)
		}
		all[i] = p
		g.outcome.Opened++
	}
	if ready != nil {
		ready()
	}
	before, err := g.server.usage()
	if err != nil {
		return g.outcome, err
	}
	began := time.Now()
	g.until = began.Add(d)
	var running sync.WaitGroup
	for _, p := range all {
		running.Go(func() { p.over(p.poll()) })
		running.Go(func() { p.over(p.post(ctx)) })
	}
	running.Wait()
	g.outcome.Elapsed = time.Since(began)
	after, err := g.server.usage()
	g.outcome.ServerCPU = after.CPU - before.CPU
	for _, p := range all {
		if due := len(g.sent[p.from]) - p.received; !p.lost && due > 0 {
			g.outcome.Wrong += int64(due)
			p.fault("%d messages never came", due)
		}
		p.polls.shut()
		p.posts.shut()
	}
	return g.outcome, errors.Join(err, ctx.Err())
}

// poller is one of them.
type poller struct {
	group        *pollers
	number, from int
	sid          string
	polls, posts *peer
	posted       time.Time     // when the last one was answered
	pongs        chan struct{} // that are owed
	received     int           // messages
	lost         bool          // group.mu is held
}

var errOver = errors.New("its time is over")

func (p *poller) open() (err error) {
	if p.polls, err = target(p.group.server.addr).dialFrom(nil, 0); err != nil {
		return err
	}
	if p.posts, err = target(p.group.server.addr).dialFrom(nil, 0); err != nil {
		return err
	}
	p.posted = time.Now()
	p.sid, err = p.polls.openPolling()
	return err
}

// over says how one of its two halves ended.
func (p *poller) over(err error) {
	if err == nil || errors.Is(err, errOver) {
		return
	}
	p.group.mu.Lock()
	first := !p.lost
	p.lost = true
	p.group.mu.Unlock()
	if first {
		p.group.mu.Lock()
		p.group.outcome.Lost++
		p.group.mu.Unlock()
		p.fault("%v", err)
	}
	p.polls.shut() // the other half sees the end there, or with its next post
}

func (p *poller) fault(format string, args ...any) {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	if o := &p.group.outcome; len(o.Faults) < maxFaults {
		o.Faults = append(o.Faults, fmt.Sprintf("polling client %d: ", p.number)+fmt.Sprintf(format, args...))
	}
}

// poll asks until the session is closed, by its other half.
func (p *poller) poll() error {
	for {
		if err := p.polls.get(p.sid); err != nil {
			return err
		}
		body, err := p.polls.expect(http.StatusOK)
		if err != nil {
			return err
		}
		for rest := body; rest != nil; {
			var got packet.Packet
			if got, rest, err = packet.Revision4.Next(rest); err != nil {
				return err
			}
			switch got.Type {
			case packet.Message:
				if err := p.message(string(got.Data)); err != nil {
					return err
				}
			case packet.Ping:
				p.pongs <- struct{}{}
			case packet.Close, packet.Noop: // the answer to its own close
				return errOver
			default:
				return fmt.Errorf("an unexpected packet: %v", got.Type)
			}
		}
	}
}

// message takes the next message of the sender.
func (p *poller) message(text string) error {
	number, _, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n != p.received || len(text) != p.group.size {
		return fmt.Errorf("message %.20q of %d bytes instead of number %d of %d", text, len(text), p.received, p.group.size)
	}
	p.received++
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	late := time.Since(p.group.sent[p.from][n])
	_ = p.group.outcome.Latency.RecordValue(min(max(late.Microseconds(), 1), time.Minute.Microseconds())) // in range
	p.group.outcome.Operations++
	return nil
}

// post sends messages and pongs until its time is over. Then what is under way
// may come for a second, and the session is closed.
func (p *poller) post(ctx context.Context) error {
	sends := !p.group.broadcast || p.number == p.from
	next := time.NewTimer(time.Duration(p.number) * p.group.pace / time.Duration(p.group.clients))
	defer next.Stop()
	end := time.NewTimer(time.Until(p.group.until))
	defer end.Stop()
	for closing := false; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.pongs:
			if err := p.deliver("3"); err != nil {
				return err
			}
		case <-next.C:
			if !sends || closing {
				continue
			}
			p.group.mu.Lock()
			n := len(p.group.sent[p.number])
			p.group.sent[p.number] = append(p.group.sent[p.number], time.Now())
			p.group.mu.Unlock()
			text := fmt.Sprintf("%d ", n)
			if err := p.deliver("4" + text + strings.Repeat("x", p.group.size-len(text))); err != nil {
				return err
			}
			next.Reset(p.group.pace)
		case <-end.C:
			if closing {
				return p.deliver("1")
			}
			closing = true
			end.Reset(time.Second)
		}
	}
}

// deliver posts one packet, its body behind its head.
func (p *poller) deliver(body string) error {
	if time.Since(p.posted) > idlePosts {
		p.posts.shut()
		var err error
		if p.posts, err = target(p.group.server.addr).dialFrom(nil, 0); err != nil {
			return err
		}
	}
	if err := p.posts.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	whole := post(p.sid, body)
	if p.group.behind > 0 {
		if err := p.posts.write(whole[:len(whole)-len(body)]); err != nil {
			return err
		}
		time.Sleep(p.group.behind)
		whole = body
	}
	if err := p.posts.write(whole); err != nil {
		return err
	}
	if _, err := p.posts.expect(http.StatusOK); err != nil {
		return fmt.Errorf("post: %w", err)
	}
	p.posted = time.Now()
	return nil
}

// idlePosts is when a client takes another connection: less than the server's
// idle timeout, at which it would close this one.
const idlePosts = 3 * time.Second
