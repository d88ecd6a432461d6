package cluster

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"turbine/engine"
)

// own is the node whose view the tests look at.
const own engine.NodeID = 0x10

// view is one node's membership with a clock of the test, and a line for each thing that
// it does.
type view struct {
	*members
	t   *testing.T
	at  time.Duration
	did []string
}

func newView(t *testing.T) *view {
	v := &view{t: t, at: time.Minute}
	v.members = newMembers(*saying("", own))
	v.self.State = living
	v.links = v
	v.names = subjectsOf("test")
	v.send = func(subject string, r *record) {
		again, err := parseRecord(appendRecord(nil, r))
		require.NoError(t, err)
		require.Equal(t, r, again)
		if r.Kind != sayBeat {
			linked := ""
			if r.Linked {
				linked = " linked"
			}
			v.did = append(v.did, strings.TrimPrefix(subject, "turbine.test")+" "+r.Kind+linked)
		}
	}
	v.tell = func(e Event) {
		line := fmt.Sprintf("%v %x", e.Kind, uint32(e.Node))
		require.NotEmpty(t, e.Name)
		require.Len(t, e.Boot, 32)
		require.Equal(t, e.Kind == Incompatible, e.Err != nil)
		v.did = append(v.did, line)
	}
	v.tick(v.at)
	v.done()
	return v
}

func (v *view) learn(node engine.NodeID, address string) {
	v.did = append(v.did, fmt.Sprintf("learn %x %s", uint32(node), address))
}

func (v *view) forget(node engine.NodeID) {
	v.did = append(v.did, fmt.Sprintf("forget %x", uint32(node)))
}

// done does what is to be done, and returns what that was.
func (v *view) done() string {
	for _, f := range v.take() {
		f()
	}
	did := v.did
	v.did = nil
	return strings.Join(did, ", ")
}

// saying is what a node says about itself.
func saying(kind string, id engine.NodeID) *record {
	return &record{
		Kind: kind, Node: nodeText(id), id: id, Boot: fmt.Sprintf("%032x", uint32(id)), Name: fmt.Sprintf("name-%x", uint32(id)),
		Address: fmt.Sprintf("10.0.0.1:%d", uint32(id)), State: living, Oldest: 1, Newest: 2, Options: "0123456789abcdef", Path: "/engine.io/", Loops: 2,
	}
}

func (v *view) hears(kind string, id engine.NodeID, change ...func(*record)) string {
	r := saying(kind, id)
	if kind == sayBye {
		r.State = draining
	}
	for _, f := range change {
		f(r)
	}
	v.heard(v.at, r)
	return v.done()
}

func (v *view) link(id engine.NodeID, e linkEvent) string {
	v.linkEvent(v.at, id, e)
	return v.done()
}

// passes lets time pass, with a tick whenever one is due.
func (v *view) passes(d time.Duration) string {
	end := v.at + d
	for v.at < end {
		next := v.next()
		require.Greater(v.t, next, v.at, "a tick that changes nothing")
		v.at = min(next, end)
		v.tick(v.at)
	}
	return v.done()
}

func (v *view) state(id engine.NodeID) string {
	for _, m := range v.list() {
		if m.ID == id {
			return m.State.String()
		}
	}
	return "-"
}

// The cells of the table in docs/design.md: what a node in each state becomes by each
// event, and what is done then.
func TestMembers(t *testing.T) {
	const id = 0xa
	states := []struct {
		name  string
		begin func(v *view)
	}{
		{"-", func(*view) {}},
		{"alive", func(v *view) { v.hears(sayBeat, id); v.link(id, linkUp) }},
		{"alive, no link", func(v *view) { v.hears(sayBeat, id); v.link(id, linkRefused) }},
		{"suspect", func(v *view) { v.hears(sayBeat, id); v.link(id, linkUp); v.passes(suspectAfter) }},
		{"dead", func(v *view) { v.hears(sayBeat, id); v.link(id, linkRefused); v.passes(suspectAfter) }},
		{"draining", func(v *view) { v.hears(sayBeat, id); v.link(id, linkUp); v.hears(sayBye, id) }},
		{"gone, silent", func(v *view) { v.hears(sayBye, id); v.link(id, linkRefused); v.passes(suspectAfter) }},
		{"gone, said so", func(v *view) { v.hears(sayBeat, id); v.hears(sayEnd, id) }},
	}
	events := []struct {
		name string
		do   func(v *view) string
	}{
		{"hello", func(v *view) string { return v.hears(sayHello, id) }},
		{"beat", func(v *view) string { return v.hears(sayBeat, id) }},
		{"answer", func(v *view) string { return v.hears(sayAnswer, id) }},
		{"bye", func(v *view) string { return v.hears(sayBye, id) }},
		{"end", func(v *view) string { return v.hears(sayEnd, id) }},
		{"returned", func(v *view) string { return v.hears(sayReturned, id) }},
		{"other", func(v *view) string { return v.hears("of a later version", id) }},
		{"silent", func(v *view) string { return v.passes(suspectAfter) }},
		{"silent, no link", func(v *view) string { v.link(id, linkDown); return v.passes(suspectAfter) }},
		{"link up", func(v *view) string { return v.link(id, linkUp) }},
		{"link ended", func(v *view) string { return v.link(id, linkDown) }},
		{"and is not back", func(v *view) string { v.link(id, linkDown); return v.passes(relink) }},
		{"refused", func(v *view) string { return v.link(id, linkRefused) }},
		{"refused, tick", func(v *view) string { v.link(id, linkRefused); return v.passes(beatEvery) }},
		{"no version", func(v *view) string { return v.link(id, linkIncompatible) }},
		{"other node", func(v *view) string { return v.link(id, linkOther) }},
		{"wrong key", func(v *view) string { return v.link(id, linkDenied) }},
	}
	want := readCells(t)
	for _, s := range states {
		for _, e := range events {
			v := newView(t)
			s.begin(v)
			require.Empty(t, v.done())
			did := e.do(v)
			got := v.state(id)
			if did != "" {
				got += ": " + did
			}
			cell := s.name + " | " + e.name
			require.Equal(t, want[cell], got, cell)
			delete(want, cell)
		}
	}
	require.Empty(t, want, "cells that nothing looks at")
}

// readCells reads testdata/members.txt: `state | event | next state: what is done`.
func readCells(t *testing.T) map[string]string {
	text, err := os.ReadFile("testdata/members.txt")
	require.NoError(t, err)
	cells := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndex(line, " | ")
		require.Positive(t, i, line)
		require.NotContains(t, cells, line[:i])
		cells[line[:i]] = line[i+3:]
	}
	return cells
}

func TestMembersAreSuspectOnlyWhenSilent(t *testing.T) {
	v := newView(t)
	v.hears(sayBeat, 0xa)
	v.link(0xa, linkUp)
	for range 20 {
		require.Empty(t, v.passes(suspectAfter-time.Millisecond))
		require.Empty(t, v.hears(sayBeat, 0xa))
	}
	require.Equal(t, "suspect a", v.passes(time.Minute), "and for as long as the link is up nothing more")
	require.Equal(t, "suspect", v.state(0xa))
	v.link(0xa, linkDown)
	require.Empty(t, v.passes(relink-time.Millisecond), "it is dialed again meanwhile")
	v.link(0xa, linkUp)
	require.Empty(t, v.passes(time.Minute))
}

// A process that was stopped has heard nobody, which says nothing about the others.
func TestMembersSurviveAStopOfThisProcess(t *testing.T) {
	v := newView(t)
	v.hears(sayBeat, 0xa)
	v.hears(sayBeat, 0xb)
	v.link(0xa, linkUp)
	v.passes(time.Second)
	v.at += time.Minute
	v.link(0xa, linkDown) // by the other side, which has given up
	v.tick(v.at)
	require.Empty(t, v.done())
	require.Equal(t, "alive", v.state(0xa))
	v.hears(sayReturned, 0xb)
	require.Contains(t, v.passes(suspectAfter-time.Second), "dead a", "it is not back")
	require.Equal(t, "alive", v.state(0xb))
}

func TestMembersMoveTheirLinks(t *testing.T) {
	v := newView(t)
	v.hears(sayBeat, 0xa)
	require.Equal(t, "draining a, learn a 10.0.0.1:99", v.hears(sayBye, 0xa, func(r *record) { r.Address = "10.0.0.1:99" }))
	require.Empty(t, v.hears(sayBeat, 0xa, func(r *record) { r.Address, r.State = "10.0.0.1:99", draining }))
	v.moves("10.0.0.9:1")
	v.done()
	require.Equal(t, "10.0.0.9:1", v.list()[0].Address)
}

// The one that tells that a node is lost is computed from ids, so all survivors agree.
func TestOneSurvivorTellsALoss(t *testing.T) {
	ids := []engine.NodeID{0xa, 0xb, 0xc, own}
	for _, dead := range ids[:3] {
		var order []engine.NodeID // by score, the highest first
		for _, id := range ids {
			if id != dead {
				order = append(order, id)
			}
		}
		slices.SortFunc(order, func(a, b engine.NodeID) int { return cmp.Compare(score(dead, b), score(dead, a)) })
		v := newView(t)
		for _, id := range ids[:3] {
			v.hears(sayBeat, id)
			v.link(id, linkUp)
		}
		told := v.link(dead, linkOther)
		rank := slices.Index(order, own)
		// Each that was to tell it before dies within the minute; then it is this one's turn.
		for i := range rank {
			require.NotContains(t, told, "lost", "%x before %x", own, order[i])
			told = v.link(order[i], linkOther)
			require.Contains(t, told, fmt.Sprintf("dead %x", uint32(order[i])))
			told = strings.ReplaceAll(told, fmt.Sprintf("lost %x", uint32(order[i])), "") // its own loss is another matter
		}
		require.Contains(t, told, fmt.Sprintf("lost %x", uint32(dead)))
	}
	require.EqualValues(t, uint64(0xf2c6924e7dfed23e), score(1, 2), "nodes of all versions compute the same")
}

func TestLossIsToldAgainForAMinute(t *testing.T) {
	teller := engine.NodeID(0xb)
	for score(0xa, teller) < score(0xa, own) {
		teller++
	}
	begin := func() *view {
		v := newView(t)
		for _, id := range []engine.NodeID{0xa, teller} {
			v.hears(sayBeat, id)
			v.link(id, linkUp)
		}
		require.Equal(t, "forget a, dead a", v.link(0xa, linkOther))
		return v
	}
	keep := func(v *view, d time.Duration) {
		for end := v.at + d; v.at < end; v.hears(sayBeat, teller) {
			require.Empty(t, v.passes(min(time.Second, end-v.at)))
		}
	}
	v := begin()
	keep(v, retellFor-time.Second)
	require.Contains(t, v.link(teller, linkOther), "lost a")
	v = begin()
	keep(v, retellFor)
	require.NotContains(t, v.link(teller, linkOther), "lost a")
	v = begin()
	v.hears(sayBeat, 0xa)
	require.NotContains(t, v.link(teller, linkOther), "lost a", "it was not lost")
	v = begin()
	require.Contains(t, v.hears(sayEnd, teller), "lost a", "it may have left before it knew")
	v = begin()
	v.drains()
	v.done()
	require.NotContains(t, v.link(teller, linkOther), "lost", "one that leaves tells nothing")
}

func TestReturnedIsToldOnce(t *testing.T) {
	v := newView(t)
	v.hears(sayBeat, 0xa)
	v.hears(sayBeat, 0xb)
	require.Equal(t, "returned 10", v.hears(sayReturned, 0xa))
	require.Empty(t, v.hears(sayReturned, 0xb))
	v.hears(sayBeat, 0xa)
	v.passes(returnedPause)
	require.Contains(t, v.hears(sayReturned, 0xa), "returned 10")
}

func TestUnknownIds(t *testing.T) {
	v := newView(t)
	asks := func(id engine.NodeID) (bool, string) { ok := v.unknown(v.at, id); return ok, v.done() }
	for _, id := range []engine.NodeID{0, own} {
		ok, did := asks(id)
		require.False(t, ok)
		require.Empty(t, did)
	}
	ok, did := asks(0xa)
	require.True(t, ok)
	require.Equal(t, ".who.0000000a hello", did)
	ok, did = asks(0xa)
	require.True(t, ok, "its requests wait for the one question")
	require.Empty(t, did)
	require.Equal(t, "up a, learn a 10.0.0.1:10", v.hears(sayAnswer, 0xa))
	require.Empty(t, v.passes(time.Second))

	ok, _ = asks(0xb)
	require.True(t, ok)
	require.Empty(t, v.passes(whoFor-time.Millisecond))
	require.Equal(t, "forget b", v.passes(time.Millisecond))
	for range 3 {
		ok, did = asks(0xb)
		require.False(t, ok)
		require.Empty(t, did)
	}
	v.passes(notThereFor - time.Millisecond)
	ok, _ = asks(0xb)
	require.False(t, ok)
	v.passes(time.Millisecond)
	ok, _ = asks(0xb)
	require.True(t, ok, "it may be there by now")
	v.passes(whoFor)
	require.Contains(t, v.hears(sayBeat, 0xb), "up b", "and without being asked")
	require.Empty(t, v.notThere)
	v.hears(sayEnd, 0xb)
	ok, _ = asks(0xb)
	require.False(t, ok)
	states, u := v.figures()
	require.Equal(t, UnknownStats{Asked: 4, Absent: 4, Former: 1}, u)
	require.Equal(t, [NumStates]int{StateAlive: 1, StateDead: 1, StateGone: 1}, states)
}

func TestQuestionsAreLimited(t *testing.T) {
	v := newView(t)
	most := 0
	for second := range 30 {
		asked := 0
		for i := range 1000 {
			if v.unknown(v.at, engine.NodeID(0x1000+second*1000+i)) {
				asked++
			}
		}
		require.Equal(t, whoRate, asked)
		v.passes(time.Second)
		most = max(most, len(v.asked)+len(v.notThere))
	}
	_, u := v.figures()
	require.Equal(t, UnknownStats{Asked: 30 * whoRate, Limited: 30 * (1000 - whoRate)}, u)
	require.LessOrEqual(t, most, whoRate*int((notThereFor+whoFor)/time.Second+1), "which is far below maxNotThere")
	v.passes(notThereFor + time.Second)
	require.Empty(t, v.asked)
	require.Empty(t, v.notThere)
}

func TestFormerMembersAreRemembered(t *testing.T) {
	v := newView(t)
	v.hears(sayBeat, 0xa)
	v.link(0xa, linkRefused)
	v.passes(suspectAfter)
	ok := v.unknown(v.at, 0xa)
	require.False(t, ok, "it is dead: nobody is asked")
	v.passes(rememberFor)
	require.Equal(t, "-", v.state(0xa))
	require.True(t, v.unknown(v.at, 0xa))
	require.Zero(t, v.former)

	for i := range maxFormer + 100 {
		id := engine.NodeID(0x1000 + i)
		v.hears(sayBeat, id)
		v.hears(sayEnd, id)
		v.at++ // so that the first is the oldest
	}
	require.Len(t, v.table, maxFormer)
	require.Equal(t, maxFormer, v.former)
	require.Equal(t, "-", v.state(0x1000+99))
	require.Equal(t, "gone", v.state(0x1000+100))
}

func TestThereIsALimitToMembers(t *testing.T) {
	v := newView(t)
	for i := range 2 * maxMembers {
		v.hears(sayBeat, engine.NodeID(0x1000+i))
	}
	require.Len(t, v.table, maxMembers)
	v.hears(sayEnd, 0x1000)
	require.Contains(t, v.hears(sayBeat, 0xa), "up a")
}

func TestTwoProcessesWithOneId(t *testing.T) {
	lower, higher := strings.Repeat("0", 32), strings.Repeat("f", 32)
	for _, row := range []struct {
		name        string
		state       string // ours
		boot, other string
		theirs      string
		fails       bool
	}{
		{"both join, ours is lower", joining, lower, higher, joining, true},
		{"both join, ours is higher", joining, higher, lower, joining, false},
		{"the other has joined", joining, higher, lower, living, true},
		{"the other drains", joining, higher, lower, draining, true},
		{"we have joined", living, lower, higher, joining, false},
		{"it is us", joining, lower, lower, joining, false},
	} {
		v := newView(t)
		v.self.State, v.self.Boot = row.state, row.boot
		v.hears(sayHello, own, func(r *record) { r.Boot, r.State = row.other, row.theirs })
		_, _, err := v.barrier()
		require.Equal(t, row.fails, err != nil, row.name)
		if row.fails {
			require.ErrorIs(t, err, errTwice)
		}
		require.Empty(t, v.table)
	}
	// A node that has joined tells the newcomer; others keep the one they know.
	v := newView(t)
	require.Equal(t, ".node.00000010 answer", v.hears(sayHello, own, func(r *record) { r.Boot = higher }))
	v.hears(sayBeat, 0xa)
	require.Empty(t, v.hears(sayHello, 0xa, func(r *record) { r.Boot = higher }))
	v.hears(sayEnd, 0xa)
	require.Contains(t, v.hears(sayHello, 0xa, func(r *record) { r.Boot = higher }), "up a", "the other one is gone")
	require.Len(t, v.table, 1)
	require.Zero(t, v.former)
}

func TestMembersAgree(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*record)
		fails  string // Join; then
		warns  bool
	}{
		{"the same", func(*record) {}, "", false},
		{"another path", func(r *record) { r.Path = "/other/" }, "Options.Path", false},
		{"binding there", func(r *record) { r.Bound = true }, "Options.Access.Bind", false},
		{"other timeouts", func(r *record) { r.Options = "fedcba9876543210" }, "", true},
	} {
		for _, state := range []string{joining, living} {
			v := newView(t)
			var log bytes.Buffer
			v.log = slog.New(slog.NewTextHandler(&log, nil))
			v.self.State = state
			for id := range engine.NodeID(3) {
				v.hears(sayBeat, 0xa+id, row.change)
			}
			_, _, err := v.barrier()
			if row.fails != "" && state == joining {
				require.ErrorContains(t, err, row.fails, row.name)
				require.ErrorContains(t, err, "name-a", row.name)
			} else {
				require.NoError(t, err, "%s: a node that has joined stays", row.name)
			}
			require.Equal(t, row.warns, log.Len() > 0, row.name)
			require.LessOrEqual(t, strings.Count(log.String(), "\n"), 1, "one warning for all nodes")
		}
	}
}

func TestBarrierIsBothWays(t *testing.T) {
	v := newView(t)
	check := func(nodes int, up bool) {
		t.Helper()
		n, is, err := v.barrier()
		require.NoError(t, err)
		require.Equal(t, nodes, n)
		require.Equal(t, up, is)
	}
	check(0, true)
	v.hears(sayAnswer, 0xa)
	check(1, false)
	v.link(0xa, linkUp)
	check(1, false)
	v.hears(sayAnswer, 0xa, func(r *record) { r.Linked = true })
	check(1, true)
	v.hears(sayBeat, 0xa)
	check(1, true) // what is for all says nothing about this one
	v.hears(sayAnswer, 0xb, func(r *record) { r.Linked = true })
	check(2, false)
	v.link(0xb, linkIncompatible)
	check(1, true) // there will be none
	v.hears(sayEnd, 0xa)
	check(0, true)
}
