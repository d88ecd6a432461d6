//go:build linux

package load

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// publishes is a server that sends these to each client, from the beginning.
func publishes(t *testing.T, all ...engine.Message) string {
	t.Helper()
	return listen(t, newServer(t, engine.Options{}, engine.Events{Open: func(s *engine.Session, _ *engine.Request) {
		for _, m := range all {
			_ = s.Send(m)
		}
	}}))
}

func updateOf(key, number int, made time.Time) engine.Message {
	return engine.Message{Data: fmt.Appendf(nil, "%d %d %d %s", key, number, made.UnixNano(), strings.Repeat(".", 100))}
}

func updatesPlan(addr string) Plan {
	return Plan{Kind: Updates, Addr: addr, Path: "/engine.io/", Sessions: 2, ReadRate: 1 << 20}
}

// Of every second update, as of keys of which each second one was replaced, the age
// and the rate of making are those of all.
func TestUpdates(t *testing.T) {
	t.Parallel()
	const past = 10 * time.Second
	var all []engine.Message
	began := time.Now().Add(-past)
	const each = 100
	for i := range each {
		for key := range 2 {
			all = append(all, updateOf(key, 2*i, began.Add(time.Duration(2*i)*time.Millisecond)))
		}
	}
	p := updatesPlan(publishes(t, all...))
	o, err := runUntil(t, p, func(o *Outcome) bool { return o.Operations >= 2*each })
	require.NoError(t, err)
	perfect(t, o)
	require.InDelta(t, 2_000, o.Made, 1e-6, "a thousand a second of each key")
	require.GreaterOrEqual(t, o.Latency.Min(), (past-2*each*time.Millisecond).Microseconds()*99/100, "the histogram has three digits")
}

func TestWrongUpdates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	binary := updateOf(1, 2, now)
	binary.Binary = true
	for name, c := range map[string]struct {
		second engine.Message
		want   string // among the faults; "" for none
	}{
		"a newer one":           {updateOf(1, 9, now), ""},
		"an older one":          {updateOf(1, 0, now), "update 0 of key 1 after 1"},
		"the same one":          {updateOf(1, 1, now), "update 1 of key 1 after 1"},
		"older, of another key": {updateOf(2, 0, now), ""},
		"binary":                {binary, "no update"},
		"no numbers":            {engine.Message{Data: []byte("hello")}, "no update"},
		"no time":               {engine.Message{Data: []byte("1 2 ")}, "no update"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := []engine.Message{updateOf(1, 1, now), c.second}
			for i := range 200 { // more than the client takes before it reads slowly
				all = append(all, updateOf(3, i, now))
			}
			o, err := runUntil(t, updatesPlan(publishes(t, all...)), func(o *Outcome) bool { return o.Wrong > 0 || o.Operations > 0 })
			require.NoError(t, err)
			if c.want == "" {
				require.Empty(t, o.Faults)
				return
			}
			require.Contains(t, strings.Join(o.Faults, "\n"), c.want)
		})
	}
}

// Sessions read in turns, each so many times a second.
func TestUpdatesAreReadInTurns(t *testing.T) {
	p := updatesPlan("127.0.0.1:1")
	p.Duration = moment
	r, err := newRunner(p)
	require.NoError(t, err)
	u := r.kind.(*updates)
	u.begin()
	for _, c := range []struct {
		after time.Duration
		want  int64 // sips of both sessions
	}{{0, 0}, {49 * time.Millisecond, 0}, {50 * time.Millisecond, 1}, {100 * time.Millisecond, 2}, {time.Second, 2 * sipsPerSecond}} {
		r.now = u.began + int64(c.after)
		u.tick() // no session is open
		require.Equal(t, c.want, u.sips, c.after)
	}
}
