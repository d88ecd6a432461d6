package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the official clients are told by Session.CloseWith: engine.io-client 6 hands on
// the code and the reason of a WebSocket in details.context of its event "close". On
// polling there are none. Older clients are told "transport close" on every transport.
// What was sent before comes first.
func TestClientsAreToldCodeAndReason(t *testing.T) {
	t.Parallel()
	s := start(t, testapp(t))
	require.DirExists(t, "clients/node_modules", "the clients are not installed: run make setup")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "closed.js", "--url", "http://"+s.addr)
	cmd.Dir = "clients"
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	t.Logf("%s%s", out, stderr.Bytes())
	require.NoError(t, err)

	type closeContext struct {
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	}
	type details struct {
		Description string        `json:"description"`
		Context     *closeContext `json:"context"`
	}
	type told struct {
		Client, Transport, Reason string
		Messages                  []string
		Details                   *details
	}
	byWebSocket := &details{"websocket connection closed", &closeContext{4001, "logged out, tschüß"}}
	want := map[string]*details{
		"6 polling":   {Description: "transport closed by the server"},
		"6 websocket": byWebSocket,
		"6 upgrade":   byWebSocket,
	}
	seen := 0
	for line := range bytes.Lines(out) {
		var got told
		require.NoError(t, json.Unmarshal(line, &got), "%s", line)
		require.Equal(t, told{
			Client: got.Client, Transport: got.Transport, Reason: "transport close", Messages: []string{"last words"},
			Details: want[got.Client+" "+got.Transport],
		}, got)
		seen++
	}
	require.Equal(t, len(clients)*len(transports), seen)
}
