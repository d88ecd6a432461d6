package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wishes are subscriptions with a clock of the test, on NATS that only keeps count.
type wishes struct {
	*subscriptions
	at    time.Duration
	heard map[string]int // subscriptions by subject
	most  int            // there were, at a time
	whole map[uint8]bool
}

func newWishes(t *testing.T) *wishes {
	w := &wishes{heard: map[string]int{}, whole: map[uint8]bool{}}
	w.subscriptions = newSubscriptions("turbine.test", func(subject string) (func(), error) {
		w.heard[subject]++
		w.most = max(w.most, len(w.heard))
		ended := false
		return func() {
			require.False(t, ended, "%s is ended twice", subject)
			ended = true
			if w.heard[subject]--; w.heard[subject] == 0 {
				delete(w.heard, subject)
			}
		}, nil
	}, func(err error) { require.NoError(t, err) }, func(part uint8, whole bool) {
		require.NotEqual(t, whole, w.whole[part])
		w.whole[part] = whole
	})
	return w
}

func (w *wishes) pass(d time.Duration) {
	w.at += d
	for w.tick(w.at) != 0 && w.ending.First().at <= w.at {
	}
}

func (w *wishes) hears(group string) bool {
	return w.heard[w.names.group(group)] > 0 || w.heard[w.names.part(partOf(group))] > 0
}

func TestAGroupIsSubscribedFromItsFirstMemberTo5SecondsBehindItsLast(t *testing.T) {
	w := newWishes(t)
	step := func(on bool) { w.set("g", on, w.at) }
	step(true)
	require.Equal(t, map[string]int{w.names.group("g"): 1}, w.heard)
	step(false)
	w.pass(lingering - 1)
	require.True(t, w.hears("g"))
	step(true) // in time
	w.pass(1)
	require.True(t, w.hears("g"))
	w.pass(time.Hour)
	step(false)
	w.pass(lingering - 1)
	step(true)
	step(false) // its last member is another one
	w.pass(1)
	require.True(t, w.hears("g"))
	w.pass(lingering - 2)
	require.True(t, w.hears("g"))
	w.pass(1)
	require.Empty(t, w.heard)
	require.Empty(t, w.groups)
	require.Zero(t, w.count())
	step(true)
	require.True(t, w.hears("g"))
}

func TestManyGroupsAreSubscribedByParts(t *testing.T) {
	const many = 30_000
	w := newWishes(t)
	name := func(i int) string { return fmt.Sprint("room-", i) }
	for i := range maxExact {
		w.set(name(i), true, w.at)
	}
	require.Equal(t, maxExact, w.count())
	require.Len(t, w.heard, maxExact)
	require.Empty(t, w.whole)

	for i := maxExact; i < many; i++ {
		w.set(name(i), true, w.at)
		w.at += time.Millisecond
		w.tick(w.at)
		require.LessOrEqual(t, w.count(), maxExact+parts)
	}
	require.NotEmpty(t, w.whole)
	for i := range many {
		require.True(t, w.hears(name(i)), i)
	}
	w.pass(lingering)
	require.Len(t, w.heard, w.count(), "exact ones of parts that are whole have ended")
	require.LessOrEqual(t, w.count(), maxExact+parts)

	for i := range many - 100 {
		w.set(name(i), false, w.at)
	}
	w.pass(lingering)
	for i := many - 100; i < many; i++ {
		require.True(t, w.hears(name(i)))
		require.Positive(t, w.heard[w.names.group(name(i))], "few groups are exact again")
	}
	w.pass(lingering)
	require.Len(t, w.heard, 100)
	require.Equal(t, 100, w.count())
	for part, whole := range w.whole {
		require.False(t, whole, part)
	}
	for i := many - 100; i < many; i++ {
		w.set(name(i), false, w.at)
	}
	w.pass(lingering)
	require.Empty(t, w.heard)
	require.Equal(t, subscriptions{}.parts, w.parts)
}
