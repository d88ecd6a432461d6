package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"turbine/engine"
)

const (
	queryTime  = 500 * time.Millisecond // that the other nodes have to answer
	maxQueries = 64                     // of this node, at a time
	maxListed  = 10_000                 // sessions that one query lists
)

// ErrBusy is returned to a query where 64 of this node wait for their answers.
var ErrBusy = errors.New("cluster: too many queries at a time")

// queries are the questions to all nodes: those of this node that wait for answers, and
// the answers to those of the others.
type queries struct {
	queriesOptions
	whole   atomic.Uint64 // all answered
	partial atomic.Uint64 // some did not
	busy    atomic.Uint64

	mu     sync.Mutex
	number uint64            // guarded by mu; of the query before
	open   map[uint64]*query // guarded by mu
}

// QueryStats count the queries of this node since the start.
type QueryStats struct {
	Whole   uint64 // that all other nodes answered
	Partial uint64 // that some did not
	Busy    uint64 // that were not asked: 64 waited
}

func (q *queries) stats() QueryStats {
	return QueryStats{Whole: q.whole.Load(), Partial: q.partial.Load(), Busy: q.busy.Load()}
}

type queriesOptions struct {
	self    engine.NodeID
	names   subjects
	members func() []Member
	count   func(group string) int                       // of this node
	list    func(group string, limit int) (ids []string) // of this node
	asked   func(from engine.NodeID, body []byte, answer func([]byte))
	log     *slog.Logger
	// send publishes, behind what this node has published before. It borrows body, and
	// does not block. Safe from any goroutine.
	send func(subject string, body []byte) error
}

// query is one that waits.
type query struct {
	what    question
	waits   map[engine.NodeID]struct{}
	answers map[engine.NodeID]answerBody
	done    chan struct{} // closed with the last answer
}

func newQueries(o queriesOptions) *queries {
	return &queries{queriesOptions: o, open: map[uint64]*query{}}
}

// ask asks the other nodes, and returns what they answered, in the order of Members, and
// who did not. An error beside answers says why there are not more.
func (q *queries) ask(ctx context.Context, b queryBody) (answers []answerBody, missing []Member, err error) {
	var others []Member
	for _, m := range q.members() {
		if !m.Self && m.State != StateDead && m.State != StateGone {
			others = append(others, m)
		}
	}
	if len(others) == 0 {
		q.whole.Add(1)
		return nil, nil, nil
	}
	one := &query{what: b.what, waits: map[engine.NodeID]struct{}{}, answers: map[engine.NodeID]answerBody{}, done: make(chan struct{})}
	for _, m := range others {
		one.waits[m.ID] = struct{}{}
	}
	b.node = q.self
	if b.number = q.begin(one); b.number == 0 {
		q.busy.Add(1)
		return nil, others, ErrBusy
	}
	if err = q.send(q.names.query(), appendQuery(nil, &b)); err == nil {
		err = one.wait(ctx)
	}
	q.end(b.number)
	for _, m := range others {
		if a, ok := one.answers[m.ID]; ok && !a.refused {
			answers = append(answers, a)
		} else {
			missing = append(missing, m)
		}
	}
	if len(missing) == 0 {
		q.whole.Add(1)
		return answers, nil, nil
	}
	q.partial.Add(1)
	return answers, missing, err
}

// begin gives a query its number, 0 where there is no room for one more.
func (q *queries) begin(one *query) (number uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.open) >= maxQueries {
		return 0
	}
	q.number++
	q.open[q.number] = one
	return q.number
}

// end closes a query: no answer changes it behind that.
func (q *queries) end(number uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, number)
}

// wait returns with the last answer, or behind queryTime, or with ctx's error.
func (one *query) wait(ctx context.Context) error {
	t := time.NewTimer(queryTime)
	defer t.Stop()
	select {
	case <-one.done:
	case <-t.C:
	case <-ctx.Done():
		return fmt.Errorf("cluster: query: %w", context.Cause(ctx))
	}
	return nil
}

// answered takes an answer, on the bus's goroutine. It borrows p.
func (q *queries) answered(p []byte) {
	a, err := parseAnswer(p)
	if err != nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	one := q.open[a.number]
	if one == nil || one.what != a.what && !a.refused {
		return // it comes too late
	}
	if _, waits := one.waits[a.node]; !waits {
		return
	}
	delete(one.waits, a.node)
	one.answers[a.node] = a
	if len(one.waits) == 0 {
		close(one.done)
	}
}

// heard answers a question of another node, on the bus's goroutine. It borrows p.
func (q *queries) heard(p []byte) {
	b, err := parseQuery(p)
	if err != nil || b.node == q.self {
		return
	}
	a := answerBody{node: q.self, number: b.number, what: b.what}
	switch {
	case b.what == askCount:
		a.value = uint64(max(0, q.count(b.group)))
	case b.what == askSessions:
		a.ids = q.list(b.group, int(min(b.limit, maxListed)))
	case b.what == askOpaque && q.asked != nil:
		q.hearAsked(&b, &a)
		return
	default:
		a.refused = true
	}
	q.reply(b.node, &a)
}

// hearAsked calls Asked, whose panic ends nothing.
func (q *queries) hearAsked(b *queryBody, a *answerBody) {
	defer func() {
		if p := recover(); p != nil {
			q.log.Error("panic in Options.Asked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	once, to := sync.Once{}, b.node
	q.asked(to, b.asked, func(told []byte) {
		once.Do(func() {
			a.told = told
			q.reply(to, a)
		})
	})
}

// reply sends an answer. One that is too large is a refusal, so that nobody waits for it.
func (q *queries) reply(to engine.NodeID, a *answerBody) {
	err := q.send(q.names.node(to), appendAnswer(nil, a))
	if errors.Is(err, ErrTooLarge) {
		_ = q.send(q.names.node(to), appendAnswer(nil, &answerBody{node: a.node, number: a.number, what: a.what, refused: true}))
	}
}

// own is the server of this node, nil before Join.
func (c *Cluster) own() *engine.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

func (c *Cluster) ownCount(group string) int {
	if s := c.own(); s != nil {
		return s.Count(group)
	}
	return 0
}

func (c *Cluster) ownSessions(group string, limit int) (ids []string) {
	s := c.own()
	if s == nil || limit <= 0 {
		return nil
	}
	for session := range s.Members(group) {
		if ids = append(ids, session.PublicID()); len(ids) >= limit {
			break
		}
	}
	return ids
}

// Count is how many members the group has on all nodes. missing are the nodes that did
// not answer within 500 milliseconds: n is without theirs. An error says why there are not
// more answers: ErrBusDown, ErrBusy above 64 queries of this node at a time, or that of
// ctx; n and missing are right all the same. It waits, so it must not be called on a loop
// or in Options.Told. A Join on another node counts when its loop has come to it.
func (c *Cluster) Count(ctx context.Context, group string) (n int, missing []Member, err error) {
	q := c.queries
	if len(group) > maxGroupName {
		return 0, nil, ErrTooLarge
	}
	answers, missing, err := q.ask(ctx, queryBody{what: askCount, group: group})
	n = q.count(group)
	for _, a := range answers {
		n += int(min(a.value, maxCount)) // #nosec G115 -- below maxCount
	}
	return n, missing, err
}

const (
	maxGroupName = 1 << 16
	maxCount     = 1 << 30 // sessions that a node can have
)

// Sessions lists members of the group on all nodes by their PublicID, at most limit and
// at most 10,000, those of this node first. missing and err are as for Count.
func (c *Cluster) Sessions(ctx context.Context, group string, limit int) (ids []string, missing []Member, err error) {
	q := c.queries
	if limit = min(limit, maxListed); limit <= 0 {
		return nil, nil, nil
	}
	if len(group) > maxGroupName {
		return nil, nil, ErrTooLarge
	}
	ids = q.list(group, limit)
	if len(ids) >= limit {
		return ids[:limit], nil, nil
	}
	answers, missing, err := q.ask(ctx, queryBody{what: askSessions, group: group, limit: uint32(limit)}) // #nosec G115 -- at most maxListed
	for _, a := range answers {
		ids = append(ids, a.ids...)
	}
	if len(ids) > limit {
		ids = slices.Clone(ids[:limit]) // the others need not stay
	}
	return ids, missing, err
}

// Ask brings body to Options.Asked of each other node, and returns their answers, in the
// order of Members. A question is heard behind what this node has published and told
// before. missing are the nodes that did not answer within 500 milliseconds, or have no
// Asked; the error is as for Count, or ErrTooLarge.
func (c *Cluster) Ask(ctx context.Context, body []byte) (answers [][]byte, missing []Member, err error) {
	all, missing, err := c.queries.ask(ctx, queryBody{what: askOpaque, asked: body})
	for _, a := range all {
		answers = append(answers, a.told)
	}
	return answers, missing, err
}
