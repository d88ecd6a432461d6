//go:build linux

package main

import (
	"slices"
	"strings"
	"time"
)

// A phase is an attack, of crowds of one or several kinds, while well-behaved
// sessions echo.
type phase struct {
	name   string
	what   string // a sentence for the report
	crowds []crowd
	vanish int // clients that vanish; 0 for none

	// A phase of hostile clients has a server of its own.
	flags []string // in place of those of the others, or in addition to them
	busy  bool     // the server is internal/busy
	rate  float64  // bytes a second of each crowd; 0 for as many as they can
	good  good     // the well-behaved; goodEcho unless it is said
	goals goals
}

type crowd struct {
	kind string
	size int // at a time
}

// goals are what an attack may come to, for whose clients no ends are laid down.
// Zero is no goal.
type goals struct {
	resident int64         // bytes that it may add
	sessions int           // that there may be at a time
	late     time.Duration // 99th percentile of how late pings may be
	twin     string        // the phase whose p99 of the well-behaved it is compared with
	times    float64       // and the most that it may be of that
}

// hostile reports whether its clients have no ends of their own.
func (p *phase) hostile() bool {
	return len(p.crowds) > 0 && hostiles[p.crowds[0].kind] != nil
}

// kind is the well-behaved.
func (p *phase) kind() good {
	if p.good.run == nil {
		return goodEcho
	}
	return p.good
}

const (
	megabits = 1e6 / 8 // bytes a second
	inRAM    = 1 << 20 // bytes

	lateGoal = 250 * time.Millisecond // of pings
)

// watchedFlags are those of a server whose pings are watched, on one loop.
var watchedFlags = []string{"--ping-interval", watchedInterval.String(), "--ping-timeout", watchedTimeout.String(), "--loops", "1"}

// wideQueue lets a client have the program's default.
var wideQueue = []string{"--max-queue", "8388608"}

// inflateCrowds are the crowds of both phases of inflating, by a suffix.
func inflateCrowds(suffix string) []crowd {
	return []crowd{{"packets" + suffix, 10}, {"blocks" + suffix, 10}, {"bombs" + suffix, 10}}
}

var phases = []phase{
	{name: "heads", what: "Slowloris on request heads: a byte a second, until the server answers 408; whoever was ended comes again.",
		crowds: []crowd{{"heads", 10_000}}},
	{name: "bodies", what: "The same on the body of a POST, each with a session of its own.",
		crowds: []crowd{{"bodies", 10_000}}},
	{name: "frames", what: "The same on WebSocket: half of them with one large frame, half with fragments of one byte. Neither can answer a ping meanwhile.",
		crowds: []crowd{{"frames", 5_000}, {"fragments", 5_000}}},
	{name: "readers", what: "Clients that send 100 KB a second and never read the echoes: half of them on WebSocket, half by POST and GET.",
		crowds: []crowd{{"sockets", 500}, {"polls", 500}}},
	{name: "cuts", what: "Resets, half-closes, and closes with unread data, at every moment in the life of a client.",
		crowds: []crowd{{"cuts", 1_000}}},
	{name: "vanished", what: "Clients at each of these moments whose link goes down: no FIN, no RST.",
		vanish: 2_000},
	{name: "mass", what: "All of it together.",
		crowds: []crowd{{"heads", 3_000}, {"bodies", 2_000}, {"frames", 1_000}, {"fragments", 1_000}, {"sockets", 200}, {"polls", 200}, {"cuts", 500}},
		vanish: 1_000},

	{name: "busy", what: "An application that takes 1 ms for each message, and 100 WebSockets that send their next one as soon as the last is back. One loop, a ping every 2 s.",
		crowds: []crowd{{"echoes", 100}}, flags: watchedFlags, busy: true, good: goodIdle,
		goals: goals{late: lateGoal, resident: 64 * inRAM}},
	{name: "flood", what: "200 WebSockets that send frames of 8 bytes as fast as they may. One loop, a ping every 2 s.",
		crowds: []crowd{{"flood", 200}}, flags: slices.Concat(watchedFlags, wideQueue), good: goodIdle,
		goals: goals{resident: 128 * inRAM}},
	{name: "pongs", what: "160 sessions of revision 3 over 8 connections that ping, 16,000 times in a POST, and never take a pong.",
		crowds: []crowd{{"pongs", 8}}, flags: wideQueue,
		goals: goals{resident: 32 * inRAM}},
	{name: "reserve", what: "Sessions of revision 3 that are sent echoes of 15 and 60 KB, at 100 Mbit/s each kind, and read nothing: they fill the budget to its last byte.",
		crowds: []crowd{{"hoards", 30}, {"nibbles", 30}}, rate: 100 * megabits,
		goals: goals{resident: 160 * inRAM}},
	{name: "shared", what: "1,400 polling sessions that never poll. Every broadcast goes to them as well.",
		crowds: []crowd{{"mutes", 20}}, flags: slices.Concat(wideQueue, []string{"--app", "broadcast"}), good: goodPolls,
		goals: goals{resident: 128 * inRAM}},
	{name: "plain", what: "100 Mbit/s of ordinary messages: a third in frames of 8 bytes, a third in frames as large as the messages of the next phase that consist of empty blocks, a third in frames of its bombs' size.",
		crowds: inflateCrowds(", plain"), flags: wideQueue, rate: 100 * megabits / 3,
		goals: goals{resident: 160 * inRAM}},
	{name: "inflate", what: "The same number of bytes, compressed (`--deflate`): messages of a few letters, 1,000 empty blocks with tables of their own in front of one letter, and bombs that become 500 KB.",
		crowds: inflateCrowds(""), flags: slices.Concat(wideQueue, []string{"--deflate"}), rate: 100 * megabits / 3,
		goals: goals{resident: 256 * inRAM, twin: "plain", times: 5}},
	{name: "sessions", what: "Handshakes as fast as they may: over one connection from an address that is exempt from limits by address, and over ten from one that is not, where there may be 20,000 sessions, and 1,000 from one address.",
		crowds: []crowd{{"handshakes", 1}, {"one address", 10}},
		flags:  []string{"--exempt", "127.0.0.0/15", "--max-sessions", "20000", "--max-sessions-per-ip", "1000"},
		goals:  goals{resident: 64 * inRAM, sessions: 20_000}},
	{name: "ahead", what: "2,000 connections with 60 KB behind a poll that waits, and 900 bodies of 900 KB, 4 KB and 100 bytes of which the last bytes never come, where all unfinished bodies may have 32 MiB.",
		crowds: []crowd{{"ahead", 2_000}, {"bodies, held", 100}, {"bodies, small", 400}, {"bodies, tiny", 400}}, flags: []string{"--body-budget", "33554432"}, good: goodPosts,
		goals: goals{resident: 128 * inRAM}},
}

// names are those of all phases.
func names() string {
	var all []string
	for _, p := range phases {
		all = append(all, p.name)
	}
	return strings.Join(all, ", ")
}

// scaled is the phase with fewer clients, at least one of each kind.
func (p phase) scaled(by float64) phase {
	scale := func(n int) int { return max(1, int(float64(n)*by)) }
	crowds := make([]crowd, len(p.crowds))
	for i, c := range p.crowds {
		crowds[i] = crowd{c.kind, scale(c.size)}
	}
	p.crowds = crowds
	if p.vanish > 0 {
		p.vanish = scale(p.vanish)
	}
	return p
}
