package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// CloseNow drops the queue, on both transports, and also when an orderly close
// waits for the client to come.
func TestCloseNow(t *testing.T) {
	for _, loops := range []int{1, 2} {
		b := newBench(t, loops, Options{})
		b.play("get EIO=4&transport=polling", "ws EIO=4&transport=websocket conn=w", "send A lost", "close-session A")
		b.events()
		b.session("A").CloseNow()
		b.session("A").CloseNow()
		b.session("B").CloseNow()
		require.ErrorIs(t, b.session("B").Send(Message{}), ErrClosed)
		require.Equal(t, []string{"w: close", "w: closed"}, b.play("advance 1ms"))
		require.Equal(t, `close A "forced close"; close B "forced close"`, sorted(b.events()))
		require.Equal(t, StateClosed, b.session("A").State())
		require.Equal(t, []string{`400 {"code":1,"message":"Session ID unknown"}`}, b.play("get EIO=4&transport=polling&sid=A"))
		b.finish()
	}
}

func sorted(events string) string {
	list := strings.Split(events, "; ")
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// CloseNow has the last word: nothing that comes later gives the session another reason,
// not what was published before Close, and not the orderly end of a drain.
func TestCloseNowIsTheReason(t *testing.T) {
	t.Run("a message in its turn that does not fit", func(t *testing.T) {
		b := newBench(t, 1, Options{Queue: Queue{MaxPackets: 1}})
		b.play(hsPolling, "send A waits")
		s := b.session("A")
		b.server.Broadcast(prepared(Message{Data: []byte("in its turn")}))
		s.Close()
		s.CloseNow()
		b.world.Run()
		require.Equal(t, `open A; close A "forced close"`, b.events())
		require.Zero(t, b.server.Stats().Limits[LimitQueuePackets])
		b.finish()
	})
	t.Run("the last batch of a drain", func(t *testing.T) {
		b := newSpec(t, 1, Options{}, func(_ *bench, e *Events) {
			e.Flushed = func(s *Session) {
				if s.State() == StateClosing {
					s.CloseNow()
				}
			}
		})
		b.play("ws EIO=4&transport=websocket conn=w", "window w 0", "send A repeat=,70000,a", "send A last", "drain 0s 0s")
		require.Equal(t, "open A", b.events())
		b.play("window w 100000")
		require.Contains(t, b.events(), `close A "forced close"`)
		b.finish()
	})
}

// A closing session whose ping is refused by the budget drops its queue. It ends with that
// reason, also if a poll comes before the run that closes it.
func TestOverflowIsTheReasonOfAClosingSession(t *testing.T) {
	for _, end := range []string{"close-session A", "drain 0s 0s"} {
		b := newSpec(t, 1, Options{Queue: Queue{Budget: 1000}}, nil)
		b.play(hsPolling, "advance 24s", "send A waits", end)
		require.Equal(t, "open A", b.events())
		b.server.shards[0].queued.Add(2000) // bytes that no session holds
		b.world.Jump(time.Second)
		require.NoError(t, b.command("get", []string{"sid=A"}, nil))
		b.world.Run()
		b.server.shards[0].queued.Add(-2000)
		require.Equal(t, `drain A; close A "queue overflow" `+ErrBudget.Error(), b.events(), end)
		b.finish()
	}
}
