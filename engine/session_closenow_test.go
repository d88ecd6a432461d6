package engine

import (
	"slices"
	"strings"
	"testing"

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
