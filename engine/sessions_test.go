package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Sessions meets every open session once, and no other.
func TestSessions(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, nil)
		for range 2 * sessionsChunk { // more than is copied at a time
			b.play(hsPolling)
		}
		for i := range 20 {
			b.play(fmt.Sprint("ws EIO=4&transport=websocket conn=w", i))
		}
		b.play("close-session C", "close w3")
		seen := map[*Session]int{}
		for s := range b.server.Sessions() {
			seen[s]++
			require.NotEqual(t, StateClosed, s.State())
		}
		require.Len(t, seen, b.server.Stats().Sessions)
		for s, n := range seen {
			require.Equal(t, 1, n, b.name(s))
		}
		n := 0
		for range b.server.Sessions() {
			if n++; n == 5 {
				break
			}
		}
		require.Equal(t, 5, n)
		b.finish()
		for range b.server.Sessions() {
			t.Fatal("a session after the end")
		}
	})
}

// Sessions that come and go under a walk do not disturb it: a session that was there all
// the time is met once.
func TestSessionsWhileTheyChange(t *testing.T) {
	b := newBench(t, 2, Options{})
	for range 40 {
		b.play(hsPolling)
	}
	stays := map[*Session]int{}
	for i := range 40 {
		if i%2 == 0 {
			stays[b.session(letters(i))] = 0
		}
	}
	met := 0
	for s := range b.server.Sessions() {
		if _, ok := stays[s]; ok {
			stays[s]++
		}
		if met++; met == 10 {
			for i := 1; i < 40; i += 2 {
				b.session(letters(i)).CloseNow()
			}
			b.world.Run()
			for range 50 { // in the places that have become free, and behind
				b.play(hsPolling)
			}
		}
		require.NotEqual(t, StateClosed, s.State())
	}
	for s, n := range stays {
		require.Equal(t, 1, n, b.name(s))
	}
	b.finish()
}

// In Open the session is there already; in Close it is not any more.
func TestSessionsInCallbacks(t *testing.T) {
	b := newBench(t, 1, Options{})
	var seen []string
	b.on = func(event, name string) {
		if event == "open" || event == "close" {
			n := 0
			for s := range b.server.Sessions() {
				if b.name(s) == name {
					n++
				}
			}
			seen = append(seen, fmt.Sprint(event, " ", name, " ", n))
		}
	}
	b.play(hsPolling, hsPolling, "close-session A", "get EIO=4&transport=polling&sid=A")
	require.Equal(t, []string{"open A 1", "open B 1", "close A 0"}, seen)
	b.on = nil
	b.finish()
}

func TestFind(t *testing.T) {
	b := newBench(t, 2, Options{})
	b.play(hsPolling, hsPolling)
	for _, name := range []string{"A", "B"} {
		require.Same(t, b.session(name), b.server.Find(b.session(name).ID()))
	}
	id := b.session("A").ID()
	other := []byte(id)
	other[len(other)-2] ^= 1 // another secret
	for _, id := range []string{"", "nobody", string(other), strings.Repeat("A", sidLength), strings.Repeat("_", sidLength-1) + "8"} {
		require.Nil(t, b.server.Find(id), id)
	}
	b.session("A").CloseNow()
	b.world.Run()
	require.Nil(t, b.server.Find(id))
	closing := b.session("B")
	closing.Close()
	b.world.Run()
	require.Equal(t, StateClosing, closing.State())
	require.Same(t, closing, b.server.Find(closing.ID()))
	b.finish()
	unbound, err := New(Options{}, Events{})
	require.NoError(t, err)
	require.Nil(t, unbound.Find(id))
	for range unbound.Sessions() {
		t.Fatal("a session of a server that does not run")
	}
}

// Ids of the application's own are also found.
func TestFindOwnID(t *testing.T) {
	b := newBench(t, 2, Options{GenerateID: func(r *Request) (string, error) { return "id of " + r.Query("name"), nil }})
	b.play("get EIO=4&transport=polling&name=ada")
	require.Same(t, b.session("A"), b.server.Find("id of ada"))
	require.Nil(t, b.server.Find("id of bob"))
	b.finish()
}
