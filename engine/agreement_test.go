package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"turbine/engine"
)

func TestAgreementTellsServersApart(t *testing.T) {
	of := func(o engine.Options) engine.Agreement {
		s, err := engine.New(o, engine.Events{})
		require.NoError(t, err)
		return s.Agreement()
	}
	plain := of(engine.Options{})
	require.Equal(t, plain, of(engine.Options{PingInterval: 25 * time.Second}), "a default that is spelled out")
	require.Equal(t, plain.Digest, of(engine.Options{Limits: engine.Limits{MaxConns: 10}, Loops: 1}).Digest, "a limit of one machine")
	require.Equal(t, "/engine.io/", plain.Path)
	require.False(t, plain.Bound)
	named := of(engine.Options{Node: &engine.Node{ID: 7}})
	require.EqualValues(t, 7, named.Node)
	require.Equal(t, plain.Digest, named.Digest)
	for name, o := range map[string]engine.Options{
		"path":        {Path: "/other"},
		"heartbeat":   {PingInterval: time.Second},
		"timeout":     {PingTimeout: time.Second},
		"payload":     {MaxPayload: 100},
		"transports":  {Transports: []engine.Transport{engine.Polling}},
		"revisions":   {Revisions: []engine.Revision{4}},
		"upgrades":    {NoUpgrades: true},
		"compression": {CompressionThreshold: -1},
		"deflate":     {PerMessageDeflate: &engine.PerMessageDeflate{}},
		"binding":     {Access: engine.Access{Bind: func(*engine.Request) string { return "" }}},
	} {
		a := of(o)
		require.NotEqual(t, plain.Digest, a.Digest, name)
		require.Equal(t, name == "binding", a.Bound, name)
	}
}

func TestDrainPaceIsThatOfShutdown(t *testing.T) {
	s, err := engine.New(engine.Options{Drain: engine.Drain{Delay: time.Second, Period: time.Minute}}, engine.Events{})
	require.NoError(t, err)
	delay, over := s.DrainPace(t.Context())
	require.Equal(t, time.Second, delay)
	require.Equal(t, time.Minute, over)
	ended, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	delay, over = s.DrainPace(ended)
	require.Zero(t, delay)
	require.Zero(t, over)
}
