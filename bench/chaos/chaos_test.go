//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"turbine/bench/load"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/klauspost/compress/flate"
	"github.com/stretchr/testify/require"
)

func TestParseFigures(t *testing.T) {
	f, err := parseFigures(`time=2026-01-02T03:04:05.678Z level=INFO msg=figures sessions=3 conns=4 queued=5 heap=6 closed.transport_close=7 closed.ping_timeout=0`)
	require.NoError(t, err)
	require.Equal(t, figures{sessions: 3, conns: 4, queued: 5, heap: 6, closed: map[string]int64{"transport close": 7, "ping timeout": 0}}, f)

	for _, line := range []string{
		"",
		"msg=figures conns=4 queued=5 heap=6 closed.transport_close=7",
		"msg=figures sessions=many conns=4 queued=5 heap=6 closed.transport_close=7",
		"msg=figures sessions=3 conns=4 queued=5 heap=6",
	} {
		_, err := parseFigures(line)
		require.Error(t, err, line)
	}
}

func TestFiguresSince(t *testing.T) {
	before := figures{closed: map[string]int64{"a": 1, "b": 2}}
	after := figures{closed: map[string]int64{"a": 4, "b": 2, "c": 1}}
	require.Equal(t, map[string]int64{"a": 3, "c": 1}, after.since(before))
}

// Whatever is not as it should be is told.
func TestJudge(t *testing.T) {
	start := figures{rss: 10 << 20, descriptors: 9}
	good := func() row {
		fine := load.Outcome{Opened: goodSessions}
		return row{
			alone: fine, beside: fine,
			clients: tally{Clients: 3, Ends: map[string]int{"408": 3}, Reasons: map[string]int{pingTimeout: 2}},
			closed:  map[string]int64{transportClose: 2 * goodSessions, pingTimeout: 2},
			after:   figures{rss: 11 << 20, descriptors: 9},
		}
	}
	for _, c := range []struct {
		says   string
		change func(w *row)
	}{
		{"", func(*row) {}},
		{"alone: 100 of 100 opened, 1 lost", func(w *row) { w.alone.Lost = 1 }},
		{"during the attack: 100 of 100 opened, 0 lost, 0 without a ping for longer than a client waits, 2 replies wrong", func(w *row) { w.beside.Wrong = 2 }},
		{"during the attack: 99 of 100", func(w *row) {
			w.beside.Opened--
			w.closed[transportClose]--
		}},
		{"during the attack: 100 of 100", func(w *row) { w.beside.Retries = 1 }},
		{"1 of 3 clients were treated wrongly: [why]", func(w *row) { w.clients.fault("why") }},
		{"sessions ended", func(w *row) { w.closed[pingTimeout]-- }},
		{"sessions ended", func(w *row) { w.closed[transportError] = 1 }},
		{"there are 1 sessions", func(w *row) { w.after.sessions = 1 }},
		{"1 connections", func(w *row) { w.after.conns = 1 }},
		{"1 queued bytes", func(w *row) { w.after.queued = 1 }},
		{"10 descriptors instead of 9", func(w *row) { w.after.descriptors++ }},
		{"27.0 MiB of memory instead of 10.0 MiB", func(w *row) { w.after.rss = 27 << 20 }},
	} {
		w := good()
		c.change(&w)
		w.judge(start, nil)
		if c.says == "" {
			require.Empty(t, w.wrong)
			continue
		}
		require.Len(t, w.wrong, 1, c.says)
		require.Contains(t, w.wrong[0], c.says)
	}
	// Deaf clients may end for one of two reasons, in all as many as there were.
	for _, c := range []struct {
		timeouts, overflows int64
		right               bool
	}{{2, 9, true}, {11, 0, true}, {5, 6, true}, {1, 10, false}, {5, 5, false}, {12, 0, false}} {
		w := good()
		w.clients.Reasons[deafReason] = 9
		w.closed[pingTimeout] = c.timeouts
		if c.overflows > 0 {
			w.closed[queueOverflow] = c.overflows
		}
		w.judge(start, nil)
		require.Equal(t, c.right, len(w.wrong) == 0, "%+v: %v", c, w.wrong)
	}
	// Those who had unread echoes may be ended for the deaf, but not without them.
	for _, c := range []struct {
		deaf, overflows, closes int64
		right                   bool
	}{{9, 9, 7, true}, {9, 12, 4, true}, {9, 16, 0, true}, {9, 17, 0, false}, {9, 12, 5, false}, {0, 0, 7, true}, {0, 1, 6, false}} {
		w := good()
		if c.deaf > 0 {
			w.clients.Reasons[deafReason] = int(c.deaf)
		}
		w.clients.Reasons[crowdedReason] = 7
		w.closed[transportClose] += c.closes
		if c.overflows > 0 {
			w.closed[queueOverflow] = c.overflows
		}
		w.judge(start, nil)
		require.Equal(t, c.right, len(w.wrong) == 0, "%+v: %v", c, w.wrong)
	}
	w := good()
	w.judge(start, []string{"level=ERROR msg=panic"})
	require.Equal(t, []string{"the server complained: level=ERROR msg=panic"}, w.wrong)
}

func TestTally(t *testing.T) {
	total := newTally()
	total.count(outcome{"408", transportError}, nil)
	total.count(outcome{end: "408"}, nil)
	for range maxFaults + 1 {
		total.fault("the same")
	}
	require.Equal(t, tally{Clients: 2, Ends: map[string]int{"408": 2}, Reasons: map[string]int{transportError: 1},
		Wrong: maxFaults + 1, Faults: []string{"the same"}}, total)

	other := newTally()
	other.count(outcome{"cut", transportError}, nil)
	total.add(other)
	require.Equal(t, 3, total.Clients)
	require.Equal(t, map[string]int{"408": 2, "cut": 1}, total.Ends)
	require.Equal(t, map[string]int{transportError: 2}, total.Reasons)
}

// What hostile clients may come to is judged, and times only where the machine
// was not disturbed.
func TestJudgeGoals(t *testing.T) {
	in := func(us int64) load.Outcome {
		h := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
		require.NoError(t, h.RecordValue(us))
		return load.Outcome{Latency: h}
	}
	twin := row{phase: phase{name: "twin"}, beside: in(1_000)}
	all := goals{resident: 10 << 20, sessions: 7, twin: "twin", times: 5}
	for _, c := range []struct {
		says  string
		goals goals
		row   row
		noted bool
	}{
		{"", all, row{grown: 10 << 20, most: figures{sessions: 7}, beside: in(4_990)}, false},
		{"11.0 MiB of memory more", all, row{grown: 11 << 20, beside: in(1)}, false},
		{"8 sessions at a time", all, row{most: figures{sessions: 8}, beside: in(1)}, false},
		{"5 times that of twin", all, row{beside: in(5_100)}, false},
		{"", all, row{beside: in(5_100), naps: [2]int64{0, disturbed.Microseconds() + 1}}, true},
		{"", all, row{beside: in(5_100), alone: in(disturbed.Microseconds() + 1_000)}, true},
		{"", goals{}, row{grown: 1 << 40, most: figures{sessions: 1 << 20}, beside: in(1 << 20)}, false},
		{"", goals{late: time.Second}, row{beside: in((watchedInterval + time.Second - 10*time.Millisecond).Microseconds())}, false},
		{"pings is late", goals{late: time.Second}, row{beside: in((watchedInterval + time.Second + 10*time.Millisecond).Microseconds())}, false},
		{"", goals{late: time.Second}, row{beside: in(time.Minute.Microseconds() - 1), naps: [2]int64{disturbed.Microseconds() + 1, 0}}, true},
	} {
		w := c.row
		w.phase.goals = c.goals
		w.judgeGoals([]row{twin})
		require.Equal(t, c.noted, len(w.notes) > 0, "%+v", c)
		if c.says == "" {
			require.Empty(t, w.wrong, "%+v", c)
			continue
		}
		require.Len(t, w.wrong, 1, c.says)
		require.Contains(t, w.wrong[0], c.says)
	}
}

// Sessions of hostile clients may end for any reason, those of others not.
func TestJudgeHostile(t *testing.T) {
	for _, c := range []struct {
		kind  string
		right bool
	}{{"heads", false}, {"pongs", true}} {
		fine := load.Outcome{Opened: goodSessions}
		w := row{
			phase: phase{crowds: []crowd{{c.kind, 1}}}, alone: fine, beside: fine, clients: newTally(),
			closed: map[string]int64{transportClose: 2 * goodSessions, queueOverflow: 3},
		}
		w.judge(figures{}, nil)
		require.Equal(t, c.right, len(w.wrong) == 0, c.kind)
	}
}

func TestFlagsOfPhases(t *testing.T) {
	require.Equal(t, []string{"--a", "1", "--c", "3", "--b", "5", "--on"}, overriding([]string{"--a", "1", "--b", "2", "--c", "3"}, []string{"--b", "5", "--on"}))
	p := programs{Binary: "program", Busy: "busy"}
	binary, args := p.of(phase{})
	require.Equal(t, "program", binary)
	require.Equal(t, flags, args)
	binary, args = p.of(phase{busy: true, flags: []string{"--loops", "1"}})
	require.Equal(t, "busy", binary)
	require.Contains(t, args, "--loops")
}

// What hostile clients send compressed is what a server inflates.
func TestDeflatedPayloads(t *testing.T) {
	for name, c := range map[string]struct {
		payload func() []byte
		most    int // bytes
		want    string
	}{
		"packets": {smallPackets, 10, "4abc"},
		"blocks":  {emptyBlocks, 92*blockCount/8 + 10, "4a"},
		"bombs":   {bombs, 1_000, "4" + strings.Repeat("x", bombSize)},
	} {
		p := c.payload()
		require.LessOrEqual(t, len(p), c.most, name)
		got, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(p), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
		require.NoError(t, err, name)
		require.Equal(t, c.want, string(got), name)
	}
}

func TestEndings(t *testing.T) {
	for want, err := range map[string]error{
		"done": nil, "status 503": fmt.Errorf("post: %w", refusal(503)), "cut": io.EOF, "late or wrong answer": errors.New("other"),
	} {
		require.Equal(t, want, ending(err))
	}
}

// Every moment is cut in every way that it can be, and each kind of client of
// every phase exists.
func TestPlansAreComplete(t *testing.T) {
	for _, p := range phases {
		require.True(t, len(p.crowds) > 0 || p.vanish > 0, p.name)
		for _, c := range p.crowds {
			if p.hostile() {
				require.Contains(t, hostiles, c.kind, p.name)
				require.Positive(t, p.goals.resident, p.name)
			} else {
				require.Contains(t, clients, c.kind, p.name)
			}
			if c.kind == "cuts" {
				require.GreaterOrEqual(t, c.size, len(cuts)*len(moments), p.name)
			}
		}
		require.GreaterOrEqual(t, p.scaled(0.0001).vanish, min(p.vanish, 1), p.name)
	}
	for _, m := range moments {
		require.NotNil(t, m.reach, m.name)
	}
	for i, p := range phases {
		if twin := p.goals.twin; twin != "" {
			require.True(t, slices.ContainsFunc(phases[:i], func(before phase) bool { return before.name == twin }), "%s is compared with a later phase", p.name)
		}
	}
}

// What a run cannot mean is told by its flag.
func TestSettingsThatMakeNoSense(t *testing.T) {
	for _, c := range []struct {
		name string
		s    settings
		want string
	}{
		{"phase", settings{For: time.Second, Scale: 1, Phases: []string{"heads", "tails"}}, `--phases: there is no "tails"; there are heads, `},
		{"time", settings{Scale: 1}, "--for: 0s is less than a second"},
		{"scale", settings{For: time.Second}, "--scale: 0 is not above 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.s.choose()
			require.ErrorContains(t, err, c.want)
		})
	}
	chosen, err := (&settings{For: time.Second, Scale: 1, Phases: []string{"cuts", "heads"}}).choose()
	require.NoError(t, err)
	require.Len(t, chosen, 2)
}
