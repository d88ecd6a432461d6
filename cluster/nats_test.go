package cluster

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConnectRefusesWhatIsNoURLOfNATS(t *testing.T) {
	for _, address := range []string{"", "localhost:4222", "http://localhost:4222", "nats://", "nats://a:1,", "nats://user:secret@:", "nats://user:secret@[::1"} {
		_, err := Connect(address, nil)
		require.ErrorContains(t, err, "not the URL of a NATS server", address)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestErrorsOfNATSHaveNoPassword(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{"nats://a:4222", "nats://a:4222"},
		{"nats://user:secret@a:4222", "nats://***@a:4222"},
		{"nats://sec@ret:sec@ret@a:4222", "nats://***@a:4222"},
		{"nats://secret@a:4222, tls://u:secret@b:4222", "nats://***@a:4222,tls://***@b:4222"},
	} {
		require.Equal(t, row.want, redacted(row.in))
	}
	_, err := Connect("nats://user:secret@127.0.0.1:1", nil)
	require.ErrorContains(t, err, "nats://***@127.0.0.1:1")
	require.NotContains(t, err.Error(), "secret")
}

func TestReachTriesUntilItsContextEnds(t *testing.T) {
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	_, err := reach(ctx, "nats://127.0.0.1:1", nil, watchNATS{log: slog.New(slog.DiscardHandler)})
	require.ErrorIs(t, err, over)
	require.ErrorContains(t, err, "127.0.0.1:1")
}
