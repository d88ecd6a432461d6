package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// recordingBus keeps what it is told, as text.
type recordingBus struct {
	err error // of Publish

	mu    sync.Mutex
	lines []string
}

func (r *recordingBus) Publish(groups, except []string, m []Message, o SendOptions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprintf("%v", groups)
	if len(groups) == 0 {
		line = "all"
	}
	if len(except) > 0 {
		line += fmt.Sprintf(" except %v", except)
	}
	for i := range m {
		line += fmt.Sprintf(" %s %v", m[i].Data, m[i].Binary)
	}
	if o.NoCompress {
		line += " as it is"
	}
	r.lines = append(r.lines, line)
	return r.err
}

func (r *recordingBus) Interest(group string, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%s %v", group, on))
}

// told returns what the bus was told since the last time.
func (r *recordingBus) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

// audiencesOfNode is audiences on a node with a bus.
func audiencesOfNode(t *testing.T, loops int) (*bench, *recordingBus) {
	bus := new(recordingBus)
	b := newSpec(t, loops, Options{Node: &Node{ID: 7, Bus: bus}}, nil)
	openMany(b, "a", "b", "c", "d", "e", "f")
	return b, bus
}

func TestBusGetsWhatOtherNodesCanKnow(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b, bus := audiencesOfNode(t, loops)
		one := b.sessions[:1]
		binary, err := Prepare(Message{Data: []byte{'y'}, Binary: true})
		require.NoError(t, err)
		for name, c := range map[string]struct {
			publish func() error
			want    string // "" for nothing
		}{
			"Broadcast":             {func() error { return b.server.Broadcast(say("x")) }, "all x false"},
			"Publish":               {func() error { return b.server.Publish("red", say("x")) }, "[red] x false"},
			"binary":                {func() error { return b.server.Publish("red", binary) }, "[red] y true"},
			"NoCompress":            {func() error { return b.server.Broadcast(say("x").With(SendOptions{NoCompress: true})) }, "all x false as it is"},
			"a union":               {func() error { return b.server.PublishTo(Audience{Groups: []string{"red", "blue"}}, say("x")) }, "[red blue] x false"},
			"a group is excepted":   {func() error { return b.server.PublishTo(Audience{Except: []string{"red"}}, say("x")) }, "all except [red] x false"},
			"no group":              {func() error { return b.server.PublishTo(Audience{Groups: []string{}}, say("x")) }, ""},
			"sessions":              {func() error { return b.server.PublishTo(Audience{Sessions: one}, say("x")) }, ""},
			"sessions and a group":  {func() error { return b.server.PublishTo(Audience{Sessions: one, Groups: []string{"red"}}, say("x")) }, "[red] x false"},
			"no session, no group":  {func() error { return b.server.PublishTo(Audience{Sessions: []*Session{}}, say("x")) }, ""},
			"sessions are excepted": {func() error { return b.server.PublishTo(Audience{ExceptSessions: one}, say("x")) }, "all x false"},
			"nothing":               {func() error { return ignore(b.server.Broadcast(nil), ErrNotUTF8) }, ""},
			"the end of a group":    {func() error { b.server.CloseGroup("nobody"); return nil }, ""},
		} {
			require.NoError(t, c.publish(), name)
			require.Equal(t, c.want, strings.Join(bus.told(), ", "), name)
		}
	})
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return fmt.Errorf("%w instead of %w", err, expected)
}

// An error of the bus reaches the caller, and the sessions of this node get the
// message all the same.
func TestBusErrorReachesTheCaller(t *testing.T) {
	b, bus := audiencesOfNode(t, 2)
	bus.err = errors.New("the bus is down")
	require.ErrorIs(t, b.server.Broadcast(say("x")), bus.err)
	require.Len(t, b.texts(), 6)
}

// The bus hears of a group with its first member on any loop, and of the group's end
// with the last one, however a member goes; each once.
func TestBusHearsOfGroups(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b, bus := audiencesOfNode(t, loops)
		act := func(want []string, f func(s *Session), at ...int) {
			t.Helper()
			for _, i := range at {
				f(b.sessions[i])
			}
			b.world.Run()
			got := bus.told()
			slices.Sort(got)
			require.Equal(t, want, got)
		}
		act([]string{"red true"}, func(s *Session) { s.Join("red") }, 0)
		act(nil, func(s *Session) { s.Join("red") }, 0, 1, 2, 3, 4, 5)
		act([]string{"blue true"}, func(s *Session) { s.Join("blue") }, 3, 4)
		act(nil, func(s *Session) { s.Leave("red") }, 0, 1, 2)
		act(nil, (*Session).CloseNow, 3)
		act([]string{"red false"}, func(s *Session) { s.Leave("red"); s.Leave("grey") }, 4, 5)
		act([]string{"blue false"}, (*Session).CloseNow, 4)
		act([]string{"red false", "red true"}, func(s *Session) { s.Join("red"); s.Leave("red") }, 5)
		require.Empty(t, b.server.interests.loops)
	})
}

// A walk keeps a group that loses its last member until its own end; the group that
// begins meanwhile is the same one.
func TestBusHearsOfGroupsInOrder(t *testing.T) {
	b, bus := audiencesOfNode(t, 1)
	s := b.sessions[0]
	for range 3 {
		s.Join("red")
		_ = b.server.Publish("red", say("x"))
		s.Leave("red")
	}
	b.world.Run()
	require.Equal(t, []string{"[red] x false", "[red] x false", "[red] x false", "red true", "red false", "red true", "red false", "red true", "red false"}, bus.told())
}
