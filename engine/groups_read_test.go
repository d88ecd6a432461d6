package engine

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMembersCountAndNames(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		var inside []int
		b := newSpec(t, loops, Options{}, func(b *bench, e *Events) {
			e.Message = func(s *Session, _ Message) {
				s.Join("late")
				inside = append(inside, b.server.Count("late"), b.server.Count("red"), len(slices.Collect(b.server.Members("red"))))
			}
		})
		const sessions = 3 * sessionsChunk
		names := make([]string, sessions)
		for i := range names {
			names[i] = fmt.Sprint("w", i)
		}
		openMany(b, names...)
		require.Zero(t, b.server.Count("red"))
		require.Empty(t, maps.Collect(b.server.GroupNames()))
		for i, s := range b.sessions {
			s.Join("red")
			s.Join(fmt.Sprint("own", i))
			if i%3 == 0 {
				s.Join("blue")
			}
		}
		b.world.Run()
		require.ElementsMatch(t, b.sessions, slices.Collect(b.server.Members("red")))
		require.Equal(t, sessions, b.server.Count("red"))
		require.Equal(t, sessions/3, b.server.Count("blue"))
		require.Empty(t, slices.Collect(b.server.Members("grey")))
		require.Zero(t, b.server.Count("grey"))
		all := maps.Collect(b.server.GroupNames())
		require.Len(t, all, 2+sessions)
		require.Equal(t, []int{sessions, sessions / 3, 1}, []int{all["red"], all["blue"], all["own7"]})
		for range b.server.GroupNames() {
			break
		}
		for range b.server.Members("red") {
			break
		}

		b.client("w1", "").peer.Write(frame(1, "4x"))
		b.world.Run()
		require.Equal(t, []int{0, sessions, sessions}, inside)
		require.Equal(t, 1, b.server.Count("late"))

		b.server.CloseGroup("blue")
		require.Equal(t, sessions/3, b.server.Count("blue"), "before the loops had their turn")
		b.server.CloseGroup("grey")
		b.sessions[1].Join("blue")
		b.collect()
		b.world.Run()
		require.Equal(t, []*Session{b.sessions[1]}, slices.Collect(b.server.Members("blue")))
		require.Equal(t, sessions-sessions/3, b.server.Count("red"))
		for i, s := range b.sessions {
			require.Equal(t, i%3 == 0, s.State() == StateClosed)
		}
		b.events()
		b.finish()
	})
}

// Members under way when places are closed up meets each session that stays once, and
// none twice that leaves and joins.
func TestMembersUnderChange(t *testing.T) {
	b := newSpec(t, 2, Options{}, nil)
	const sessions = 1000
	names := make([]string, sessions)
	for i := range names {
		names[i] = fmt.Sprint("w", i)
	}
	openMany(b, names...)
	for _, s := range b.sessions {
		s.Join("g")
	}
	b.world.Run()
	met := map[*Session]int{}
	moved := false
	for s := range b.server.Members("g") {
		met[s]++
		if len(met)%100 == 50 { // every fifth stays
			for i, o := range b.sessions[:len(met)] {
				if i%5 != 0 {
					o.Leave("g")
					if i%5 == 1 {
						o.Join("g")
					}
				}
			}
			b.world.Run()
		}
		for _, sh := range b.server.shards {
			moved = moved || len(sh.groups["g"].members) < sessions/2
		}
	}
	require.True(t, moved, "places were closed up")
	for i, s := range b.sessions {
		require.LessOrEqual(t, met[s], 1)
		if i%5 == 0 {
			require.Equal(t, 1, met[s])
		}
	}
	for _, sh := range b.server.shards {
		require.Empty(t, sh.groups["g"].readers)
	}
	b.got()
	b.finish()
}

// A group whose last member leaves and joins while GroupNames goes through the groups
// counts once.
func TestGroupNamesUnderChange(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	openMany(b, "stays", "moves")
	stays, moves := b.sessions[0], b.sessions[1]
	const groups = sessionsChunk + sessionsChunk/2
	stays.Join("g0")
	for i := 1; i < groups; i++ {
		moves.Join(fmt.Sprint("g", i))
	}
	b.world.Run()
	shard := b.server.shards[0]
	for range 20 { // a range over a map begins anywhere
		changes := 0
		all := shard.groupSizes(func() {
			changes++
			shard.groupsMu.Unlock()
			defer shard.groupsMu.Lock()
			for i := 1; i < groups; i++ {
				moves.Leave(fmt.Sprint("g", i))
			}
			for i := groups - 1; i > 0; i-- {
				moves.Join(fmt.Sprint("g", i))
			}
			b.world.Run()
		})
		require.Positive(t, changes)
		require.Equal(t, 1, all["g0"])
		for name, n := range all {
			require.Equal(t, 1, n, name)
		}
	}
	b.got()
	b.finish()
}

// Whoever reads the groups of a session reads nothing that the loop changes meanwhile:
// where most leave a group, the places of those who stay change.
func TestGroupsAreReadWhileOthersLeave(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	names := make([]string, 4*minEmpty)
	for i := range names {
		names[i] = fmt.Sprint("w", i)
	}
	openMany(b, names...)
	for _, s := range b.sessions {
		s.Join("red")
	}
	b.world.Run()
	stays := b.sessions[len(b.sessions)-1]
	reading, done := make(chan struct{}), make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for first := true; ; first = false {
			if !stays.InGroup("red") || len(stays.Groups()) != 1 {
				t.Error("a session that stays has lost its group")
			}
			if first {
				close(reading)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	<-reading
	for _, s := range b.sessions[:len(b.sessions)-1] {
		s.Leave("red")
	}
	b.world.Run()
	close(done)
	reader.Wait()
	require.Equal(t, 1, b.server.Count("red"))
	b.finish()
}
