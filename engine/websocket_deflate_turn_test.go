package engine

import (
	"fmt"
	"strings"
	"testing"

	"turbine/loop"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// bombs are n messages of 100,000 bytes each, a hundred bytes on the wire.
func bombs(n int) (all []byte) {
	var k packer
	for i := range n {
		all = append(all, compressed(ws.OpText, true, k.pack("4"+strings.Repeat(fmt.Sprint(i%10), 100_000)))...)
	}
	return all
}

// What one read brings may become a thousand times as much. Others have their
// turn in between, and nothing is lost or overtaken, whatever comes behind.
func TestDeflateTakesTurns(t *testing.T) {
	const n = 50
	for name, c := range map[string]struct {
		behind func(b *bench)
		turn   func(s *Session) // between two of the session's
		most   int              // messages that come
		ends   string
	}{
		"nothing":   {most: n},
		"more":      {most: n + 1, behind: func(b *bench) { b.client("w", "").peer.Write(frame(ws.OpText, "4more")) }},
		"in turn":   {most: n + 1, turn: func(s *Session) { s.websocket.Data(frame(ws.OpText, "4more")) }},
		"close":     {most: n, behind: func(b *bench) { b.client("w", "").peer.Write(frame(ws.OpClose, "")) }, ends: `close A "transport close"`},
		"fin":       {most: n, behind: func(b *bench) { b.client("w", "").peer.CloseWrite() }, ends: `close A "transport close"`},
		"TLS's end": {most: n, turn: func(s *Session) { s.websocket.EOF() }, ends: `close A "transport close"`},
		"CloseNow":  {most: 10, turn: func(s *Session) { s.CloseNow() }, ends: `close A "forced close"`},
		"lost":      {most: 10, turn: func(s *Session) { s.websocket.conn.Abort() }, ends: `close A "transport close"`},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			between := 0
			b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}}, func(_ *bench, e *Events) {
				e.Message = func(s *Session, m Message) {
					got = append(got, string(m.Data[:1]))
					if len(got) > 1 {
						return
					}
					_ = s.loop.Post(loop.Func(func() {
						between = len(got)
						if c.turn != nil {
							c.turn(s)
						}
					}))
				}
			})
			var k unpacker
			b.speak(t, "ws EIO=4&transport=websocket", &k)
			b.events()
			b.client("w", "").peer.Write(bombs(n))
			if c.behind != nil {
				c.behind(b)
			}
			b.world.Run()
			require.Positive(t, between)
			require.LessOrEqual(t, between, 4, "messages before others have their turn")
			require.LessOrEqual(t, len(got), c.most)
			if c.most >= n {
				require.Len(t, got, c.most)
			}
			for i := range min(len(got), n) {
				require.Equal(t, fmt.Sprint(i%10), got[i])
			}
			require.Equal(t, c.ends, b.events())
			b.finish()
		})
	}
}

// Nor does it go beyond Options.Limits.MaxPending by more than a few messages.
func TestDeflateWaitsForTheExecutor(t *testing.T) {
	b := newHeld(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}}, func(_ *bench, e *Events) { e.Admit = nil })
	var k unpacker
	b.speak(t, "ws EIO=4&transport=websocket", &k)
	b.rest()
	b.events()
	b.client("w", "").peer.Write(bombs(50))
	b.work()
	require.Positive(t, b.server.Stats().Pending)
	require.Less(t, b.server.Stats().Pending, int64(500_000))
	b.rest()
	require.Zero(t, b.server.Stats().Pending)
	require.Equal(t, 50, strings.Count(b.events(), "message A"))
	b.finish()
}

// A message that the application has taken counts for Options.Limits.BodyBudget no more,
// also while what is behind it waits.
func TestDeflateHoldsNothingThatWasTaken(t *testing.T) {
	b := newHeld(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}, Limits: Limits{MaxPending: 1}}, func(_ *bench, e *Events) { e.Admit = nil })
	var k unpacker
	b.speak(t, "ws EIO=4&transport=websocket", &k)
	b.rest()
	b.events()
	var p packer
	begun := compressed(ws.OpText, false, p.pack("4"+strings.Repeat("x", 1000)))
	behind := bombs(2)
	b.client("w", "").peer.Write(append(append(begun, frame(ws.OpContinuation, "")...), behind...))
	b.world.Run()
	require.Positive(t, b.server.Stats().Pending)
	require.EqualValues(t, len(behind), b.server.shards[0].bodies)
	b.rest()
	require.Equal(t, 3, strings.Count(b.events(), "message A"))
	b.finish()
}
