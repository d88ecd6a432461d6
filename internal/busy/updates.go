package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"turbine/engine"
)

// updates publishes prices: so many a second, of the keys in turn. Each key has a
// group, and each session watches some keys. A message is its key, its number of
// this key and the time when it was made, in nanoseconds, as decimal numbers with a
// space behind each, and dots up to updateSize bytes.
type updates struct {
	perSecond int
	keys      int
	watched   int  // by each session, keys
	keyed     bool // a message takes the place of the one of its key that waits
	server    *engine.Server

	opened    atomic.Int64 // sessions, from the beginning
	members   atomic.Int64 // those that are open
	published atomic.Int64
	reached   atomic.Int64 // how many of the published ones have come to their first session, or had none
}

// options are those of a server that publishes.
func (u *updates) options(o *engine.Options) {
	// A client that reads slowly stays, and misses what does not fit.
	o.Queue.Overflow = engine.OverflowDrop
}

func (u *updates) events(e *engine.Events) {
	e.Open = func(s *engine.Session, _ *engine.Request) {
		first := (u.opened.Add(1) - 1) * int64(u.watched)
		for i := range int64(u.watched) {
			s.Join(groupOf((first + i) % int64(u.keys)))
		}
		u.reached.Store(u.published.Load()) // those whose sessions have all gone hold up nothing
		u.members.Add(1)
	}
	e.Close = func(*engine.Session, engine.Reason, error) { u.members.Add(-1) }
}

const updateSize = 128

// pace is how often updates are published: as many as are due by then.
const pace = time.Millisecond

// ahead is how many updates may wait for an event loop, beside two of each key: those
// of a key that nobody watches reach none. Publish has no limit of its own, so a
// publisher that is faster than the loops has to wait.
const ahead = 64

func groupOf(key int64) string { return "of " + strconv.FormatInt(key, 10) }

// run publishes until ctx ends. What it cannot publish in time is not made up for.
func (u *updates) run(ctx context.Context) {
	ticks := time.NewTicker(pace)
	defer ticks.Stop()
	for last, due := time.Now(), 0.0; ; {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			due = min(due+now.Sub(last).Seconds()*float64(u.perSecond), max(1, float64(u.perSecond)/10))
			last = now
		}
		for ; due >= 1 && u.members.Load() > 0 && u.published.Load()-u.reached.Load() < int64(2*u.keys+ahead); due-- {
			u.publish(u.published.Load())
		}
	}
}

func (u *updates) publish(n int64) {
	key := n % int64(u.keys)
	text := fmt.Appendf(nil, "%d %d %d ", key, n/int64(u.keys), time.Now().UnixNano())
	text = append(text, bytes.Repeat([]byte("."), updateSize-len(text))...)
	p, err := engine.Prepare(engine.Message{Data: text})
	if err != nil {
		panic(err) // ASCII is UTF-8
	}
	if u.keyed {
		p = p.With(engine.SendOptions{Key: strconv.FormatInt(key, 10)})
	}
	u.published.Add(1)
	_ = u.server.PublishTo(engine.Audience{Groups: []string{groupOf(key)}, Keep: func(*engine.Session) bool {
		u.reached.Store(n + 1)
		return true
	}}, p)
}

// listen is net.Listen. With unsent the kernel takes for a connection only so many
// bytes more than it has sent: what it holds is not replaced any more.
func listen(addr string, unsent int) (net.Listener, error) {
	config := net.ListenConfig{}
	if unsent > 0 {
		config.Control = limitUnsent(unsent) // connections have it of their listener,
		config.SetMultipathTCP(false)        // unless it is one for Multipath TCP
	}
	return config.Listen(context.Background(), "tcp", addr)
}
