package engine_test

import (
	"bytes"
	"fmt"
	"slices"

	"turbine/engine"
)

// options give half of what c sends a key, which is the caller's own. Half of these
// are merged with what waits.
func (o *modelOrder) options(c *modelCaller) (with engine.SendOptions) {
	if c.random.IntN(2) == 0 {
		with.Key = fmt.Sprint("of ", c.id)
		if o.keyed[c.id] == nil {
			o.keyed[c.id] = map[int]bool{}
		}
		merges := c.random.IntN(2) == 0
		if merges {
			with.Merge = mergeNumbers
		}
		o.keyed[c.id][c.calls] = merges
	}
	return with
}

// mergeNumbers makes "7 1+2 bb" of "7 1 a" and "7 2 bb". It runs on any goroutine.
func mergeNumbers(waiting, next engine.Message) engine.Message {
	caller, rest, _ := bytes.Cut(waiting.Data, []byte(" "))
	numbers, _, _ := bytes.Cut(rest, []byte(" "))
	_, rest, _ = bytes.Cut(next.Data, []byte(" "))
	return engine.Message{Data: fmt.Appendf(nil, "%s %s+%s", caller, numbers, rest), Binary: next.Binary}
}

// parts are the numbers of the messages that p was merged of.
func parts(p []byte) (all []int) {
	_, rest, _ := bytes.Cut(p, []byte(" "))
	numbers, _, _ := bytes.Cut(rest, []byte(" "))
	for n := range bytes.SplitSeq(numbers, []byte("+")) {
		all = append(all, number(append(n[:len(n):len(n)], ' ')))
	}
	return all
}

// conflated is what is left of all when a message has come that was merged of parts,
// at least one; ok reports whether it may come now. It has the place of the first one
// of its key that is due, and stands for all of the key up to its last part: the parts
// are those that were sent since one without Merge, which has replaced those before.
func (o *modelOrder) conflated(caller int, all, parts []int) (left []int, ok bool) {
	merges := o.keyed[caller]
	last := slices.Index(all, parts[len(parts)-1])
	if last < 0 {
		return all, false
	}
	var ofKey []int
	for _, n := range all[:last+1] {
		if _, keyed := merges[n]; keyed {
			ofKey = append(ofKey, n)
		} else {
			left = append(left, n)
		}
	}
	first := len(ofKey) - len(parts)
	switch {
	case len(ofKey) == 0 || ofKey[0] != all[0], first < 0, !slices.Equal(ofKey[first:], parts):
		return all, false
	case first > 0 && merges[ofKey[first]]: // those before are lost
		return all, false
	}
	for _, n := range parts[1:] {
		if !merges[n] {
			return all, false
		}
	}
	return append(left, all[last+1:]...), true
}
