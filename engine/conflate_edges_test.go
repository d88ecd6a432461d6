package engine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"turbine/engine/packet"

	"github.com/stretchr/testify/require"
)

// passed is a keep that lets a walk pass all sessions: what is sent meanwhile is held.
func passed(*Session) bool { return false }

// A message without Merge is a value of its own. What is merged with it while it is
// held does not bring back the value that it replaces.
func TestMergeBehindAWalkKeepsWhatHasReplaced(t *testing.T) {
	for _, c := range []struct{ sends, want string }{
		{"+0 | 1 +2", "(1+2)"},
		{"+0 | +1 +2", "(0+(1+2))"},
		{"+0 | +1 2 +3", "(2+3)"},
		{"+0 | 1 +2 | +3", "((1+2)+3)"},
	} {
		t.Run(c.sends, func(t *testing.T) {
			b := newSpec(t, 1, Options{}, nil)
			b.play(hsPolling)
			s := b.session("A")
			for _, text := range strings.Fields(c.sends) {
				if text == "|" {
					_ = b.server.PublishTo(Audience{Keep: passed}, prepared(message))
					continue
				}
				o := keyedAs("k")
				text, merges := strings.CutPrefix(text, "+")
				if merges {
					o.Merge = added
				}
				sendText(t, s, text, o)
			}
			b.world.Run()
			require.Equal(t, []string{"200 4" + c.want}, b.play("get sid=A"))
			b.finish()
		})
	}
}

// A Merge that runs on the loop has no caller to tell that its result is no text: both
// messages are sent, of a walk as of what was held.
func TestMergeOfAWalkThatIsNoTextSendsBoth(t *testing.T) {
	bad := func(Message, Message) Message { return Message{Data: []byte{0xff}} }
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling)
	sendText(t, b.session("A"), "one", keyedAs("k"))
	_ = b.server.Broadcast(prepared(Message{Data: []byte("two")}).With(SendOptions{Key: "k", Merge: bad}))
	b.world.Run()
	require.Equal(t, []string{`200 4one\x1e4two`}, b.play("get sid=A"))
	require.Zero(t, b.server.Stats().Queued)
	b.finish()
}

// A replacement that makes the queue cross a water mark is told of as any other send.
func TestReplacementTellsOfWaterMarks(t *testing.T) {
	var told []string
	b := newSpec(t, 1, Options{Queue: Queue{HighWater: 1000, LowWater: 300}}, func(_ *bench, e *Events) {
		e.HighWater = func(_ *Session, buffered int) { told = append(told, fmt.Sprint("high ", buffered)) }
		e.LowWater = func(*Session) { told = append(told, "low") }
	})
	b.play(hsPolling)
	s := b.session("A")
	for _, c := range []struct {
		size int
		told []string
	}{
		{100, nil}, {800, nil}, {900, []string{"high 1028"}}, {1900, nil}, {200, nil}, {150, []string{"low"}}, {1000, []string{"high 1128"}}, {0, []string{"low"}},
	} {
		told = nil
		require.NoError(t, s.SendWith(filler(c.size), keyedAs("k")))
		b.world.Run()
		require.Equal(t, c.told, told, "with %d bytes", c.size)
	}
	b.finish()
}

// A walk is counted when it has its place in the queue, not before: what is held before
// it would pass for something behind it, and be replaced there by what comes later.
func TestAWalkIsCountedWithItsPlace(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	q := &b.server.shards[0].publishes
	q.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.server.PublishTo(Audience{Keep: passed}, prepared(message))
	}()
	for q.ahead.Load() == 0 {
		runtime.Gosched()
	}
	counted := q.walks.Load()
	q.mu.Unlock()
	<-done
	require.Zero(t, counted)
	require.EqualValues(t, 1, q.walks.Load())
	b.finish()
}

// A replacement that does not fit is one that MaxBytes refuses, however many wait.
func TestRefusedReplacementCountsForItsLimit(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{MaxPackets: 1, MaxBytes: 1000, Overflow: OverflowDrop}}, nil)
	b.play(hsPolling)
	s := b.session("A")
	require.NoError(t, s.SendWith(filler(100), keyedAs("k")))
	require.ErrorIs(t, s.SendWith(filler(2000), keyedAs("k")), ErrQueueFull)
	hits := b.server.Stats().Limits
	require.EqualValues(t, 1, hits[LimitQueue])
	require.Zero(t, hits[LimitQueuePackets])
	b.finish()
}

// The index of a queue that was long is not kept, even if the queue has shrunk since.
func TestIndexOfManyKeysIsNotKept(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{MaxBytes: 64 << 20, MaxPackets: 1 << 20, Budget: 1 << 30}, MaxPayload: 300}, nil)
	b.play(hsPolling)
	s := b.session("A")
	key := 0
	send := func(n int) {
		for range n {
			key++
			require.NoError(t, s.SendWith(message, keyedAs(fmt.Sprint(key))))
		}
	}
	send(3 * maxKeptItems)
	index := s.outbox.keys
	for index.items.order.Cap() > maxKeptItems {
		b.play("get sid=A")
		send(max(0, 100-s.outbox.items.Len()))
	}
	require.False(t, index.small())
	for s.outbox != nil {
		b.play("get sid=A")
	}
	send(1)
	require.NotSame(t, index, s.outbox.keys)
	require.True(t, s.outbox.keys.small())
	b.finish()
}

// A Prepared that others wait for counts as long as they do: to replace it for one of
// them with something else takes room, of any size.
func TestReplacementOfWhatOthersWaitForNeedsRoom(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{Budget: 40_000, Overflow: OverflowDrop}}, nil)
	b.play(hsPolling, hsPolling)
	one, other := b.session("A"), b.session("B")
	first, second := prepared(filler(30_000)).With(keyedAs("k")), prepared(filler(30_000)).With(keyedAs("k"))
	require.NoError(t, one.SendPrepared(first))
	require.NoError(t, one.SendPrepared(second), "nobody else waits for it")
	require.NoError(t, one.SendPrepared(first))
	require.NoError(t, other.SendPrepared(first))
	require.ErrorIs(t, one.SendPrepared(second), ErrBudget)
	require.ErrorIs(t, one.SendWith(filler(20_000), keyedAs("k")), ErrBudget)
	require.NoError(t, other.SendWith(filler(1), keyedAs("k")))
	require.NoError(t, one.SendPrepared(second))
	require.Equal(t, countedFor(b, one)+countedFor(b, other), b.server.Stats().Queued)
	b.finish()
}

// What is replaced is not compressed: with context takeover the client has never seen it.
func TestKeysWithContextTakeover(t *testing.T) {
	for _, takeover := range []bool{false, true} {
		b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{Threshold: 1, ContextTakeover: takeover}}, nil)
		out := &unpacker{takeover: takeover}
		b.speak(t, "ws EIO=4&transport=websocket", out)
		s, peer := b.session("A"), b.client("w", "").peer
		peer.SetWindow(0)
		require.NoError(t, s.SendWith(filler(100_000), SendOptions{NoCompress: true})) // it fills what the connection takes
		b.world.Run()
		for i := range 20 {
			text := strings.Repeat(fmt.Sprint("value ", i), 30)
			sendText(t, s, text+" a", keyedAs("a"))
			sendText(t, s, text, SendOptions{})
			require.NoError(t, s.SendPrepared(prepared(Message{Data: []byte(text + " b")}).With(keyedAs("b"))))
			sendText(t, s, text+" c", SendOptions{Key: "c", NoCompress: true})
		}
		peer.SetWindow(1 << 20)
		var got []string
		for _, r := range b.take(t, "w", out)[1:] {
			require.Equal(t, !strings.HasSuffix(r.text, " c"), r.packed)
			got = append(got, strings.TrimPrefix(r.text, "4"))
		}
		last := strings.Repeat("value 19", 30)
		require.Len(t, got, 23)
		require.Equal(t, []string{last + " a", strings.Repeat("value 0", 30), last + " b", last + " c", strings.Repeat("value 1", 30)}, got[:5])
		b.finish()
	}
}

// PacketCreate is told once of each message that was sent, and not of what Merge makes
// of it, whether a goroutine or a walk sends it, or it had to wait for a walk. Flush
// counts what leaves.
func TestPacketCreateOfConflatedMessages(t *testing.T) {
	merged := SendOptions{Key: "k", Merge: added}
	for _, c := range []struct {
		name   string
		with   SendOptions
		walk   bool
		leaves string
	}{
		{"replaced", keyedAs("k"), false, "4"},
		{"merged", merged, false, "(((1+2)+3)+4)"},
		{"replaced behind a walk", keyedAs("k"), true, "4"},
		{"merged behind a walk", merged, true, "((1+2)+(3+4))"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSpec(t, 1, Options{}, func(b *bench, e *Events) { b.hearPackets(e) })
			b.play(hsPolling)
			s := b.session("A")
			b.events()
			sendText(t, s, "1", c.with)
			_ = b.server.Broadcast(prepared(Text("2")).With(c.with))
			if !c.walk {
				b.world.Run()
			}
			sendText(t, s, "3", c.with)
			sendText(t, s, "4", c.with)
			b.world.Run()
			var told []string
			for _, event := range strings.Split(b.events(), "; ") {
				told = append(told, strings.TrimPrefix(event, fmt.Sprintf("create A %v ", packet.Message)))
			}
			require.ElementsMatch(t, []string{"1", "2", "3", "4"}, told)
			require.Equal(t, []string{"200 4" + c.leaves}, b.play("get sid=A"))
			require.Contains(t, b.events(), "flush A 1; flushed A 0")
			b.finish()
		})
	}
}

// PacketCreate is told of a message that is too large for what is left of the queue, if
// Merge makes a small one of it.
func TestPacketCreateOfWhatMergeMakesFit(t *testing.T) {
	var told []int
	b := newSpec(t, 1, Options{Queue: Queue{MaxBytes: 1000, Overflow: OverflowDrop}}, func(_ *bench, e *Events) {
		e.PacketCreate = func(_ *Session, p Packet) { told = append(told, len(p.Data)) }
	})
	b.play(hsPolling)
	s := b.session("A")
	told = nil
	require.NoError(t, s.SendWith(filler(500), keyedAs("k")))
	require.NoError(t, s.Send(filler(200)))
	require.ErrorIs(t, s.SendWith(filler(700), keyedAs("k")), ErrQueueFull)
	require.NoError(t, s.SendWith(filler(700), SendOptions{Key: "k", Merge: func(Message, Message) Message { return Text("small") }}))
	require.Equal(t, []int{500, 200, 700}, told)
	b.finish()
}
