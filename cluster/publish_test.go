package cluster_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"turbine/cluster"
	"turbine/engine"
	"turbine/engine/enginetest"
)

// publishers are nodes with clients that listen.
type publishers struct {
	t     *testing.T
	nodes []*node
}

func startPublishers(t *testing.T, n int, change func(*cluster.Options, *engine.Options)) *publishers {
	t.Helper()
	goroutines(t)
	p := &publishers{t: t}
	first := free(t)
	for i := range n {
		listen := "127.0.0.1:0"
		if i == 0 {
			listen = first
		}
		one := prepare(t, string(rune('a'+i)), listen, change, first)
		one.join(t)
		p.nodes = append(p.nodes, one)
	}
	for i, one := range p.nodes {
		var others []string
		for j := range p.nodes {
			if i != j {
				others = append(others, string(rune('a'+j))+" alive")
			}
		}
		one.sees(t, others...)
	}
	return p
}

// listener is a client, and its session.
type listener struct {
	*enginetest.Client
	session *engine.Session
}

// listen opens a WebSocket at a node, whose session is in the groups.
func (p *publishers) listen(n *node, groups ...string) *listener {
	p.t.Helper()
	url, _, _ := strings.Cut(n.url, "?")
	l := &listener{Client: enginetest.Dial(p.t, url, enginetest.Options{Transport: engine.WebSocket})}
	for s := range n.server.Sessions() {
		if s.ID() == l.ID() {
			l.session = s
		}
	}
	require.NotNil(p.t, l.session)
	for _, g := range groups {
		l.session.Join(g)
	}
	return l
}

func text(s string) *engine.Prepared {
	p, err := engine.Prepare(engine.Text(s))
	if err != nil {
		panic(err)
	}
	return p
}

// interest waits until what the node publishes for the group reaches the listeners, and
// takes what they were sent for that.
func (p *publishers) interest(from *node, group string, to ...*listener) {
	p.t.Helper()
	for _, l := range to {
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			for l.NextText() != "probe" {
			}
		}()
		for waiting := true; waiting; {
			require.NoError(p.t, from.server.Publish(group, text("probe")))
			select {
			case <-heard:
				waiting = false
			case <-time.After(time.Millisecond):
			}
		}
	}
	require.NoError(p.t, from.server.Publish(group, text("begin")))
	for _, l := range to {
		for l.NextText() != "begin" {
		}
	}
}

// What one goroutine broadcasts and publishes reaches each session, on each node, in that
// order; a Join or Leave of a session of its node counts for what is published after it.
func TestPublishesOfOneCallerHaveOneOrderOnAllNodes(t *testing.T) {
	const rounds = 500
	p := startPublishers(t, 3, nil)
	a := p.nodes[0]
	var all []*listener
	for _, n := range p.nodes {
		all = append(all, p.listen(n, "g"), p.listen(n, "g", "h"))
	}
	comes := p.listen(a, "h") // and goes
	p.interest(a, "g", all...)
	p.interest(a, "h", comes, all[1], all[3], all[5])

	var sent [3][]string // what members of g, of g and h, and the one that comes and goes get
	in := true
	to := func(s string, who ...int) {
		for _, i := range who {
			sent[i] = append(sent[i], s)
		}
	}
	for i := range rounds {
		s := strconv.Itoa(i)
		switch i % 5 {
		case 0:
			require.NoError(t, a.server.Broadcast(text("all "+s)))
			to("all "+s, 0, 1, 2)
		case 1:
			require.NoError(t, a.server.Publish("g", text("g "+s)))
			to("g "+s, 0, 1)
		case 2:
			require.NoError(t, a.server.Publish("h", text("h "+s)))
			if to("h "+s, 1); in {
				to("h "+s, 2)
			}
		case 3:
			require.NoError(t, a.server.PublishTo(engine.Audience{Groups: []string{"g", "h"}, Except: []string{"nobody"}}, text("union "+s)))
			if to("union "+s, 0, 1); in {
				to("union "+s, 2)
			}
			if in = !in; in {
				comes.session.Join("h")
			} else {
				comes.session.Leave("h")
			}
		case 4:
			require.NoError(t, a.server.PublishTo(engine.Audience{Groups: []string{"g"}, Except: []string{"h"}}, text("but h "+s)))
			to("but h "+s, 0)
		}
	}
	for i, l := range append(all, comes) {
		want := sent[2]
		if i < len(all) {
			want = sent[i%2]
		}
		for _, s := range want {
			require.Equal(t, s, l.NextText(), "listener %d", i)
		}
	}
	for _, n := range p.nodes {
		require.Zero(t, n.Stats().Bus.Gaps+n.Stats().Bus.Duplicates+n.Stats().Bus.Slow)
	}
}

// An audience that names sessions is about one node; its groups are everywhere.
func TestWhatOfAnAudienceTravels(t *testing.T) {
	p := startPublishers(t, 2, nil)
	a, b := p.nodes[0], p.nodes[1]
	here, there, other := p.listen(a, "g"), p.listen(b, "g"), p.listen(b, "g", "x")
	p.interest(a, "g", here, there, other)
	for _, c := range []struct {
		name     string
		audience engine.Audience
		gets     string
	}{
		{"everybody", engine.Audience{}, "here there other"},
		{"everybody but a group", engine.Audience{Except: []string{"x"}}, "here there"},
		{"a session", engine.Audience{Sessions: []*engine.Session{here.session}}, "here"},
		{"no session", engine.Audience{Sessions: []*engine.Session{}}, ""},
		{"no group", engine.Audience{Groups: []string{}}, ""},
		{"a group and a session", engine.Audience{Groups: []string{"g"}, Sessions: []*engine.Session{here.session}}, "here there other"},
		{"a group but a session", engine.Audience{Groups: []string{"g"}, ExceptSessions: []*engine.Session{here.session}}, "there other"},
		{"a group that is kept from all here", engine.Audience{Groups: []string{"g"}, Keep: func(*engine.Session) bool { return false }}, "there other"},
		{"two groups", engine.Audience{Groups: []string{"x", "nobody"}}, "other"},
	} {
		require.NoError(t, a.server.PublishTo(c.audience, text(c.name)))
		require.NoError(t, a.server.Broadcast(text("next")))
		for name, l := range map[string]*listener{"here": here, "there": there, "other": other} {
			var want, got []string
			if slices.Contains(strings.Fields(c.gets), name) {
				want = append(want, c.name)
			}
			for s := l.NextText(); s != "next"; s = l.NextText() {
				got = append(got, s)
			}
			require.Equal(t, want, got, "%s: %s", name, c.name)
		}
	}
	home, err := b.server.Home()
	require.NoError(t, err)
	home.Deliver(engine.Audience{Groups: []string{"g"}}, text("of this node"))
	home.Deliver(engine.Audience{}, nil)
	require.Equal(t, "of this node", there.NextText())
	require.Equal(t, "of this node", other.NextText())
	require.NoError(t, b.server.Broadcast(text("last")))
	require.Equal(t, "last", here.NextText(), "what is delivered does not travel")
}

// Several goroutines of each of three nodes publish; each listener gets all of them, each
// goroutine's in order, none twice.
func TestNothingIsLostDoubledOrOutOfOrderBetweenNodes(t *testing.T) {
	const callers, each = 2, 700
	p := startPublishers(t, 3, nil)
	var all []*listener
	for _, n := range p.nodes {
		all = append(all, p.listen(n, "g", "h"))
	}
	for _, n := range p.nodes {
		p.interest(n, "g", all...)
	}
	for _, n := range p.nodes {
		p.interest(n, "h", all...)
	}
	var sending sync.WaitGroup
	for k, n := range p.nodes {
		for c := range callers {
			sending.Go(func() {
				for i := range each {
					s := text(fmt.Sprintf("%d.%d %d", k, c, i))
					switch i % 3 {
					case 0:
						_ = n.server.Publish("g", s)
					case 1:
						_ = n.server.Broadcast(s)
					case 2:
						_ = n.server.Publish("h", s)
					}
				}
			})
		}
	}
	for i, l := range all {
		next := map[string]int{}
		for range len(p.nodes) * callers * each {
			caller, number, _ := strings.Cut(l.NextText(), " ")
			require.Equal(t, strconv.Itoa(next[caller]), number, "listener %d, caller %s", i, caller)
			next[caller]++
		}
	}
	sending.Wait()
	for _, n := range p.nodes {
		s := n.Stats().Bus
		require.Zero(t, s.Gaps+s.Slow+s.Down+s.Malformed)
		require.GreaterOrEqual(t, s.Received, uint64(2*callers*each))
	}
}

// Above 20,000 groups parts take the place of groups, while messages come.
func TestInterestBecomesWholeUnderLoadWithoutLossOrDoubles(t *testing.T) {
	if testing.Short() {
		t.Skip("20,000 groups")
	}
	const groups, perSession = 20_300, 700 // 20 of them are listened to
	p := startPublishers(t, 2, nil)
	a, b := p.nodes[0], p.nodes[1]
	heard := p.listen(b)
	for i := range 20 {
		heard.session.Join(fmt.Sprintf("room-%d", i))
	}
	p.interest(a, "room-19", heard)
	done := make(chan int)
	stop := make(chan struct{})
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				done <- n
				return
			default:
			}
			_ = a.server.Publish(fmt.Sprintf("room-%d", n%20), text(strconv.Itoa(n)))
			if n%50 == 0 {
				time.Sleep(time.Millisecond) // a load, not all there is
			}
		}
	}()
	var many *listener // a session looks through its groups to join one
	for i := 20; i < groups; i++ {
		if i%perSession == 20 {
			many = p.listen(b)
		}
		many.session.Join(fmt.Sprintf("room-%d", i))
	}
	next := 0
	hear := func() { require.Equal(t, strconv.Itoa(next), heard.NextText()); next++ }
	for b.Stats().Bus.Interest == 0 || b.server.Count(fmt.Sprintf("room-%d", groups-1)) == 0 {
		hear()
	}
	whole := func() bool { n := b.Stats().Bus.Interest; return n > 15_000 && n < 20_257 }
	for end := time.Now().Add(patience); !whole(); {
		require.True(t, time.Now().Before(end), b.Stats().Bus.Interest)
		hear()
	}
	for range 2_000 {
		hear()
	}
	close(stop)
	for n := <-done; next < n; {
		hear()
	}
	require.Zero(t, b.Stats().Bus.Gaps+b.Stats().Bus.Slow)
	t.Log(b.Stats().Bus)
}

// NATS of one node is gone, and comes back: what is published meanwhile is told and counted.
func TestPublishesWithoutNATSAreToldAndCounted(t *testing.T) {
	s := external(t, server.RANDOM_PORT)
	port := s.Addr().(*net.TCPAddr).Port
	p := startPublishers(t, 2, func(o *cluster.Options, _ *engine.Options) {
		o.NATS, o.Embedded = fmt.Sprintf("nats://u:p@127.0.0.1:%d", port), nil
	})
	a, b := p.nodes[0], p.nodes[1]
	here, there := p.listen(a), p.listen(b)
	require.NoError(t, a.server.Broadcast(text("before")))
	require.Equal(t, "before", here.NextText())
	require.Equal(t, "before", there.NextText())
	s.Shutdown()
	s.WaitForShutdown()
	require.Eventually(t, func() bool { return a.told("bus down") }, patience, time.Millisecond)
	for range 3 {
		require.ErrorIs(t, a.server.Broadcast(text("meanwhile")), cluster.ErrBusDown)
		require.Equal(t, "meanwhile", here.NextText(), "members here get it")
	}
	require.ErrorIs(t, a.Tell(cluster.All(), nil), cluster.ErrBusDown)
	n, missing, err := a.Count(t.Context(), "g")
	require.ErrorIs(t, err, cluster.ErrBusDown)
	require.Zero(t, n)
	require.Len(t, missing, 1)
	require.EqualValues(t, 4, a.Stats().Bus.Down)
	s = external(t, port)
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	require.Eventually(t, func() bool { return a.told("bus up") && b.told("bus up") }, patience, time.Millisecond)
	require.NoError(t, a.server.Broadcast(text("after")))
	require.Equal(t, "after", there.NextText())
	require.EqualValues(t, 4, b.Stats().Bus.Gaps)
	require.Eventually(t, func() bool { return b.told("gap a") }, patience, time.Millisecond)
	a.kill(t)
	b.kill(t)
}

func TestTellAndAskReachTheirTargetsInOrder(t *testing.T) {
	var mu sync.Mutex
	told := map[engine.NodeID][]string{}
	var self sync.Map // by Options.Name, the id
	p := startPublishers(t, 3, func(o *cluster.Options, _ *engine.Options) {
		name := o.NodeName
		id := func() engine.NodeID { v, _ := self.Load(name); n, _ := v.(engine.NodeID); return n }
		note := func(s string) {
			mu.Lock()
			defer mu.Unlock()
			told[id()] = append(told[id()], s)
		}
		o.Told = func(_ engine.NodeID, body []byte) { note(string(body)) }
		o.Asked = func(_ engine.NodeID, body []byte, answer func([]byte)) {
			note("asked " + string(body))
			go answer([]byte("from " + name))
		}
	})
	for _, n := range p.nodes {
		self.Store(n.Members()[0].Name, n.Node().ID)
	}
	a, b, c := p.nodes[0], p.nodes[1], p.nodes[2]
	in := p.listen(b, "g")
	p.interest(a, "g", in)
	require.NoError(t, a.Tell(cluster.All(), []byte("all")))
	require.NoError(t, a.Tell(cluster.Group("g"), []byte("group")))
	require.NoError(t, a.Tell(cluster.OneNode(c.Node().ID), []byte("c")))
	require.NoError(t, a.Tell(cluster.Users(), []byte("users")))
	answers, missing, err := a.Ask(t.Context(), []byte("who"))
	require.NoError(t, err)
	require.Empty(t, missing)
	var texts []string
	for _, p := range answers {
		texts = append(texts, string(p))
	}
	slices.Sort(texts)
	require.Equal(t, []string{"from b", "from c"}, texts)
	mu.Lock()
	require.Equal(t, map[engine.NodeID][]string{
		b.Node().ID: {"all", "group", "users", "asked who"},
		c.Node().ID: {"all", "c", "users", "asked who"},
	}, told)
	mu.Unlock()
	require.ErrorIs(t, a.Tell(cluster.All(), make([]byte, 9<<20)), cluster.ErrTooLarge)

	more := p.listen(c, "g")
	require.Eventually(t, func() bool { return c.server.Count("g") == 1 }, patience, time.Millisecond)
	n, missing, err := a.Count(t.Context(), "g")
	require.NoError(t, err)
	require.Empty(t, missing)
	require.Equal(t, 2, n)
	ids, _, err := a.Sessions(t.Context(), "g", 10)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{in.session.PublicID(), more.session.PublicID()}, ids)

	c.leave(t)
	a.sees(t, "b alive", "c gone")
	n, missing, err = a.Count(context.Background(), "g")
	require.NoError(t, err)
	require.Empty(t, missing)
	require.Equal(t, 1, n)
}
