package engine

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// keyedAs is a text with a key.
func keyedAs(key string) SendOptions { return SendOptions{Key: key} }

// added is a Merge that says what it has made one of.
func added(waiting, next Message) Message {
	return Message{Data: fmt.Appendf(nil, "(%s+%s)", waiting.Data, next.Data)}
}

func sendText(t testing.TB, s *Session, text string, o SendOptions) {
	t.Helper()
	require.NoError(t, s.SendWith(Message{Data: []byte(text)}, o))
}

// What a client gets that polls once, of messages written as key:text, or text alone.
// A + in front merges, an ! prepares.
func TestKeyReplacesWhatWaits(t *testing.T) {
	for _, c := range []struct{ sends, want string }{
		{"a:1 a:2", "2"},
		{"a:1 b:2 a:3", "3 2"},
		{"a:1 x a:2", "2 x"},
		{"x y a:1 x a:2 b:1 y b:2 a:3", "x y 3 x 2 y"},
		{"x a:1 x", "x 1 x"},
		{"a:1 !a:2 a:3 b:1 !b:2", "3 2"},
		{"!a:1 !a:2 !x", "2 x"},
		{"+a:1", "1"},
		{"+a:1 +a:2 +a:3", "((1+2)+3)"},
		{"a:1 +a:2 a:3", "3"},
		{"+a:1 +b:2 +a:3 !+a:4", "((1+3)+4) 2"},
		{"+x +x", "x x"}, // without a key Merge is not called
	} {
		for _, webSocket := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, WebSocket: %v", c.sends, webSocket), func(t *testing.T) {
				b := newSpec(t, 1, Options{}, nil)
				if webSocket {
					b.play("ws EIO=4&transport=websocket conn=w")
					b.play("window w 0")
				} else {
					b.play(hsPolling)
				}
				s := b.session("A")
				if webSocket { // it fills what the connection takes
					require.NoError(t, s.Send(filler(100_000)))
					b.world.Run()
				}
				for _, text := range strings.Fields(c.sends) {
					text, isPrepared := strings.CutPrefix(text, "!")
					text, merges := strings.CutPrefix(text, "+")
					var o SendOptions
					if merges {
						o.Merge = added
					}
					if key, rest, ok := strings.Cut(text, ":"); ok {
						o.Key, text = key, rest
					}
					if m := (Message{Data: []byte(text)}); isPrepared {
						require.NoError(t, s.SendPrepared(prepared(m).With(o)))
					} else {
						require.NoError(t, s.SendWith(m, o))
					}
				}
				b.world.Run()
				require.EqualValues(t, b.server.Stats().Queued, countedFor(b, s))
				want := "4" + strings.ReplaceAll(c.want, " ", `\x1e4`)
				if webSocket {
					got := b.play("window w 1000000")
					require.Equal(t, strings.Count(want, `\x1e`)+2, len(got), "%v", got)
					var texts []string
					for _, line := range got[1:] {
						texts = append(texts, strings.TrimSuffix(strings.TrimPrefix(line, `w: text "`), `"`))
					}
					require.Equal(t, want, strings.Join(texts, `\x1e`))
				} else {
					require.Equal(t, []string{"200 " + want}, b.play("get sid=A"))
				}
				require.Zero(t, b.server.Stats().Queued)
				sendText(t, s, "on", keyedAs("a")) // what has left is not replaced
				sendText(t, s, "on and on", SendOptions{})
				if !webSocket {
					require.Equal(t, []string{`200 4on\x1e4on and on`}, b.play("get sid=A"))
				}
				b.finish()
			})
		}
	}
}

// What the connection has taken cannot be replaced, so it is given nothing with a key
// while the kernel takes nothing.
func TestKeysWaitWhileTheConnectionIsBlocked(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play("ws EIO=4&transport=websocket conn=w")
	b.play("window w 0")
	s := b.session("A")
	for i := range 5 {
		sendText(t, s, fmt.Sprint(i), keyedAs("a"))
		b.world.Run()
	}
	require.Equal(t, []string{`w: text "40"`, `w: text "44"`}, b.play("window w 1000000"))
	require.Zero(t, b.server.Stats().Queued)
	b.finish()
}

// countedFor is what the outboxes of these sessions, which are all that have messages
// waiting, are to count for the budget, by what is in them.
func countedFor(b *bench, sessions ...*Session) int64 {
	all, n := map[*Prepared]bool{}, int64(0)
	for _, sh := range b.server.shards {
		n += sh.loop.Unsent()
	}
	for _, s := range sessions {
		s.mu.Lock()
		if s.outbox != nil {
			n += countedIn(b.t, s.outbox, all)
		}
		s.mu.Unlock()
	}
	return n
}

// countedIn is countedFor one outbox; all are the prepared messages that have been
// counted.
func countedIn(t testing.TB, box *outbox, all map[*Prepared]bool) (n int64) {
	bytes, packets := 0, 0
	for _, q := range [...][]outgoing{box.items.All(), box.held.All()} {
		for _, o := range q {
			bytes += o.size()
			packets += o.packets()
			n += int64(o.size() - o.shared())
			if o.prepared != nil && !all[o.prepared] {
				all[o.prepared] = true
				n += o.prepared.weight()
			}
		}
	}
	require.Equal(t, bytes, box.bytes)
	require.Equal(t, packets, box.packets)
	return n
}

// The queue is bounded by the number of keys, however many messages there are; what a
// key holds counts, and no more; and with what is taken the index is empty.
func TestKeysBoundTheQueue(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{MaxPackets: 100, MaxBytes: 100 * (packetSize + 10), Overflow: OverflowDrop}}, nil)
	b.play(hsPolling)
	s := b.session("A")
	for i := range 20_000 {
		sendText(t, s, fmt.Sprintf("%010d", i), keyedAs(fmt.Sprint(i%100)))
		require.LessOrEqual(t, s.Buffered(), 100*(packetSize+10))
	}
	require.EqualValues(t, s.Buffered(), b.server.Stats().Queued)
	require.ErrorIs(t, s.Send(filler(1)), ErrQueueFull)
	require.ErrorIs(t, s.SendWith(filler(1), keyedAs("new")), ErrQueueFull)
	require.ErrorIs(t, s.SendWith(filler(11), keyedAs("1")), ErrQueueFull, "larger than what it replaces")
	sendText(t, s, "smaller", keyedAs("1"))
	sendText(t, s, "ten bytes!", keyedAs("1"))
	require.Len(t, s.outbox.keys.items.places, 100)
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprintf("4%010d", 19_900+i))
	}
	want[1] = "4ten bytes!"
	require.Equal(t, []string{"200 " + strings.Join(want, `\x1e`)}, b.play("get sid=A"))
	require.Zero(t, b.server.Stats().Queued)
	require.Nil(t, s.outbox)
	b.finish()
}

// Where the budget is used up a replacement is judged by what it adds.
func TestReplacementAsksTheBudgetForTheDifference(t *testing.T) {
	for _, policy := range []Overflow{OverflowClose, OverflowDrop} {
		b := newSpec(t, 1, Options{Queue: Queue{Budget: 40_000, Overflow: policy}}, nil)
		b.play(hsPolling, hsPolling)
		s := b.session("A")
		require.NoError(t, s.SendWith(filler(20_000), keyedAs("k")))
		require.NoError(t, b.session("B").SendWith(filler(19_500), keyedAs("k")))
		require.NoError(t, s.SendWith(filler(19_000), keyedAs("k")))
		require.NoError(t, s.SendWith(filler(20_000), keyedAs("k")))
		many := prepared(filler(10_000)).With(keyedAs("k"))
		require.NoError(t, s.SendPrepared(many))
		require.NoError(t, b.session("B").SendPrepared(many))
		require.EqualValues(t, many.weight()+2*packetSize, b.server.Stats().Queued, "once for both")
		require.NoError(t, s.SendPrepared(many), "the same again")
		require.EqualValues(t, many.weight()+2*packetSize, b.server.Stats().Queued)
		require.ErrorIs(t, s.SendWith(filler(60_000), keyedAs("k")), ErrBudget)
		if policy == OverflowClose {
			require.ErrorIs(t, s.SendWith(filler(1), keyedAs("k")), ErrClosed)
			require.EqualValues(t, many.weight()+packetSize, b.server.Stats().Queued)
		} else {
			require.NoError(t, s.SendWith(filler(1), keyedAs("k")), "what waits is there, and may be replaced")
			require.EqualValues(t, many.weight()+2*packetSize+1, b.server.Stats().Queued)
		}
		b.finish()
	}
}

// Sent is called for what was sent, and never for what was replaced or merged.
func TestSentOfReplacedMessagesIsNotCalled(t *testing.T) {
	for _, merge := range []func(waiting, next Message) Message{nil, added} {
		b := newSpec(t, 1, Options{}, nil)
		b.play(hsPolling)
		s := b.session("A")
		var sent []string
		for _, text := range []string{"one", "two", "three"} {
			sendText(t, s, text, SendOptions{Key: "k", Merge: merge, Sent: func() { sent = append(sent, text) }})
		}
		sendText(t, s, "other", SendOptions{Sent: func() { sent = append(sent, "other") }})
		require.NoError(t, s.SendPrepared(prepared(Message{Data: []byte("p")}).With(SendOptions{Sent: func() { sent = append(sent, "prepared") }})))
		b.play("get sid=A")
		require.Equal(t, []string{"three", "other", "prepared"}, sent)
		b.finish()
	}
}

// Behind walks a message with a key waits for its turn, and newer ones win: of what one
// caller sends and publishes, the last of a key is what arrives last.
func TestKeysBehindWalks(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(b *bench, s *Session, p func(text, key string) *Prepared)
		want string
	}{
		"held, replaced": {func(b *bench, s *Session, p func(text, key string) *Prepared) {
			_ = b.server.Broadcast(p("A", ""))
			sendText(b.t, s, "1", keyedAs("k"))
			sendText(b.t, s, "x", SendOptions{})
			sendText(b.t, s, "2", keyedAs("k"))
		}, "A 2 x"},
		"a walk between": {func(b *bench, s *Session, p func(text, key string) *Prepared) {
			_ = b.server.Broadcast(p("A", ""))
			sendText(b.t, s, "1", keyedAs("k"))
			_ = b.server.Broadcast(p("2", "k"))
			sendText(b.t, s, "3", keyedAs("k"))
		}, "A 3"},
		"behind what waits": {func(b *bench, s *Session, p func(text, key string) *Prepared) {
			sendText(b.t, s, "1", keyedAs("k"))
			_ = b.server.Broadcast(p("2", "k"))
			sendText(b.t, s, "3", keyedAs("k"))
			_ = b.server.Broadcast(p("4", "k"))
			_ = b.server.Publish("g", p("A", ""))
		}, "4 A"},
		"published": {func(b *bench, _ *Session, p func(text, key string) *Prepared) {
			_ = b.server.Publish("g", p("1", "k"))
			_ = b.server.Publish("g", p("A", ""))
			_ = b.server.Broadcast(p("2", "k"))
			_ = b.server.Publish("g", p("3", "l"))
		}, "2 A 3"},
		"merged": {func(b *bench, s *Session, _ func(text, key string) *Prepared) {
			m := func(text string) *Prepared {
				return prepared(Message{Data: []byte(text)}).With(SendOptions{Key: "k", Merge: added})
			}
			require.NoError(b.t, s.SendPrepared(m("1")))
			_ = b.server.Broadcast(m("2"))
			sendText(b.t, s, "3", SendOptions{Key: "k", Merge: added})
			sendText(b.t, s, "4", SendOptions{Key: "k", Merge: added})
			_ = b.server.Broadcast(m("5"))
			require.NoError(b.t, s.SendPrepared(m("6")))
		}, "((((1+2)+(3+4))+5)+6)"},
		"not for the same key of others": {func(b *bench, s *Session, p func(text, key string) *Prepared) {
			_ = b.server.Broadcast(p("A", "k"))
			sendText(b.t, b.session("B"), "B", keyedAs("k"))
			sendText(b.t, s, "1", keyedAs("l"))
		}, "A 1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newSpec(t, 1, Options{}, nil)
			b.play(hsPolling, hsPolling)
			for range 3 * walkVisits { // in front: a walk takes several turns
				b.play(hsPolling)
			}
			s := b.session("A")
			s.Join("g")
			b.world.Run()
			c.act(b, s, func(text, key string) *Prepared { return prepared(Message{Data: []byte(text)}).With(keyedAs(key)) })
			b.world.Run()
			require.Empty(t, s.outbox.held.All())
			countedFor(b, s)
			require.Equal(t, []string{"200 4" + strings.ReplaceAll(c.want, " ", `\x1e4`)}, b.play("get sid=A"))
			b.finish()
			require.Zero(t, b.server.Stats().Queued)
		})
	}
}

// Merge runs without a lock: it may use the session. If the waiting message has changed
// meanwhile, Merge is called again; a Merge that changes it each time does not run
// forever.
func TestMergeMayUseItsSession(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling)
	s := b.session("A")
	calls := 0
	merge := func(waiting, next Message) Message {
		if calls++; calls == 1 {
			require.Positive(t, s.Buffered())
			sendText(t, s, "two", keyedAs("k"))
		}
		return added(waiting, next)
	}
	sendText(t, s, "one", keyedAs("k"))
	sendText(t, s, "three", SendOptions{Key: "k", Merge: merge})
	require.Equal(t, 2, calls)
	require.Equal(t, []string{"200 4(two+three)"}, b.play("get sid=A"))

	var always func(waiting, next Message) Message
	calls = 0
	always = func(waiting, next Message) Message {
		calls++
		sendText(t, s, fmt.Sprint(calls), keyedAs("k"))
		return added(waiting, next)
	}
	sendText(t, s, "one", keyedAs("k"))
	sendText(t, s, "last", SendOptions{Key: "k", Merge: always})
	require.Equal(t, maxMergeTries, calls)
	require.Equal(t, []string{fmt.Sprintf(`200 4%d\x1e4last`, maxMergeTries)}, b.play("get sid=A"))

	sendText(t, s, "one", keyedAs("k"))
	sendText(t, s, "two", SendOptions{Key: "k", Merge: func(waiting, next Message) Message {
		b.play("get sid=A") // it leaves meanwhile
		return added(waiting, next)
	}})
	require.Equal(t, []string{"200 4two"}, b.play("get sid=A"))

	sendText(t, s, "one", keyedAs("k"))
	require.ErrorIs(t, s.SendWith(message, SendOptions{Key: "k", Merge: func(Message, Message) Message {
		s.CloseNow()
		b.world.Run()
		return message
	}}), ErrClosed)
	b.finish()
}

// A Merge that panics is the caller's own where a caller sends, and closes the session
// where it runs on the loop. So is a result that is no text.
func TestMergeThatFails(t *testing.T) {
	bad := func(Message, Message) Message { return Message{Data: []byte{0xff}} }
	broken := func(Message, Message) Message { panic("the application's fault") }
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling, hsPolling, hsPolling)
	a, held, walked := b.session("A"), b.session("B"), b.session("C")
	for _, s := range []*Session{a, held, walked} {
		sendText(t, s, "one", keyedAs("k"))
	}
	require.ErrorIs(t, a.SendWith(message, SendOptions{Key: "k", Merge: bad}), ErrNotUTF8)
	require.Panics(t, func() { _ = a.SendWith(message, SendOptions{Key: "k", Merge: broken}) })
	require.Equal(t, []string{"200 4one"}, b.play("get sid=A"))

	nobody := func(*Session) bool { return false }
	b.events()
	_ = b.server.PublishTo(Audience{Keep: nobody}, prepared(message))
	sendText(t, held, "two", SendOptions{Key: "k", Merge: bad})
	b.world.Run()
	require.Equal(t, []string{`200 4one\x1e4two`}, b.play("get sid=B"))
	sendText(t, held, "one", keyedAs("k"))
	b.events()
	_ = b.server.PublishTo(Audience{Keep: nobody}, prepared(message))
	sendText(t, held, "two", SendOptions{Key: "k", Merge: broken})
	b.world.Run()
	require.Equal(t, `close B "transport error" `+ErrCallbackPanic.Error(), b.events())
	_ = b.server.PublishTo(Audience{Keep: func(s *Session) bool { return s == walked }}, prepared(message).With(SendOptions{Key: "k", Merge: broken}))
	b.world.Run()
	require.Equal(t, `close C "transport error" `+ErrCallbackPanic.Error(), b.events())
	require.Zero(t, b.server.Stats().Queued)
	require.Positive(t, b.logged.lines.Swap(0), "panics are logged")
	b.finish()
}

// An upgrade does not change what is replaced: what waits for the WebSocket may be.
func TestKeysAcrossAnUpgrade(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling)
	s := b.session("A")
	sendText(t, s, "polled", keyedAs("k"))
	require.Equal(t, []string{"200 4polled"}, b.play("get sid=A"))
	sendText(t, s, "one", keyedAs("k"))
	b.play("ws sid=A conn=w", "frame w text 2probe")
	sendText(t, s, "two", keyedAs("k"))
	require.Equal(t, []string{`w: text "4two"`}, b.play("frame w text 5"))
	b.finish()
}

// Nothing is to be paid where no message has a key.
func TestSendsWithoutAKeyCostNothing(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(outgoing{}), uintptr(32), "a packet that waits")
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling)
	s := b.session("A")
	sendText(t, s, "one", SendOptions{})
	sendText(t, s, "two", SendOptions{Merge: added})
	require.Nil(t, s.outbox.keys)
	require.Nil(t, s.extra)
	sendText(t, s, "three", keyedAs("k"))
	require.Nil(t, s.extra)
	b.finish()
}
