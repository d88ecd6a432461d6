package engine

import (
	"fmt"
	"strings"
	"testing"

	"turbine/internal/requests"

	"github.com/stretchr/testify/require"
)

// A way is how the bytes of a request arrive.
type way struct {
	name   string
	before string // in front of the request, in the same write
	pieces int    // that the whole is written in, at most; a byte each if it is shorter
}

// What stands before and behind a request of the table. Each would leave a
// trace: a message, a session.
const (
	goodPost = "POST /engine.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n4good"
	goodOpen = "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"
)

// mayPipeline is how many bytes may wait behind a request by default.
const mayPipeline = 64 << 10

var ways = []way{{name: "whole", pieces: 1}, {name: "bytes", pieces: 20_000}, {name: "pipelined", before: goodPost, pieces: 1}}

// TestRequests plays each row of internal/requests in three ways, to a session
// at home and to one on another loop. Behind it, unless it is to be completed,
// stands another request: that is served exactly if the connection is kept.
func TestRequests(t *testing.T) {
	cases, err := requests.Load()
	require.NoError(t, err)
	for _, c := range cases {
		t.Run(c.Topic+"/"+c.Name, func(t *testing.T) {
			for _, way := range ways {
				if way.before != "" && len(c.Request("")) > mayPipeline {
					continue // more than may wait behind a request
				}
				for _, loops := range []int{1, -3} {
					playRequest(t, &c, way, loops)
				}
			}
		})
	}
}

func playRequest(t *testing.T, c *requests.Case, way way, loops int) {
	at := fmt.Sprintf("%s, %d loops: %q", way.name, max(loops, -loops), cutText(c.Request("SID")))
	b := newBench(t, loops, Options{})
	b.play(hsPolling)
	sid := b.sessions[0].ID()

	in, statuses, messages, sessions := string(c.Request(sid)), []string(nil), []string(nil), 1
	peer := b.client("c", sid)
	if way.before != "" {
		in = fmt.Sprintf(way.before, sid) + in
		peer.methods = append(peer.methods, "POST")
		statuses = append(statuses, "200")
		messages = append(messages, `message A "good"`)
	}
	peer.methods = append(peer.methods, c.Method(), "GET")
	if c.Status != 0 {
		statuses = append(statuses, fmt.Sprint(c.Status))
	}
	if c.Payload != "" {
		messages = append(messages, `message A "`+c.Payload[1:]+`"`)
	}
	if c.Opens {
		sessions++
	}
	switch c.Fate {
	case requests.Keep:
		in += goodOpen
		statuses = append(statuses, "200")
		sessions++
	case requests.Close:
		in += goodOpen
		statuses = append(statuses, "closed")
	case requests.Mute:
		in += goodOpen
	case requests.Switch, requests.Wait: // what is behind would belong to it
	}
	for step := len(in)/way.pieces + 1; len(in) > 0; {
		n := min(step, len(in))
		peer.peer.Write([]byte(in[:n]))
		b.world.Run()
		in = in[n:]
	}
	require.Equal(t, statuses, statusesOf(b.collectFrom(peer), c.Fate), at)
	if c.Fate == requests.Wait || c.Fate == requests.Mute {
		peer.finned = true
		peer.peer.CloseWrite()
		require.Equal(t, []string{"closed"}, statusesOf(b.collectFrom(peer), c.Fate), at)
	}
	require.Len(t, b.sessions, sessions, at)
	require.Equal(t, messages, messagesOf(b.log), at)
	b.finish()
}

// statusesOf are the first words of what a connection got, without interim
// answers. Of a WebSocket only the 101 counts.
func statusesOf(lines []string, fate requests.Fate) (statuses []string) {
	for _, line := range lines {
		status, _, _ := strings.Cut(strings.TrimPrefix(line, "c: "), " ")
		if status != "100" {
			statuses = append(statuses, status)
		}
		if fate == requests.Switch && status == "101" {
			break
		}
	}
	return statuses
}

func messagesOf(log []string) (messages []string) {
	for _, line := range log {
		if strings.HasPrefix(line, "message ") {
			messages = append(messages, line)
		}
	}
	return messages
}

// cutText is what a failure shows of a request.
func cutText(p []byte) []byte { return p[:min(len(p), 300)] }
