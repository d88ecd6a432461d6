package engine

import (
	"testing"

	"turbine/loop/looptest"
)

// newNodesBench is the first of several nodes with the same options. Sessions begin there,
// and every request with a session id lands on another node.
func newNodesBench(t testing.TB, loops int, o Options) *bench {
	all := newNodes(t, 2, loops, o, nil)
	b := all[0]
	b.dial = func(_ *bench, id string) *looptest.Peer {
		if id == "" {
			return all[0].world.Dial()
		}
		return all[1].world.Dial()
	}
	return b
}

// newNodes are n benches that are one. Nothing between them waits, until a fault is asked
// for. Their events are changed before the first connection.
func newNodes(t testing.TB, n, loops int, o Options, change func(b *bench, e *Events)) (all []*bench) {
	nodes := NewMemNodes(t, 1, MemFaults{})
	nodes.Calm()
	for range n {
		node := nodes.invite(&o)
		b := newBench(t, loops, o)
		if change != nil {
			change(b, &b.server.events)
		}
		nodes.enter(node, b.server, b.world)
		b.nodes, b.others = nodes, all
		all = append(all, b)
	}
	for i, b := range all {
		b.others = nil
		for j, other := range all {
			if i != j {
				b.others = append(b.others, other)
			}
		}
	}
	return all
}
