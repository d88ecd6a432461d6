package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The times of a session count from its beginning, by the clock of its loop, and move
// with heartbeats alone.
func TestSessionTimes(t *testing.T) {
	for _, c := range []struct {
		name, open string
		pong       string // what the client sends as its heartbeat
	}{
		{"revision 4 on WebSocket", "ws EIO=4&transport=websocket conn=w", "3"},
		{"revision 3 on WebSocket", "ws EIO=3&transport=websocket conn=w", "2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 1, Options{})
			b.play("advance 90s", c.open)
			s := b.session("A")
			now := func() time.Time { return b.server.epoch.at(s.loop.Clock(), s.loop.Clock()) }
			age := func() time.Duration { return now().Sub(s.Opened()).Round(openedUnit) }
			silence := func() time.Duration { return now().Sub(s.LastHeartbeat()).Round(openedUnit) }
			require.Zero(t, age())
			require.Zero(t, silence(), "before the first heartbeat")

			b.play("advance 25s", "frame w text 4message")
			require.Equal(t, 25*time.Second, silence(), "a message is no heartbeat")
			b.play("advance 3s", "frame w text "+c.pong)
			require.Zero(t, silence())
			require.Equal(t, 28*time.Second, age())
			b.play("advance 5s")
			require.Equal(t, 5*time.Second, silence())
			require.Equal(t, s.Opened(), s.Opened())
			s.CloseNow()
			b.world.Run()
			require.Equal(t, 33*time.Second, age(), "also behind its end")
			b.finish()
		})
	}
}

// What a session remembers is few bits, which have come round where the process is old.
func TestSessionTimesAfterLong(t *testing.T) {
	for name, age := range map[string]time.Duration{
		"before hundredths of seconds come round": 496 * 24 * time.Hour,
		"behind that":             498 * 24 * time.Hour,
		"milliseconds come round": 50 * 24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 1, Options{})
			b.world.Jump(age)
			b.world.Run()
			b.play("ws EIO=4&transport=websocket conn=w", "advance 25s", "frame w text 3", "advance 7s")
			s := b.session("A")
			now := b.server.epoch.at(s.loop.Clock(), s.loop.Clock())
			require.Equal(t, 32*time.Second, now.Sub(s.Opened()).Round(openedUnit))
			require.Equal(t, 7*time.Second, now.Sub(s.LastHeartbeat()).Round(openedUnit))
			b.finish()
		})
	}
}

// The clock of the system is looked at each time: one that was set, or that runs a little
// differently, is no other moment for whoever asks twice.
func TestEpoch(t *testing.T) {
	var e epoch
	first := e.at(time.Hour, time.Minute)
	for name, ahead := range map[string]time.Duration{"the same": 0, "a little more": 900 * time.Millisecond, "a little less": -900 * time.Millisecond} {
		require.Equal(t, first, e.at(time.Hour+ahead, time.Minute), name)
	}
	for name, set := range map[string]time.Duration{"back": time.Hour, "forward": -time.Hour} {
		var e epoch
		before := e.at(2*time.Hour, 2*time.Hour)
		after := e.at(2*time.Hour+set, 2*time.Hour) // as if the system's clock had gone by set less
		require.InDelta(t, float64(-set), float64(after.Sub(before)), float64(time.Minute), name)
	}
}

// A client that goes from polling to WebSocket is upgrading in between, and not when it
// is done, gives up, or ends.
func TestUpgrading(t *testing.T) {
	for _, c := range []struct {
		name     string
		then     []string
		upgraded bool
	}{
		{"done", []string{"frame w text 5"}, true},
		{"lost", []string{"reset w"}, false},
		{"timeout", []string{"advance 10s"}, false},
		{"session closed", []string{"close-session A"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 1, Options{})
			b.play(hsPolling)
			s := b.session("A")
			require.False(t, s.Upgrading())
			b.play("ws EIO=4&transport=websocket&sid=A conn=w", "frame w text 2probe")
			require.True(t, s.Upgrading())
			require.False(t, s.Upgraded())
			b.play(c.then...)
			require.False(t, s.Upgrading() && s.State() == StateOpen)
			require.Equal(t, c.upgraded, s.Upgraded())
			s.CloseNow()
			b.world.Run()
			require.False(t, s.Upgrading())
			b.finish()
		})
	}
}
