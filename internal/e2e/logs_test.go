package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// With --log-format json each line on standard error is a JSON object, from the first to
// the last, whatever is logged; and no line has a session's id.
func TestLogsAsJSON(t *testing.T) {
	cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms", "--log-format", "json", "--log-sessions", "--log-level", "debug")
	cmd.Env = append(cmd.Env, "DEBUG=engine*", "TURBINE_ADRR=:1")
	s := start(t, cmd)
	polls := s.poll4(t)
	polls.echoes()
	socket, other := s.websocket(t, 4)
	socket.echoes()
	require.Equal(t, 400, s.dial(t).get(polls.with("none")).status)
	page := s.dial(t)
	page.write(s.head("GET", "EIO=4&transport=polling") + "Origin: http://elsewhere.example\r\nUser-Agent: x\"\\\r\n\r\n")
	_ = page.reply("GET")
	socket.conn.Close()
	says := func(text string) { s.logs(t, func() bool { return strings.Contains(s.stderr.String(), text) }) }
	for signal, text := range map[syscall.Signal]string{syscall.SIGUSR1: `"msg":"figures"`, syscall.SIGHUP: "there are none"} {
		require.NoError(t, cmd.Process.Signal(signal))
		says(text)
	}
	says(`"msg":"session closed"`)
	s.stop(t)

	log, seen := s.stderr.String(), map[string][]map[string]any{}
	for line := range strings.Lines(log) {
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &record), "%q", line)
		for _, key := range []string{"time", "level", "msg"} {
			require.IsType(t, "", record[key], "%q", line)
		}
		msg := record["msg"].(string)
		seen[msg] = append(seen[msg], record)
	}
	for _, msg := range []string{
		"no flag has this environment variable; it is ignored", "session opened", "session closed", "figures", "handshake", "packet received", "refused",
		"draining; a second signal ends at once", "page of another origin refused",
	} {
		require.Contains(t, seen, msg)
	}
	require.Len(t, seen["session opened"], 2)
	require.Len(t, seen["session closed"], 2)
	for _, record := range seen["session closed"] {
		require.Equal(t, float64(len("still here €")), record["bytes_in"])
		require.Equal(t, float64(len("still here €")), record["bytes_out"])
		require.Contains(t, record["client"], "127.0.0.1:")
	}
	for _, session := range []*session{polls, other} {
		require.NotContains(t, log, session.Sid)
	}
}
