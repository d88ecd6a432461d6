package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"turbine/engine"
)

// asking are nodes that ask each other, without NATS: what one sends the others hear at
// once, as far as silent lets them.
type asking struct {
	nodes   []*queries
	states  map[engine.NodeID]State
	silent  map[engine.NodeID]bool
	members map[engine.NodeID]int // of the group "here"
	down    error                 // of what is sent
	sent    atomic.Int64
}

func newAsking(n int) *asking {
	a := &asking{states: map[engine.NodeID]State{}, silent: map[engine.NodeID]bool{}, members: map[engine.NodeID]int{}}
	for i := range n {
		id := engine.NodeID(i + 1)
		a.nodes = append(a.nodes, newQueries(queriesOptions{
			self: id, names: subjectsOf("test"),
			members: func() []Member { return a.seenBy(id) },
			count: func(group string) int {
				if group != "here" {
					return 0
				}
				return a.members[id]
			},
			list: func(group string, limit int) (ids []string) {
				for k := range min(limit, a.members[id]) {
					ids = append(ids, publicIDOf(id, k))
				}
				return ids
			},
			asked: func(from engine.NodeID, body []byte, answer func([]byte)) {
				answer(fmt.Appendf(nil, "%d to %d: %s", id, from, body))
				answer([]byte("once more"))
			},
			send: func(subject string, body []byte) error { return a.send(id, subject, body) },
		}))
	}
	return a
}

func publicIDOf(id engine.NodeID, k int) string { return fmt.Sprintf("node-%d-session-%07d", id, k) }

func (a *asking) seenBy(id engine.NodeID) (all []Member) {
	for _, q := range a.nodes {
		all = append(all, Member{ID: q.self, State: a.states[q.self], Self: q.self == id})
	}
	return all
}

func (a *asking) send(from engine.NodeID, subject string, body []byte) error {
	if a.down != nil {
		return a.down
	}
	a.sent.Add(1)
	for _, q := range a.nodes {
		switch {
		case q.self == from || a.silent[q.self]:
		case subject == q.names.query():
			q.heard(body)
		case subject == q.names.node(q.self):
			q.answered(body)
		}
	}
	return nil
}

func idsOf(members []Member) (ids []engine.NodeID) {
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestCountAddsWhatNodesAnswerAndNamesThoseThatDoNot(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*asking)
		group   string
		want    int
		missing []engine.NodeID
		err     error
		figures [3]uint64 // whole, partial, busy
	}{
		{name: "all answer", group: "here", want: 111, figures: [3]uint64{1, 0, 0}},
		{name: "a group without members", group: "nowhere", want: 0, figures: [3]uint64{1, 0, 0}},
		{"one is silent", func(a *asking) { a.silent[3] = true }, "here", 11, []engine.NodeID{3}, nil, [3]uint64{0, 1, 0}},
		{"all others are silent", func(a *asking) { a.silent[2], a.silent[3] = true, true }, "here", 1, []engine.NodeID{2, 3}, nil, [3]uint64{0, 1, 0}},
		{"a dead one is not asked", func(a *asking) { a.states[3] = StateDead }, "here", 11, nil, nil, [3]uint64{1, 0, 0}},
		{"nor one that is gone", func(a *asking) { a.states[2] = StateGone }, "here", 101, nil, nil, [3]uint64{1, 0, 0}},
		{"a draining one is", func(a *asking) { a.states[2] = StateDraining }, "here", 111, nil, nil, [3]uint64{1, 0, 0}},
		{"a suspect one, too, and one that no link reaches", func(a *asking) { a.states[2], a.states[3] = StateSuspect, StateIncompatible }, "here", 111, nil, nil, [3]uint64{1, 0, 0}},
		{"the bus is down", func(a *asking) { a.down = ErrBusDown }, "here", 1, []engine.NodeID{2, 3}, ErrBusDown, [3]uint64{0, 1, 0}},
		{"alone", func(a *asking) { a.nodes = a.nodes[:1]; a.down = ErrBusDown }, "here", 1, nil, nil, [3]uint64{1, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAsking(3)
				a.members[1], a.members[2], a.members[3] = 1, 10, 100
				if c.prepare != nil {
					c.prepare(a)
				}
				cluster := &Cluster{queries: a.nodes[0]}
				begun := time.Now()
				n, missing, err := cluster.Count(t.Context(), c.group)
				require.ErrorIs(t, err, c.err)
				require.Equal(t, c.want, n)
				require.Equal(t, c.missing, idsOf(missing))
				waited := time.Duration(0)
				if len(missing) > 0 && err == nil {
					waited = queryTime
				}
				require.Equal(t, waited, time.Since(begun))
				q := a.nodes[0]
				require.Equal(t, c.figures, [3]uint64{q.whole.Load(), q.partial.Load(), q.busy.Load()})
				require.Empty(t, q.open, "a query that is over is forgotten")
			})
		})
	}
}

func TestAQueryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking(2)
		a.members[1], a.silent[2] = 7, true
		why := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), queryTime/5, why)
		defer cancel()
		begun := time.Now()
		n, missing, err := (&Cluster{queries: a.nodes[0]}).Count(ctx, "here")
		require.ErrorIs(t, err, why)
		require.Equal(t, queryTime/5, time.Since(begun))
		require.Equal(t, 7, n, "what is known")
		require.Equal(t, []engine.NodeID{2}, idsOf(missing))
	})
}

func TestSessionsListsAtMostAsManyAsWanted(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int
		want  []int // of each node
		asks  bool  // the other nodes
	}{
		{"all there are", 100, []int{2, 3, 4}, true},
		{"those of this node first", 4, []int{2, 2, 0}, true},
		{"this node has enough", 2, []int{2, 0, 0}, false},
		{"none", 0, []int{0, 0, 0}, false},
		{"a negative number is none", -1, []int{0, 0, 0}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAsking(3)
				a.members[1], a.members[2], a.members[3] = 2, 3, 4
				ids, missing, err := (&Cluster{queries: a.nodes[0]}).Sessions(t.Context(), "here", c.limit)
				require.NoError(t, err)
				require.Empty(t, missing)
				var want []string
				for i, n := range c.want {
					for k := range n {
						want = append(want, publicIDOf(engine.NodeID(i+1), k))
					}
				}
				require.Equal(t, want, ids)
				require.Equal(t, c.asks, a.sent.Load() > 0)
			})
		})
	}
}

func TestAskReturnsOneAnswerOfEachNode(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*asking)
		want    []string
		missing []engine.NodeID
	}{
		{name: "all answer, once", want: []string{"2 to 1: who?", "3 to 1: who?"}},
		{"one does not know how", func(a *asking) { a.nodes[1].asked = nil }, []string{"3 to 1: who?"}, []engine.NodeID{2}},
		{"one answers nothing", func(a *asking) {
			a.nodes[1].asked = func(_ engine.NodeID, _ []byte, answer func([]byte)) { answer(nil) }
		}, []string{"", "3 to 1: who?"}, nil},
		{"one answers never", func(a *asking) {
			a.nodes[2].asked = func(engine.NodeID, []byte, func([]byte)) {}
		}, []string{"2 to 1: who?"}, []engine.NodeID{3}},
		{"one answers from elsewhere, in time", func(a *asking) {
			a.nodes[2].asked = func(_ engine.NodeID, _ []byte, answer func([]byte)) {
				time.AfterFunc(queryTime-1, func() { answer([]byte("late")) })
			}
		}, []string{"2 to 1: who?", "late"}, nil},
		{"one answers too late", func(a *asking) {
			a.nodes[2].asked = func(_ engine.NodeID, _ []byte, answer func([]byte)) {
				time.AfterFunc(queryTime+1, func() { answer([]byte("late")) })
			}
		}, []string{"2 to 1: who?"}, []engine.NodeID{3}},
		{"an answer is too large", func(a *asking) {
			send := a.nodes[1].send
			a.nodes[1].send = func(subject string, body []byte) error {
				if strings.Contains(string(body), "who?") {
					return ErrTooLarge
				}
				return send(subject, body)
			}
		}, []string{"3 to 1: who?"}, []engine.NodeID{2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAsking(3)
				if c.prepare != nil {
					c.prepare(a)
				}
				answers, missing, err := (&Cluster{queries: a.nodes[0]}).Ask(t.Context(), []byte("who?"))
				require.NoError(t, err)
				var got []string
				for _, p := range answers {
					got = append(got, string(p))
				}
				require.Equal(t, c.want, got)
				require.Equal(t, c.missing, idsOf(missing))
				time.Sleep(time.Second) // of the bubble: what comes late changes nothing
				synctest.Wait()
			})
		})
	}
}

func TestQueriesAtATimeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking(2)
		a.silent[2] = true
		q := a.nodes[0]
		ended := make(chan error, maxQueries)
		for range maxQueries {
			go func() {
				_, _, err := q.ask(t.Context(), queryBody{what: askCount})
				ended <- err
			}()
		}
		synctest.Wait()
		sent := a.sent.Load()
		_, missing, err := q.ask(t.Context(), queryBody{what: askCount})
		require.ErrorIs(t, err, ErrBusy)
		require.Equal(t, []engine.NodeID{2}, idsOf(missing))
		require.Equal(t, sent, a.sent.Load())
		for range maxQueries {
			require.NoError(t, <-ended)
		}
		a.silent[2] = false
		_, missing, err = q.ask(t.Context(), queryBody{what: askCount})
		require.NoError(t, err)
		require.Empty(t, missing)
		require.EqualValues(t, 1, q.busy.Load())
	})
}

func TestAnswersThatNobodyWaitsForChangeNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		a    answerBody
	}{
		{"of a query that is over", answerBody{node: 2, number: 99, what: askCount, value: 5}},
		{"of a node that was not asked", answerBody{node: 9, number: 1, what: askCount, value: 5}},
		{"to another question", answerBody{node: 2, number: 1, what: askOpaque, told: []byte("5")}},
		{"of this node", answerBody{node: 1, number: 1, what: askCount, value: 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAsking(2)
			q := a.nodes[0]
			q.send = func(string, []byte) error {
				q.answered(appendAnswer(nil, &c.a))
				q.answered(appendAnswer(nil, &answerBody{node: 2, number: 1, what: askCount, value: 1}))
				q.answered(appendAnswer(nil, &answerBody{node: 2, number: 1, what: askCount, value: 2}))
				return nil
			}
			answers, missing, err := q.ask(t.Context(), queryBody{what: askCount})
			require.NoError(t, err)
			require.Empty(t, missing)
			require.Equal(t, []answerBody{{node: 2, number: 1, what: askCount, value: 1}}, answers)
		})
	}
}

func TestAQuestionOfALaterVersionIsRefused(t *testing.T) {
	a := newAsking(2)
	_, missing, err := a.nodes[0].ask(t.Context(), queryBody{what: 77})
	require.NoError(t, err)
	require.Equal(t, []engine.NodeID{2}, idsOf(missing), "at once")
}
