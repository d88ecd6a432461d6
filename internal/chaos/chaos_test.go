//go:build linux

package main

import (
	"testing"

	"turbine/bench/load"

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
		{"beside the attack: 100 of 100 opened, 0 lost, 2 replies wrong", func(w *row) { w.beside.Wrong = 2 }},
		{"beside the attack: 99 of 100", func(w *row) {
			w.beside.Opened--
			w.closed[transportClose]--
		}},
		{"beside the attack: 100 of 100", func(w *row) { w.beside.Retries = 1 }},
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

// Every moment is cut in every way that it can be, and each kind of client of
// every phase exists.
func TestPlansAreComplete(t *testing.T) {
	for _, p := range phases {
		require.True(t, len(p.crowds) > 0 || p.vanish > 0, p.name)
		for _, c := range p.crowds {
			require.Contains(t, clients, c.kind, p.name)
			if c.kind == "cuts" {
				require.GreaterOrEqual(t, c.size, len(cuts)*len(moments), p.name)
			}
		}
		require.GreaterOrEqual(t, p.scaled(0.0001).vanish, min(p.vanish, 1), p.name)
	}
	for _, m := range moments {
		require.NotNil(t, m.reach, m.name)
	}
}
