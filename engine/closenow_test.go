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

// Find runs on the session's own loop, and says when there is none.
func TestFind(t *testing.T) {
	b := newBench(t, 2, Options{})
	b.play("get EIO=4&transport=polling", "get EIO=4&transport=polling")
	for _, name := range []string{"A", "B"} {
		var found *Session
		require.NoError(t, b.server.Find(b.session(name).ID(), func(s *Session) { found = s }))
		b.world.Run()
		require.Same(t, b.session(name), found)
	}
	for _, id := range []string{"", "nobody", strings.Repeat("A", sidLength), strings.Repeat("_", sidLength-1) + "8"} {
		found, called := b.session("A"), false
		require.NoError(t, b.server.Find(id, func(s *Session) { found, called = s, true }))
		b.world.Run()
		require.True(t, called)
		require.Nil(t, found)
	}
	b.finish()
	unbound, err := New(Options{}, Events{})
	require.NoError(t, err)
	require.ErrorIs(t, unbound.Find("x", nil), ErrServerClosed)
}

func sorted(events string) string {
	list := strings.Split(events, "; ")
	slices.Sort(list)
	return strings.Join(list, "; ")
}
