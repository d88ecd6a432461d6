//go:build linux

package main

import (
	"context"
	"time"

	"turbine/bench/load"
)

// A good is a kind of well-behaved clients.
type good struct {
	name     string // as the report has it
	sessions int
	run      func(ctx context.Context, s *server, d time.Duration, ready func()) (load.Outcome, error)
}

const (
	goodSessions = 100
	goodRate     = 2_000 // messages a second of all of them
	goodSize     = 128   // bytes
	warmUp       = time.Second

	watchedSessions = 500
	watchedInterval = 2 * time.Second // between pings; flags of the phases say so
	watchedTimeout  = 2 * time.Second
)

var (
	// goodEcho sends messages over WebSocket and measures when they are back.
	goodEcho = good{"WebSocket echo", goodSessions, func(ctx context.Context, s *server, d time.Duration, ready func()) (load.Outcome, error) {
		return load.Run(ctx, load.Plan{
			Kind: load.OpenLoop, Addr: s.addr, Path: "/engine.io/",
			Sessions: goodSessions, Size: goodSize, Rate: goodRate, Sleeps: true,
			WarmUp: warmUp, Duration: d, Server: s.usage, Ready: ready,
		})
	}}
	// goodIdle waits for pings, and measures the time between two of them.
	goodIdle = good{"idle WebSockets", watchedSessions, func(ctx context.Context, s *server, d time.Duration, ready func()) (load.Outcome, error) {
		return load.Run(ctx, load.Plan{
			Kind: load.Heartbeats, Addr: s.addr, Path: "/engine.io/",
			Watched: watchedSessions, PingInterval: watchedInterval, PingTimeout: watchedTimeout,
			WarmUp: warmUp, Duration: d, Server: s.usage, Ready: ready,
		})
	}}
	// goodPosts sends messages by POST, each body 10 ms behind its head.
	goodPosts = good{"polling, bodies 10 ms behind their heads", 30, func(ctx context.Context, s *server, d time.Duration, ready func()) (load.Outcome, error) {
		g := pollers{server: s, clients: 30, size: goodSize, pace: 200 * time.Millisecond, behind: 10 * time.Millisecond}
		return g.run(ctx, d, ready)
	}}
	// goodPolls has one client's large messages broadcast to all.
	goodPolls = good{"polling, a broadcast of 500 KB a second", 30, func(ctx context.Context, s *server, d time.Duration, ready func()) (load.Outcome, error) {
		g := pollers{server: s, clients: 30, size: 500_000, pace: time.Second, broadcast: true}
		return g.run(ctx, d, ready)
	}}
)
