package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A session's context ends with it, before the application hears of the end, and
// says why.
func TestContext(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    string
		reason Reason
		err    error
	}{
		{"the application", "close-session A|get EIO=4&transport=polling&sid=A", ReasonForcedClose, nil},
		{"the client", "post sid=A 1", ReasonTransportClose, nil},
		{"silence", "advance 2h", ReasonPingTimeout, nil},
		{"a broken rule", "post sid=A 2", ReasonTransportError, ErrHeartbeat},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 1, Options{})
			b.play(hsPolling)
			s := b.session("A")
			type key struct{}
			s.SetValue("mine")
			ctx := s.Context()
			require.Equal(t, "mine", s.Value())
			s.SetValue("other")
			child := context.WithValue(ctx, key{}, "kept")
			require.Equal(t, "other", s.Value())
			require.True(t, ctx == s.Context())
			require.NoError(t, ctx.Err())
			b.on = func(event, _ string) {
				if event == "close" {
					require.ErrorIs(t, ctx.Err(), context.Canceled)
				}
			}
			for _, line := range strings.Split(c.end, "|") {
				b.play(line)
			}
			b.on = nil
			require.ErrorIs(t, child.Err(), context.Canceled)
			require.Equal(t, "kept", child.Value(key{}))
			cause := context.Cause(child)
			require.ErrorIs(t, cause, ErrClosed)
			var closed *ClosedError
			require.True(t, errors.As(cause, &closed))
			require.Equal(t, c.reason, closed.Reason)
			require.Equal(t, c.err, closed.Err)
			require.ErrorContains(t, cause, c.reason.String())
			if c.err != nil {
				require.ErrorIs(t, cause, c.err)
				require.ErrorContains(t, cause, c.err.Error())
			}
			require.Equal(t, "other", s.Value())
			b.finish()
		})
	}
}

// A Context that is asked for after the end is over, and also says why.
func TestContextAfterTheEnd(t *testing.T) {
	b := newBench(t, 1, Options{})
	b.play(hsPolling, "post sid=A 1")
	s := b.session("A")
	ctx := s.Context()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.Equal(t, &ClosedError{Reason: ReasonTransportClose}, context.Cause(ctx))
	b.finish()
}

// Whoever asks when the session closes has a context that ends.
func TestContextAtTheEnd(t *testing.T) {
	b := newBench(t, 1, Options{})
	for range 200 {
		b.play(hsPolling)
	}
	var asking sync.WaitGroup
	begin := make(chan struct{})
	contexts := make([]context.Context, len(b.sessions))
	asking.Go(func() {
		<-begin
		for i, s := range b.sessions {
			contexts[i] = s.Context()
		}
	})
	close(begin)
	for s := range b.server.Sessions() {
		s.CloseNow()
	}
	b.world.Run()
	asking.Wait()
	for i, ctx := range contexts {
		require.Error(t, ctx.Err(), i)
		require.ErrorIs(t, context.Cause(ctx), ErrClosed)
	}
	b.finish()
}

// A session whose Context nobody asks for pays nothing.
func TestContextIsMadeWhenAskedFor(t *testing.T) {
	b := newBench(t, 1, Options{})
	b.play(hsPolling)
	s := b.session("A")
	require.Nil(t, s.value)
	s.Context()
	require.IsType(t, &lifetime{}, s.value)
	b.finish()
}
