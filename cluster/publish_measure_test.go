package cluster_test

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"turbine/engine"
)

var publishesFlag = flag.Int("publishes", 0, "how many messages of 128 bytes TestPublishRate publishes; 0: it is skipped")

// Each of three nodes publishes, and has one session in each of its groups. The rate is of
// publishes until the last has come to where it goes: to a node that has members of the
// group, or to all.
func TestPublishRate(t *testing.T) {
	if *publishesFlag == 0 {
		t.Skip("-publishes says how many")
	}
	for _, all := range []bool{false, true} {
		t.Run(map[bool]string{false: "interest", true: "all"}[all], func(t *testing.T) {
			p := startPublishers(t, 3, nil)
			for i, n := range p.nodes {
				room := fmt.Sprintf("room-%d", i)
				l := p.listen(n, room)
				p.interest(p.nodes[(i+2)%3], room, l)
				l.session.Join("deaf") // the client is not measured
			}
			p.rate(all)
		})
	}
}

func (p *publishers) rate(all bool) {
	t, each := p.t, *publishesFlag/3
	message := text(strings.Repeat("x", 128))
	var before uint64
	for _, n := range p.nodes {
		before += n.Stats().Bus.Received
	}
	begun := time.Now()
	var sending sync.WaitGroup
	for i, n := range p.nodes {
		deaf, room := []string{"deaf"}, []string{fmt.Sprintf("room-%d", (i+1)%3)}
		sending.Go(func() {
			for range each {
				if all {
					_ = n.server.PublishTo(engine.Audience{Except: deaf}, message)
				} else {
					_ = n.server.PublishTo(engine.Audience{Groups: room, Except: deaf}, message)
				}
			}
		})
	}
	sending.Wait()
	want := uint64(3 * each)
	if all {
		want *= 2
	}
	received := func() (n, lost uint64) {
		for _, one := range p.nodes {
			s := one.Stats().Bus
			n += s.Received
			lost += s.Gaps + s.Slow
		}
		return n - before, lost
	}
	require.Eventually(t, func() bool { n, lost := received(); return n >= want || lost > 0 }, time.Minute, time.Millisecond)
	n, lost := received()
	t.Logf("%d published, %d of %d received, %d lost: %.0f published a second", 3*each, n, want, lost, float64(3*each)/time.Since(begun).Seconds())
}
