package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A machine is one state table. A state is reached, and an event made, by the
// commands of the scripts. Every pair of the two has its row in the table,
// "state | event | next | does", also where nothing happens: a missing row
// fails the test.
type machine struct {
	options string
	states  []step
	events  []step
	state   func(b *bench) string
	table   string
}

type step struct {
	name     string
	commands string
}

func (m machine) test(t *testing.T) {
	rows := map[string]string{}
	for line := range strings.Lines(m.table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		key := cells[0] + " | " + cells[1]
		require.NotContains(t, rows, key, "twice")
		rows[key] = cells[2] + " | " + cells[3]
	}
	for _, state := range m.states {
		for _, event := range m.events {
			key := state.name + " | " + event.name
			for _, loops := range []int{1, 2, -3} {
				got := m.cell(t, state, event, loops)
				want, ok := rows[key]
				if !ok {
					t.Errorf("no row for\n%s | %s", key, got)
				} else if got != want {
					t.Errorf("%d loops: %s\n got %s\nwant %s", loops, key, got, want)
				}
				if t.Failed() {
					break
				}
			}
			delete(rows, key)
		}
	}
	require.Empty(t, rows, "rows for pairs that do not exist")
}

func (m machine) cell(t *testing.T, state, event step, loops int) string {
	words, err := split(m.options)
	require.NoError(t, err)
	o, echo, _, err := setOptions(words)
	require.NoError(t, err)
	b := newBench(t, loops, o)
	b.echo = echo
	for line := range strings.Lines(state.commands) {
		if strings.TrimSpace(line) != "" {
			_, err := b.run(line)
			require.NoError(t, err, state.name)
		}
	}
	b.log = nil
	var does []string
	for line := range strings.Lines(event.commands) {
		if strings.TrimSpace(line) != "" {
			got, err := b.run(line)
			require.NoError(t, err, event.name)
			does = append(does, got...)
		}
	}
	does = append(does, b.log...)
	b.log = nil
	next := m.state(b)
	b.finish()
	for _, line := range b.log {
		// What is over stays over; the end of the test is orderly.
		require.False(t, strings.HasPrefix(line, "message"), line)
	}
	if len(does) == 0 {
		does = []string{"-"}
	}
	return next + " | " + strings.Join(does, "; ")
}

// names of the states, for the cells.
func (s exchangeState) text() string {
	return [...]string{"idle", "head", "body", "waiting", "deciding", "unserved", "lent", "closed"}[s]
}

// TestExchangeStates holds the table in http.go. The connection under test is c.
// What a lent connection does is in nethttp_fallback_test.go, and how one waits for a
// Verdict in admission_test.go.
func TestExchangeStates(t *testing.T) {
	const session = "get EIO=4&transport=polling\n"
	machine{
		options: "pingInterval=1h maxPayload=100 timeouts.body=70s timeouts.idle=60s",
		states: []step{
			{"idle", session + "dial c"},
			{"head", session + `raw c "GET /engine.io/?EIO=4&tr"`},
			{"body", session + `raw c "POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n4hell\r\n"`},
			{"waiting", session + `raw c "GET /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\n\r\n"`},
			{"unserved", session + `raw c "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"`},
			{"closed", session + `raw c "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"`},
		},
		events: []step{
			{"complete head, poll", `raw c "GET /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\n\r\n"`},
			{"complete head, post", `raw c "POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"`},
			{"head and body", `raw c "POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n4x"`},
			{"rest of a head", `raw c "ansport=polling HTTP/1.1\r\nHost: x\r\n\r\n"`},
			{"head too large", `raw c "repeat=A: ,30000,a"`},
			{"malformed", `raw c "\r\n\r\n\r\n"`},
			{"body complete", `raw c "1\r\no\r\n0\r\n\r\n"`},
			{"body over maxPayload", `raw c "repeat=60\r\n,96,a"`},
			{"response, keep-alive", "send A hi"},
			{"more bytes", `raw c "G"`},
			{"more bytes than the bound", `raw c "repeat=,65537,G"`},
			{"60 s", "advance 60s"},
			{"70 s", "advance 70s"},
			{"connection lost", "reset c"},
			{"end of stream", "fin c"},
		},
		state: func(b *bench) string {
			return b.accepted[1].state.text()
		},
		table: `
idle    | complete head, poll       | waiting  | -
idle    | complete head, post       | body     | -
idle    | head and body             | idle     | c: 200 ok; message A "x"
idle    | rest of a head            | closed   | c: 400; c: closed
idle    | head too large            | closed   | c: 414; c: closed
idle    | malformed                 | closed   | c: 400; c: closed
idle    | body complete             | closed   | c: 400; c: closed
idle    | body over maxPayload      | closed   | c: 400; c: closed
idle    | response, keep-alive      | idle     | -
idle    | more bytes                | head     | -
idle    | more bytes than the bound | closed   | c: 414; c: closed
idle    | 60 s                      | closed   | c: closed
idle    | 70 s                      | closed   | c: closed
idle    | connection lost           | closed   | -
idle    | end of stream             | closed   | c: closed

head    | complete head, poll       | closed   | c: 400; c: closed
head    | complete head, post       | closed   | c: 400; c: closed
head    | head and body             | closed   | c: 400; c: closed
head    | rest of a head            | idle     | c: 200 0{"sid":"B","upgrades":["websocket"],"pingInterval":3600000,"pingTimeout":20000,"maxPayload":100}; open B
head    | head too large            | closed   | c: 414; c: closed
head    | malformed                 | closed   | c: 400; c: closed
head    | body complete             | closed   | c: 400; c: closed
head    | body over maxPayload      | closed   | c: 400; c: closed
head    | response, keep-alive      | head     | -
head    | more bytes                | head     | -
head    | more bytes than the bound | closed   | c: 414; c: closed
head    | 60 s                      | closed   | c: 408; c: closed
head    | 70 s                      | closed   | c: 408; c: closed
head    | connection lost           | closed   | -
head    | end of stream             | closed   | c: closed

body    | complete head, poll       | closed   | c: 400; c: closed; close A "transport error" data request connection closed prematurely
body    | complete head, post       | closed   | c: 400; c: closed; close A "transport error" data request connection closed prematurely
body    | head and body             | closed   | c: 400; c: closed; close A "transport error" data request connection closed prematurely
body    | rest of a head            | closed   | c: 400; c: closed; close A "transport error" data request connection closed prematurely
body    | head too large            | closed   | c: 400; c: closed; close A "transport error" data request connection closed prematurely
body    | malformed                 | closed   | c: 400; c: closed; close A "transport error" data request connection closed prematurely
body    | body complete             | idle     | c: 200 ok; message A "hello"
body    | body over maxPayload      | closed   | c: 413; c: closed
body    | response, keep-alive      | body     | -
body    | more bytes                | closed   | c: 400; c: closed; close A "transport error" data request connection closed prematurely
body    | more bytes than the bound | closed   | c: 400; c: closed; close A "transport error" data request connection closed prematurely
body    | 60 s                      | body     | -
body    | 70 s                      | closed   | c: 408; c: closed; close A "transport error" data request connection closed prematurely
body    | connection lost           | closed   | close A "transport error" data request connection closed prematurely
body    | end of stream             | closed   | c: closed; close A "transport error" data request connection closed prematurely

waiting | complete head, poll       | waiting  | -
waiting | complete head, post       | waiting  | -
waiting | head and body             | waiting  | -
waiting | rest of a head            | waiting  | -
waiting | head too large            | waiting  | -
waiting | malformed                 | waiting  | -
waiting | body complete             | waiting  | -
waiting | body over maxPayload      | waiting  | -
waiting | response, keep-alive      | idle     | c: 200 4hi
waiting | more bytes                | waiting  | -
waiting | more bytes than the bound | closed   | c: aborted; close A "transport error" poll connection closed prematurely
waiting | 60 s                      | waiting  | -
waiting | 70 s                      | waiting  | -
waiting | connection lost           | closed   | close A "transport error" poll connection closed prematurely
waiting | end of stream             | closed   | c: closed; close A "transport error" poll connection closed prematurely

unserved | complete head, poll       | unserved | -
unserved | complete head, post       | unserved | -
unserved | head and body             | unserved | -
unserved | rest of a head            | unserved | -
unserved | head too large            | unserved | -
unserved | malformed                 | unserved | -
unserved | body complete             | unserved | -
unserved | body over maxPayload      | unserved | -
unserved | response, keep-alive      | unserved | -
unserved | more bytes                | unserved | -
unserved | more bytes than the bound | closed   | c: aborted
unserved | 60 s                      | closed   | c: closed
unserved | 70 s                      | closed   | c: closed
unserved | connection lost           | closed   | -
unserved | end of stream             | closed   | c: closed

closed  | complete head, poll       | closed   | -
closed  | complete head, post       | closed   | -
closed  | head and body             | closed   | -
closed  | rest of a head            | closed   | -
closed  | head too large            | closed   | -
closed  | malformed                 | closed   | -
closed  | body complete             | closed   | -
closed  | body over maxPayload      | closed   | -
closed  | response, keep-alive      | closed   | -
closed  | more bytes                | closed   | -
closed  | more bytes than the bound | closed   | -
closed  | 60 s                      | closed   | -
closed  | 70 s                      | closed   | -
closed  | connection lost           | closed   | -
closed  | end of stream             | closed   | -
`,
	}.test(t)
}

// TestExchangeMayBecome holds which states may follow one another.
func TestExchangeMayBecome(t *testing.T) {
	next := map[exchangeState][]exchangeState{
		exchangeIdle:     {exchangeHead, exchangeClosed},
		exchangeHead:     {exchangeWaiting, exchangeClosed},
		exchangeBody:     {exchangeWaiting, exchangeClosed},
		exchangeWaiting:  {exchangeIdle, exchangeBody, exchangeDeciding, exchangeUnserved, exchangeLent, exchangeClosed},
		exchangeDeciding: {exchangeWaiting, exchangeClosed},
		exchangeUnserved: {exchangeClosed},
		exchangeLent:     {exchangeIdle, exchangeWaiting, exchangeClosed},
		exchangeClosed:   nil,
	}
	for from := range exchangeClosed + 1 {
		for to := range exchangeClosed + 1 {
			require.Equal(t, slices.Contains(next[from], to), from.mayBecome(to), "%s -> %s", from.text(), to.text())
		}
	}
}

// TestPollingStates holds the table in polling.go, for both of its slots.
func TestPollingStates(t *testing.T) {
	const session = "get EIO=4&transport=polling\n"
	const post = `raw d "POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n4h"` + "\n"
	machine{
		states: []step{
			{"idle, idle", session},
			{"waiting, idle", session + "get sid=A conn=p"},
			{"idle, receiving", session + post},
			{"waiting, receiving", session + "get sid=A conn=p\n" + post},
			{"ending, idle", session + "close-session A"},
			{"ending, receiving", session + post + "close-session A"},
			{"gone, gone", session + "get sid=A conn=p\n" + post + "post sid=A 4x"},
		},
		events: []step{
			{"GET", "get sid=A"},
			{"packets to send", "send A x"},
			{"candidate probed", "ws sid=A conn=w\nframe w text 2probe"},
			{"client's close packet", "post sid=A 1"},
			{"session closes", "close-session A"},
			{"POST", "post sid=A 4new"},
			{"undecodable POST", "post sid=A x"},
			{"body complete", "raw d ell"},
			{"poll's connection lost", "reset p"},
			{"poll's end of stream", "fin p"},
			{"data's connection lost", "reset d"},
			{"data's end of stream", "fin d"},
			{"another method", "get sid=A method=PUT"},
		},
		state: pollingState,
		table: `
idle, idle         | GET                    | waiting, idle      | -
idle, idle         | packets to send        | idle, idle         | -
idle, idle         | candidate probed       | idle, idle         | w: 101; w: text "3probe"
idle, idle         | client's close packet  | gone, gone         | 200 ok; close A "transport close"
idle, idle         | session closes         | ending, idle       | -
idle, idle         | POST                   | idle, idle         | 200 ok; message A "new"
idle, idle         | undecodable POST       | gone, gone         | 400; close A "parse error" packet: malformed packet
idle, idle         | body complete          | idle, idle         | -
idle, idle         | poll's connection lost | idle, idle         | -
idle, idle         | poll's end of stream   | idle, idle         | p: closed
idle, idle         | data's connection lost | idle, idle         | -
idle, idle         | data's end of stream   | idle, idle         | d: closed
idle, idle         | another method         | idle, idle         | 500

waiting, idle      | GET                    | gone, gone         | p: 200 1; 400; close A "transport error" overlap from client
waiting, idle      | packets to send        | idle, idle         | p: 200 4x
waiting, idle      | candidate probed       | idle, idle         | w: 101; p: 200 6; w: text "3probe"
waiting, idle      | client's close packet  | gone, gone         | p: 200 6; 200 ok; close A "transport close"
waiting, idle      | session closes         | gone, gone         | p: 200 1; close A "forced close"
waiting, idle      | POST                   | waiting, idle      | 200 ok; message A "new"
waiting, idle      | undecodable POST       | gone, gone         | p: 200 1; 400; close A "parse error" packet: malformed packet
waiting, idle      | body complete          | waiting, idle      | -
waiting, idle      | poll's connection lost | gone, gone         | close A "transport error" poll connection closed prematurely
waiting, idle      | poll's end of stream   | gone, gone         | p: closed; close A "transport error" poll connection closed prematurely
waiting, idle      | data's connection lost | waiting, idle      | -
waiting, idle      | data's end of stream   | waiting, idle      | d: closed
waiting, idle      | another method         | waiting, idle      | 500

idle, receiving    | GET                    | waiting, receiving | -
idle, receiving    | packets to send        | idle, receiving    | -
idle, receiving    | candidate probed       | idle, receiving    | w: 101; w: text "3probe"
idle, receiving    | client's close packet  | gone, gone         | d: aborted; 400; close A "transport error" data request overlap from client
idle, receiving    | session closes         | ending, receiving  | -
idle, receiving    | POST                   | gone, gone         | d: aborted; 400; close A "transport error" data request overlap from client
idle, receiving    | undecodable POST       | gone, gone         | d: aborted; 400; close A "transport error" data request overlap from client
idle, receiving    | body complete          | idle, idle         | d: 200 ok; message A "hell"
idle, receiving    | poll's connection lost | idle, receiving    | -
idle, receiving    | poll's end of stream   | idle, receiving    | p: closed
idle, receiving    | data's connection lost | gone, gone         | close A "transport error" data request connection closed prematurely
idle, receiving    | data's end of stream   | gone, gone         | d: closed; close A "transport error" data request connection closed prematurely
idle, receiving    | another method         | idle, receiving    | 500

waiting, receiving | GET                    | gone, gone         | p: 200 1; d: aborted; 400; close A "transport error" overlap from client
waiting, receiving | packets to send        | idle, receiving    | p: 200 4x
waiting, receiving | candidate probed       | idle, receiving    | w: 101; p: 200 6; w: text "3probe"
waiting, receiving | client's close packet  | gone, gone         | p: 200 1; d: aborted; 400; close A "transport error" data request overlap from client
waiting, receiving | session closes         | gone, gone         | p: 200 1; d: aborted; close A "forced close"
waiting, receiving | POST                   | gone, gone         | p: 200 1; d: aborted; 400; close A "transport error" data request overlap from client
waiting, receiving | undecodable POST       | gone, gone         | p: 200 1; d: aborted; 400; close A "transport error" data request overlap from client
waiting, receiving | body complete          | waiting, idle      | d: 200 ok; message A "hell"
waiting, receiving | poll's connection lost | gone, gone         | d: aborted; close A "transport error" poll connection closed prematurely
waiting, receiving | poll's end of stream   | gone, gone         | p: closed; d: aborted; close A "transport error" poll connection closed prematurely
waiting, receiving | data's connection lost | gone, gone         | p: 200 1; close A "transport error" data request connection closed prematurely
waiting, receiving | data's end of stream   | gone, gone         | p: 200 1; d: closed; close A "transport error" data request connection closed prematurely
waiting, receiving | another method         | waiting, receiving | 500

ending, idle       | GET                    | gone, gone         | 200 6\x1e1; close A "forced close"
ending, idle       | packets to send        | ending, idle       | engine: session closed
ending, idle       | candidate probed       | ending, idle       | w: 101; w: text "3probe"
ending, idle       | client's close packet  | gone, gone         | 200 ok; close A "transport close"
ending, idle       | session closes         | ending, idle       | -
ending, idle       | POST                   | ending, idle       | 200 ok
ending, idle       | undecodable POST       | gone, gone         | 400; close A "parse error" packet: malformed packet
ending, idle       | body complete          | ending, idle       | -
ending, idle       | poll's connection lost | ending, idle       | -
ending, idle       | poll's end of stream   | ending, idle       | p: closed
ending, idle       | data's connection lost | ending, idle       | -
ending, idle       | data's end of stream   | ending, idle       | d: closed
ending, idle       | another method         | ending, idle       | 500

ending, receiving  | GET                    | gone, gone         | d: aborted; 200 6\x1e1; close A "forced close"
ending, receiving  | packets to send        | ending, receiving  | engine: session closed
ending, receiving  | candidate probed       | ending, receiving  | w: 101; w: text "3probe"
ending, receiving  | client's close packet  | gone, gone         | d: aborted; 400; close A "transport error" data request overlap from client
ending, receiving  | session closes         | ending, receiving  | -
ending, receiving  | POST                   | gone, gone         | d: aborted; 400; close A "transport error" data request overlap from client
ending, receiving  | undecodable POST       | gone, gone         | d: aborted; 400; close A "transport error" data request overlap from client
ending, receiving  | body complete          | ending, idle       | d: 200 ok
ending, receiving  | poll's connection lost | ending, receiving  | -
ending, receiving  | poll's end of stream   | ending, receiving  | p: closed
ending, receiving  | data's connection lost | gone, gone         | close A "transport error" data request connection closed prematurely
ending, receiving  | data's end of stream   | gone, gone         | d: closed; close A "transport error" data request connection closed prematurely
ending, receiving  | another method         | ending, receiving  | 500

gone, gone         | GET                    | gone, gone         | 400 {"code":1,"message":"Session ID unknown"}
gone, gone         | packets to send        | gone, gone         | engine: session closed
gone, gone         | candidate probed       | gone, gone         | w: 400 Session ID unknown; w: closed
gone, gone         | client's close packet  | gone, gone         | 400 {"code":1,"message":"Session ID unknown"}
gone, gone         | session closes         | gone, gone         | -
gone, gone         | POST                   | gone, gone         | 400 {"code":1,"message":"Session ID unknown"}
gone, gone         | undecodable POST       | gone, gone         | 400 {"code":1,"message":"Session ID unknown"}
gone, gone         | body complete          | gone, gone         | -
gone, gone         | poll's connection lost | gone, gone         | -
gone, gone         | poll's end of stream   | gone, gone         | p: closed
gone, gone         | data's connection lost | gone, gone         | -
gone, gone         | data's end of stream   | gone, gone         | -
gone, gone         | another method         | gone, gone         | 400 {"code":1,"message":"Session ID unknown"}
`,
	}.test(t)
}

func pollingState(b *bench) string {
	s := b.sessions[0]
	p, ok := s.transport.(*polling)
	if s.state == sessionClosed || !ok {
		return "gone, gone"
	}
	poll, data := "idle", "idle"
	if p.poll != nil {
		poll = "waiting"
	}
	if p.ending {
		poll = "ending"
	}
	if p.data != nil {
		data = "receiving"
	}
	return poll + ", " + data
}

// TestWebSocketStates holds the table in websocket.go. Closing is after our
// close frame: the connection waits for its end.
func TestWebSocketStates(t *testing.T) {
	machine{
		states: []step{
			{"open", "ws EIO=4&transport=websocket conn=w"},
			{"inside a message", "ws EIO=4&transport=websocket conn=w\nraw w hex 0182 00000000 3461"},
			{"stalled", "ws EIO=4&transport=websocket conn=w\nwindow w 0\nsend A repeat=,70000,a b"},
			{"closing", "ws EIO=4&transport=websocket conn=w\nwindow w 0\nsend A repeat=,70000,a b\nclose-session A"},
			{"closed", "ws EIO=4&transport=websocket conn=w\nclose-session A"},
		},
		events: []step{
			{"data message", "frame w text 4hi"},
			{"end of a message", "raw w hex 8081 00000000 62"},
			{"ping", "frame w ping x"},
			{"pong", "frame w pong x"},
			{"close frame", "close w 1000"},
			{"close packet", "frame w text 1"},
			{"protocol fault", "raw w hex 8102 3461"},
			{"too big", "raw w hex 82ff 0000000000100000 00000000"},
			{"bad UTF-8", "raw w hex 8182 00000000 34ff"},
			{"no packet", "frame w text x"},
			{"packets to send", "send A x"},
			{"session closes", "close-session A"},
			{"client reads", "window w 4000000"},
			{"connection lost", "reset w"},
			{"end of stream", "fin w"},
			{"deadline", "advance 30s"},
		},
		state: func(b *bench) string {
			if b.sessions[0].websocket.conn == nil {
				return "closed"
			}
			return describe(b.sessions[0])
		},
		options: "pingInterval=1m",
		table: `
open             | data message     | open websocket    | message A "hi"
open             | end of a message | closed            | w: close 1002; w: closed; close A "transport error" wsframe: close 1002: unexpected continuation
open             | ping             | open websocket    | w: pong "x"
open             | pong             | open websocket    | -
open             | close frame      | closed            | w: close 1000; w: closed; close A "transport close"
open             | close packet     | closed            | w: close; w: closed; close A "transport close"
open             | protocol fault   | closed            | w: close 1002; w: closed; close A "transport error" wsframe: close 1002: frame not masked
open             | too big          | closed            | w: close 1009; w: closed; close A "transport error" wsframe: close 1009: message too big
open             | bad UTF-8        | closed            | w: close 1007; w: closed; close A "transport error" wsframe: close 1007: invalid UTF-8 in text message
open             | no packet        | closed            | w: close; w: closed; close A "parse error" packet: malformed packet
open             | packets to send  | open websocket    | w: text "4x"
open             | session closes   | closed            | w: close; w: closed; close A "forced close"
open             | client reads     | open websocket    | -
open             | connection lost  | closed            | close A "transport close"
open             | end of stream    | closed            | w: closed; close A "transport close"
open             | deadline         | open websocket    | -

inside a message | data message     | closed            | w: close 1002; w: closed; close A "transport error" wsframe: close 1002: continuation expected
inside a message | end of a message | open websocket    | message A "ab"
inside a message | ping             | open websocket    | w: pong "x"
inside a message | pong             | open websocket    | -
inside a message | close frame      | closed            | w: close 1000; w: closed; close A "transport close"
inside a message | close packet     | closed            | w: close 1002; w: closed; close A "transport error" wsframe: close 1002: continuation expected
inside a message | protocol fault   | closed            | w: close 1002; w: closed; close A "transport error" wsframe: close 1002: frame not masked
inside a message | too big          | closed            | w: close 1002; w: closed; close A "transport error" wsframe: close 1002: continuation expected
inside a message | bad UTF-8        | closed            | w: close 1002; w: closed; close A "transport error" wsframe: close 1002: continuation expected
inside a message | no packet        | closed            | w: close 1002; w: closed; close A "transport error" wsframe: close 1002: continuation expected
inside a message | packets to send  | open websocket    | w: text "4x"
inside a message | session closes   | closed            | w: close; w: closed; close A "forced close"
inside a message | client reads     | open websocket    | -
inside a message | connection lost  | closed            | close A "transport close"
inside a message | end of stream    | closed            | w: closed; close A "transport close"
inside a message | deadline         | open websocket    | -

stalled          | data message     | open websocket    | message A "hi"
stalled          | end of a message | closed            | close A "transport error" wsframe: close 1002: unexpected continuation
stalled          | ping             | open websocket    | -
stalled          | pong             | open websocket    | -
stalled          | close frame      | closed            | close A "transport close"
stalled          | close packet     | closed            | close A "transport close"
stalled          | protocol fault   | closed            | close A "transport error" wsframe: close 1002: frame not masked
stalled          | too big          | closed            | close A "transport error" wsframe: close 1009: message too big
stalled          | bad UTF-8        | closed            | close A "transport error" wsframe: close 1007: invalid UTF-8 in text message
stalled          | no packet        | closed            | close A "parse error" packet: malformed packet
stalled          | packets to send  | open websocket    | -
stalled          | session closes   | closing websocket | -
stalled          | client reads     | open websocket    | w: text "4a{x70000}"; w: text "4b"; drain A
stalled          | connection lost  | closed            | close A "transport close"
stalled          | end of stream    | closed            | close A "transport close"
stalled          | deadline         | open websocket    | -

closing          | data message     | closing websocket | -
closing          | end of a message | closed            | close A "transport error" wsframe: close 1002: unexpected continuation
closing          | ping             | closing websocket | -
closing          | pong             | closing websocket | -
closing          | close frame      | closed            | close A "transport close"
closing          | close packet     | closed            | close A "transport close"
closing          | protocol fault   | closed            | close A "transport error" wsframe: close 1002: frame not masked
closing          | too big          | closed            | close A "transport error" wsframe: close 1009: message too big
closing          | bad UTF-8        | closed            | close A "transport error" wsframe: close 1007: invalid UTF-8 in text message
closing          | no packet        | closed            | close A "parse error" packet: malformed packet
closing          | packets to send  | closing websocket | engine: session closed
closing          | session closes   | closing websocket | -
closing          | client reads     | closed            | w: text "4a{x70000}"; w: text "4b"; w: close; w: closed; drain A; close A "forced close"
closing          | connection lost  | closed            | close A "transport close"
closing          | end of stream    | closed            | close A "transport close"
closing          | deadline         | closed            | close A "forced close" engine: client did not take what was queued in time

closed           | data message     | closed            | -
closed           | end of a message | closed            | -
closed           | ping             | closed            | -
closed           | pong             | closed            | -
closed           | close frame      | closed            | -
closed           | close packet     | closed            | -
closed           | protocol fault   | closed            | -
closed           | too big          | closed            | -
closed           | bad UTF-8        | closed            | -
closed           | no packet        | closed            | -
closed           | packets to send  | closed            | engine: session closed
closed           | session closes   | closed            | -
closed           | client reads     | closed            | -
closed           | connection lost  | closed            | -
closed           | end of stream    | closed            | -
closed           | deadline         | closed            | -
`,
	}.test(t)
}

// TestSessionStates holds the table in session.go, on both transports and in
// both revisions.
func TestSessionStates(t *testing.T) {
	var states []step
	for _, v := range []string{"3", "4"} {
		for _, transport := range []string{"polling", "websocket"} {
			open := fmt.Sprintf("ws EIO=%s&transport=websocket conn=w\n", v)
			closing := "window w 0\nsend A repeat=,70000,a b\nclose-session A\n"
			closed := "close-session A\n"
			if transport == "polling" {
				open = fmt.Sprintf("get EIO=%s&transport=polling\n", v)
				closing = "send A x\nclose-session A\n"
				closed = "get sid=A conn=p\nclose-session A\n"
			}
			name := " " + transport + " " + v
			states = append(states, step{"open" + name, open}, step{"closing" + name, open + closing}, step{"closed" + name, open + closed})
			if v == "4" {
				states = append(states, step{"pinged" + name, open + "advance 25s"})
			}
		}
	}
	packet := func(p string) string {
		return fmt.Sprintf("packet A %s", p)
	}
	machine{
		states: states,
		events: []step{
			{"message", packet("4hi")},
			{"ping", packet("2")},
			{"pong", packet("3")},
			{"open, upgrade, noop", packet("0") + "\n" + packet("5") + "\n" + packet("6")},
			{"close packet", packet("1")},
			{"unreadable", packet("x")},
			{"ping due", "advance 25s"},
			{"deadline passed", "advance 45s"},
			{"Close", "close-session A"},
			{"drain", "drain 0s 0s"},
			{"Send", "send A out"},
			{"drained", "drained A"},
			{"30 s", "advance 30s"},
		},
		state: func(b *bench) string { return [...]string{"", "open", "closing", "closed"}[b.sessions[0].state] },
		table: `
open polling 3      | message             | open    | 200 ok; message A "hi"
open polling 3      | ping                | open    | 200 ok
open polling 3      | pong                | closed  | 200 ok; close A "transport error" invalid heartbeat direction
open polling 3      | open, upgrade, noop | open    | 200 ok; 200 ok; 200 ok
open polling 3      | close packet        | closed  | 200 ok; close A "transport close"
open polling 3      | unreadable          | closed  | 400; close A "parse error" packet: malformed packet
open polling 3      | ping due            | open    | -
open polling 3      | deadline passed     | closed  | close A "ping timeout"
open polling 3      | Close               | closing | -
open polling 3      | drain               | closing | -
open polling 3      | Send                | open    | -
open polling 3      | drained             | open    | -
open polling 3      | 30 s                | open    | -

closing polling 3   | message             | closing | 200 ok
closing polling 3   | ping                | closing | 200 ok
closing polling 3   | pong                | closed  | 200 ok; close A "transport error" invalid heartbeat direction
closing polling 3   | open, upgrade, noop | closing | 200 ok; 200 ok; 200 ok
closing polling 3   | close packet        | closed  | 200 ok; close A "transport close"
closing polling 3   | unreadable          | closed  | 400; close A "parse error" packet: malformed packet
closing polling 3   | ping due            | closing | -
closing polling 3   | deadline passed     | closed  | close A "forced close" engine: client did not take what was queued in time
closing polling 3   | Close               | closing | -
closing polling 3   | drain               | closing | -
closing polling 3   | Send                | closing | engine: session closed
closing polling 3   | drained             | closed  | 200 2:4x; 200 1:61:1; drain A; close A "forced close"
closing polling 3   | 30 s                | closed  | close A "forced close" engine: client did not take what was queued in time

closed polling 3    | message             | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 3    | ping                | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 3    | pong                | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 3    | open, upgrade, noop | closed  | 400 {"code":1,"message":"Session ID unknown"}; 400 {"code":1,"message":"Session ID unknown"}; 400 {"code":1,"message":"Session ID unknown"}
closed polling 3    | close packet        | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 3    | unreadable          | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 3    | ping due            | closed  | -
closed polling 3    | deadline passed     | closed  | -
closed polling 3    | Close               | closed  | -
closed polling 3    | drain               | closed  | -
closed polling 3    | Send                | closed  | engine: session closed
closed polling 3    | drained             | closed  | -
closed polling 3    | 30 s                | closed  | -

open websocket 3    | message             | open    | message A "hi"
open websocket 3    | ping                | open    | w: text "3"
open websocket 3    | pong                | closed  | w: close; w: closed; close A "transport error" invalid heartbeat direction
open websocket 3    | open, upgrade, noop | open    | -
open websocket 3    | close packet        | closed  | w: close; w: closed; close A "transport close"
open websocket 3    | unreadable          | closed  | w: close; w: closed; close A "parse error" packet: malformed packet
open websocket 3    | ping due            | open    | -
open websocket 3    | deadline passed     | closed  | w: close; w: closed; close A "ping timeout"
open websocket 3    | Close               | closed  | w: close; w: closed; close A "forced close"
open websocket 3    | drain               | closed  | w: close; w: closed; close A "server shutting down"
open websocket 3    | Send                | open    | w: text "4out"
open websocket 3    | drained             | open    | -
open websocket 3    | 30 s                | open    | -

closing websocket 3 | message             | closing | -
closing websocket 3 | ping                | closing | -
closing websocket 3 | pong                | closed  | close A "transport error" invalid heartbeat direction
closing websocket 3 | open, upgrade, noop | closing | -
closing websocket 3 | close packet        | closed  | close A "transport close"
closing websocket 3 | unreadable          | closed  | close A "parse error" packet: malformed packet
closing websocket 3 | ping due            | closing | -
closing websocket 3 | deadline passed     | closed  | close A "forced close" engine: client did not take what was queued in time
closing websocket 3 | Close               | closing | -
closing websocket 3 | drain               | closing | -
closing websocket 3 | Send                | closing | engine: session closed
closing websocket 3 | drained             | closed  | w: text "4a{x70000}"; w: text "4b"; w: close; w: closed; drain A; close A "forced close"
closing websocket 3 | 30 s                | closed  | close A "forced close" engine: client did not take what was queued in time

closed websocket 3  | message             | closed  | -
closed websocket 3  | ping                | closed  | -
closed websocket 3  | pong                | closed  | -
closed websocket 3  | open, upgrade, noop | closed  | -
closed websocket 3  | close packet        | closed  | -
closed websocket 3  | unreadable          | closed  | -
closed websocket 3  | ping due            | closed  | -
closed websocket 3  | deadline passed     | closed  | -
closed websocket 3  | Close               | closed  | -
closed websocket 3  | drain               | closed  | -
closed websocket 3  | Send                | closed  | engine: session closed
closed websocket 3  | drained             | closed  | -
closed websocket 3  | 30 s                | closed  | -

open polling 4      | message             | open    | 200 ok; message A "hi"
open polling 4      | ping                | closed  | 200 ok; close A "transport error" invalid heartbeat direction
open polling 4      | pong                | open    | 200 ok
open polling 4      | open, upgrade, noop | open    | 200 ok; 200 ok; 200 ok
open polling 4      | close packet        | closed  | 200 ok; close A "transport close"
open polling 4      | unreadable          | closed  | 400; close A "parse error" packet: malformed packet
open polling 4      | ping due            | open    | -
open polling 4      | deadline passed     | closed  | close A "ping timeout"
open polling 4      | Close               | closing | -
open polling 4      | drain               | closing | -
open polling 4      | Send                | open    | -
open polling 4      | drained             | open    | -
open polling 4      | 30 s                | open    | -

closing polling 4   | message             | closing | 200 ok
closing polling 4   | ping                | closed  | 200 ok; close A "transport error" invalid heartbeat direction
closing polling 4   | pong                | closing | 200 ok
closing polling 4   | open, upgrade, noop | closing | 200 ok; 200 ok; 200 ok
closing polling 4   | close packet        | closed  | 200 ok; close A "transport close"
closing polling 4   | unreadable          | closed  | 400; close A "parse error" packet: malformed packet
closing polling 4   | ping due            | closing | -
closing polling 4   | deadline passed     | closed  | close A "forced close" engine: client did not take what was queued in time
closing polling 4   | Close               | closing | -
closing polling 4   | drain               | closing | -
closing polling 4   | Send                | closing | engine: session closed
closing polling 4   | drained             | closed  | 200 4x; 200 6\x1e1; drain A; close A "forced close"
closing polling 4   | 30 s                | closed  | close A "forced close" engine: client did not take what was queued in time

closed polling 4    | message             | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 4    | ping                | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 4    | pong                | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 4    | open, upgrade, noop | closed  | 400 {"code":1,"message":"Session ID unknown"}; 400 {"code":1,"message":"Session ID unknown"}; 400 {"code":1,"message":"Session ID unknown"}
closed polling 4    | close packet        | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 4    | unreadable          | closed  | 400 {"code":1,"message":"Session ID unknown"}
closed polling 4    | ping due            | closed  | -
closed polling 4    | deadline passed     | closed  | -
closed polling 4    | Close               | closed  | -
closed polling 4    | drain               | closed  | -
closed polling 4    | Send                | closed  | engine: session closed
closed polling 4    | drained             | closed  | -
closed polling 4    | 30 s                | closed  | -

pinged polling 4    | message             | open    | 200 ok; message A "hi"
pinged polling 4    | ping                | closed  | 200 ok; close A "transport error" invalid heartbeat direction
pinged polling 4    | pong                | open    | 200 ok
pinged polling 4    | open, upgrade, noop | open    | 200 ok; 200 ok; 200 ok
pinged polling 4    | close packet        | closed  | 200 ok; close A "transport close"
pinged polling 4    | unreadable          | closed  | 400; close A "parse error" packet: malformed packet
pinged polling 4    | ping due            | closed  | close A "ping timeout"
pinged polling 4    | deadline passed     | closed  | close A "ping timeout"
pinged polling 4    | Close               | closing | -
pinged polling 4    | drain               | closing | -
pinged polling 4    | Send                | open    | -
pinged polling 4    | drained             | open    | 200 2; drain A
pinged polling 4    | 30 s                | closed  | close A "ping timeout"

open websocket 4    | message             | open    | message A "hi"
open websocket 4    | ping                | closed  | w: close; w: closed; close A "transport error" invalid heartbeat direction
open websocket 4    | pong                | open    | -
open websocket 4    | open, upgrade, noop | open    | -
open websocket 4    | close packet        | closed  | w: close; w: closed; close A "transport close"
open websocket 4    | unreadable          | closed  | w: close; w: closed; close A "parse error" packet: malformed packet
open websocket 4    | ping due            | open    | w: text "2"
open websocket 4    | deadline passed     | closed  | w: text "2"; w: close; w: closed; close A "ping timeout"
open websocket 4    | Close               | closed  | w: close; w: closed; close A "forced close"
open websocket 4    | drain               | closed  | w: close; w: closed; close A "server shutting down"
open websocket 4    | Send                | open    | w: text "4out"
open websocket 4    | drained             | open    | -
open websocket 4    | 30 s                | open    | w: text "2"

closing websocket 4 | message             | closing | -
closing websocket 4 | ping                | closed  | close A "transport error" invalid heartbeat direction
closing websocket 4 | pong                | closing | -
closing websocket 4 | open, upgrade, noop | closing | -
closing websocket 4 | close packet        | closed  | close A "transport close"
closing websocket 4 | unreadable          | closed  | close A "parse error" packet: malformed packet
closing websocket 4 | ping due            | closing | -
closing websocket 4 | deadline passed     | closed  | close A "forced close" engine: client did not take what was queued in time
closing websocket 4 | Close               | closing | -
closing websocket 4 | drain               | closing | -
closing websocket 4 | Send                | closing | engine: session closed
closing websocket 4 | drained             | closed  | w: text "4a{x70000}"; w: text "4b"; w: close; w: closed; drain A; close A "forced close"
closing websocket 4 | 30 s                | closed  | close A "forced close" engine: client did not take what was queued in time

closed websocket 4  | message             | closed  | -
closed websocket 4  | ping                | closed  | -
closed websocket 4  | pong                | closed  | -
closed websocket 4  | open, upgrade, noop | closed  | -
closed websocket 4  | close packet        | closed  | -
closed websocket 4  | unreadable          | closed  | -
closed websocket 4  | ping due            | closed  | -
closed websocket 4  | deadline passed     | closed  | -
closed websocket 4  | Close               | closed  | -
closed websocket 4  | drain               | closed  | -
closed websocket 4  | Send                | closed  | engine: session closed
closed websocket 4  | drained             | closed  | -
closed websocket 4  | 30 s                | closed  | -

pinged websocket 4  | message             | open    | message A "hi"
pinged websocket 4  | ping                | closed  | w: close; w: closed; close A "transport error" invalid heartbeat direction
pinged websocket 4  | pong                | open    | -
pinged websocket 4  | open, upgrade, noop | open    | -
pinged websocket 4  | close packet        | closed  | w: close; w: closed; close A "transport close"
pinged websocket 4  | unreadable          | closed  | w: close; w: closed; close A "parse error" packet: malformed packet
pinged websocket 4  | ping due            | closed  | w: close; w: closed; close A "ping timeout"
pinged websocket 4  | deadline passed     | closed  | w: close; w: closed; close A "ping timeout"
pinged websocket 4  | Close               | closed  | w: close; w: closed; close A "forced close"
pinged websocket 4  | drain               | closed  | w: close; w: closed; close A "server shutting down"
pinged websocket 4  | Send                | open    | w: text "4out"
pinged websocket 4  | drained             | open    | -
pinged websocket 4  | 30 s                | closed  | w: close; w: closed; close A "ping timeout"
`,
	}.test(t)
}

// TestUpgradeStates holds the table in upgrade.go.
func TestUpgradeStates(t *testing.T) {
	const session = "get EIO=4&transport=polling\n"
	machine{
		options: "timeouts.upgrade=10s app=echo",
		states: []step{
			{"idle", session},
			{"idle, not allowed", "ws EIO=4&transport=websocket conn=w"},
			{"probing", session + "ws sid=A conn=w"},
			{"probing, poll waits", session + "get sid=A conn=p\nws sid=A conn=w"},
			{"probed", session + "ws sid=A conn=w\nframe w text 2probe"},
			{"probed, packets wait", session + "ws sid=A conn=w\nframe w text 2probe\nsend A one two"},
			{"probed, closing", session + "send A one\nws sid=A conn=w\nframe w text 2probe\nclose-session A"},
			{"done", session + "ws sid=A conn=w\nframe w text 5"},
			{"over", session + "ws sid=A conn=w\nframe w text bad"},
		},
		events: []step{
			{"WebSocket with this sid", "ws sid=A conn=x"},
			{"ping probe on it", "frame w text 2probe"},
			{"GET", "get sid=A"},
			{"POST", "post sid=A 4hi"},
			{"upgrade packet", "frame w text 5"},
			{"other packet", "frame w text 4hi"},
			{"no packet", "frame w text x"},
			{"close frame", "close w 1001"},
			{"connection lost", "reset w"},
			{"end of stream", "fin w"},
			{"timeout", "advance 10s"},
			{"session closed", "close-session A"},
			{"client's close packet", "post sid=A 1"},
			{"Send", "send A x"},
		},
		state: func(b *bench) string { return describe(b.sessions[0]) },
		table: `
idle                 | WebSocket with this sid | open polling probing    | x: 101
idle                 | ping probe on it        | open polling            | w: 400; w: closed
idle                 | GET                     | open polling            | -
idle                 | POST                    | open polling            | 200 ok; message A "hi"
idle                 | upgrade packet          | open polling            | w: 400; w: closed
idle                 | other packet            | open polling            | w: 400; w: closed
idle                 | no packet               | open polling            | w: 400; w: closed
idle                 | close frame             | open polling            | w: 400; w: closed
idle                 | connection lost         | open polling            | -
idle                 | end of stream           | open polling            | w: closed
idle                 | timeout                 | open polling            | -
idle                 | session closed          | closing polling         | -
idle                 | client's close packet   | closed polling          | 200 ok; close A "transport close"
idle                 | Send                    | open polling            | -

idle, not allowed    | WebSocket with this sid | open websocket          | x: 101; x: close; x: closed
idle, not allowed    | ping probe on it        | closed websocket        | w: close; w: closed; close A "transport error" invalid heartbeat direction
idle, not allowed    | GET                     | open websocket          | 400 {"code":3,"message":"Bad request"}
idle, not allowed    | POST                    | open websocket          | 400 {"code":3,"message":"Bad request"}
idle, not allowed    | upgrade packet          | open websocket          | -
idle, not allowed    | other packet            | open websocket          | w: text "4hi"; message A "hi"
idle, not allowed    | no packet               | closed websocket        | w: close; w: closed; close A "parse error" packet: malformed packet
idle, not allowed    | close frame             | closed websocket        | w: close 1001; w: closed; close A "transport close"
idle, not allowed    | connection lost         | closed websocket        | close A "transport close"
idle, not allowed    | end of stream           | closed websocket        | w: closed; close A "transport close"
idle, not allowed    | timeout                 | open websocket          | -
idle, not allowed    | session closed          | closed websocket        | w: close; w: closed; close A "forced close"
idle, not allowed    | client's close packet   | open websocket          | 400 {"code":3,"message":"Bad request"}
idle, not allowed    | Send                    | open websocket          | w: text "4x"

probing              | WebSocket with this sid | open polling probing    | x: 101; x: close; x: closed
probing              | ping probe on it        | open polling probed     | w: text "3probe"
probing              | GET                     | open polling probing    | -
probing              | POST                    | open polling probing    | 200 ok; message A "hi"
probing              | upgrade packet          | open websocket          | upgrade A
probing              | other packet            | open polling            | w: close; w: closed
probing              | no packet               | open polling            | w: close; w: closed
probing              | close frame             | open polling            | w: close 1001; w: closed
probing              | connection lost         | open polling            | -
probing              | end of stream           | open polling            | w: close; w: closed
probing              | timeout                 | open polling            | w: close; w: closed
probing              | session closed          | closing polling probing | -
probing              | client's close packet   | closed polling          | w: close; w: closed; 200 ok; close A "transport close"
probing              | Send                    | open polling probing    | -

probing, poll waits  | WebSocket with this sid | open polling probing    | x: 101; x: close; x: closed
probing, poll waits  | ping probe on it        | open polling probed     | p: 200 6; w: text "3probe"
probing, poll waits  | GET                     | closed polling          | p: 200 1; w: close; w: closed; 400; close A "transport error" overlap from client
probing, poll waits  | POST                    | open polling probing    | p: 200 4hi; 200 ok; message A "hi"
probing, poll waits  | upgrade packet          | open websocket          | p: 200 1; upgrade A
probing, poll waits  | other packet            | open polling            | w: close; w: closed
probing, poll waits  | no packet               | open polling            | w: close; w: closed
probing, poll waits  | close frame             | open polling            | w: close 1001; w: closed
probing, poll waits  | connection lost         | open polling            | -
probing, poll waits  | end of stream           | open polling            | w: close; w: closed
probing, poll waits  | timeout                 | open polling            | w: close; w: closed
probing, poll waits  | session closed          | closed polling          | p: 200 1; w: close; w: closed; close A "forced close"
probing, poll waits  | client's close packet   | closed polling          | p: 200 6; w: close; w: closed; 200 ok; close A "transport close"
probing, poll waits  | Send                    | open polling probing    | p: 200 4x

probed               | WebSocket with this sid | open polling probed     | x: 101; x: close; x: closed
probed               | ping probe on it        | open polling probed     | w: text "3probe"
probed               | GET                     | open polling probed     | 200 6
probed               | POST                    | open polling probed     | 200 ok; message A "hi"
probed               | upgrade packet          | open websocket          | upgrade A
probed               | other packet            | open polling            | w: close; w: closed
probed               | no packet               | open polling            | w: close; w: closed
probed               | close frame             | open polling            | w: close 1001; w: closed
probed               | connection lost         | open polling            | -
probed               | end of stream           | open polling            | w: close; w: closed
probed               | timeout                 | open polling            | w: close; w: closed
probed               | session closed          | closing polling probed  | -
probed               | client's close packet   | closed polling          | w: close; w: closed; 200 ok; close A "transport close"
probed               | Send                    | open polling probed     | -

probed, packets wait | WebSocket with this sid | open polling probed     | x: 101; x: close; x: closed
probed, packets wait | ping probe on it        | open polling probed     | w: text "3probe"
probed, packets wait | GET                     | open polling probed     | 200 4one\x1e4two; drain A
probed, packets wait | POST                    | open polling probed     | 200 ok; message A "hi"
probed, packets wait | upgrade packet          | open websocket          | w: text "4one"; w: text "4two"; upgrade A; drain A
probed, packets wait | other packet            | open polling            | w: close; w: closed
probed, packets wait | no packet               | open polling            | w: close; w: closed
probed, packets wait | close frame             | open polling            | w: close 1001; w: closed
probed, packets wait | connection lost         | open polling            | -
probed, packets wait | end of stream           | open polling            | w: close; w: closed
probed, packets wait | timeout                 | open polling            | w: close; w: closed
probed, packets wait | session closed          | closing polling probed  | -
probed, packets wait | client's close packet   | closed polling          | w: close; w: closed; 200 ok; close A "transport close"
probed, packets wait | Send                    | open polling probed     | -

probed, closing      | WebSocket with this sid | closing polling probed  | x: 101; x: close; x: closed
probed, closing      | ping probe on it        | closing polling probed  | w: text "3probe"
probed, closing      | GET                     | closing polling probed  | 200 4one; drain A
probed, closing      | POST                    | closing polling probed  | 200 ok
probed, closing      | upgrade packet          | closed websocket        | w: text "4one"; w: close; w: closed; upgrade A; drain A; close A "forced close"
probed, closing      | other packet            | closing polling         | w: close; w: closed
probed, closing      | no packet               | closing polling         | w: close; w: closed
probed, closing      | close frame             | closing polling         | w: close 1001; w: closed
probed, closing      | connection lost         | closing polling         | -
probed, closing      | end of stream           | closing polling         | w: close; w: closed
probed, closing      | timeout                 | closing polling         | w: close; w: closed
probed, closing      | session closed          | closing polling probed  | -
probed, closing      | client's close packet   | closed polling          | w: close; w: closed; 200 ok; close A "transport close"
probed, closing      | Send                    | closing polling probed  | engine: session closed

done                 | WebSocket with this sid | open websocket          | x: 101; x: close; x: closed
done                 | ping probe on it        | closed websocket        | w: close; w: closed; close A "transport error" invalid heartbeat direction
done                 | GET                     | open websocket          | 400 {"code":3,"message":"Bad request"}
done                 | POST                    | open websocket          | 400 {"code":3,"message":"Bad request"}
done                 | upgrade packet          | open websocket          | -
done                 | other packet            | open websocket          | w: text "4hi"; message A "hi"
done                 | no packet               | closed websocket        | w: close; w: closed; close A "parse error" packet: malformed packet
done                 | close frame             | closed websocket        | w: close 1001; w: closed; close A "transport close"
done                 | connection lost         | closed websocket        | close A "transport close"
done                 | end of stream           | closed websocket        | w: closed; close A "transport close"
done                 | timeout                 | open websocket          | -
done                 | session closed          | closed websocket        | w: close; w: closed; close A "forced close"
done                 | client's close packet   | open websocket          | 400 {"code":3,"message":"Bad request"}
done                 | Send                    | open websocket          | w: text "4x"

over                 | WebSocket with this sid | open polling probing    | x: 101
over                 | ping probe on it        | open polling            | -
over                 | GET                     | open polling            | -
over                 | POST                    | open polling            | 200 ok; message A "hi"
over                 | upgrade packet          | open polling            | -
over                 | other packet            | open polling            | -
over                 | no packet               | open polling            | -
over                 | close frame             | open polling            | -
over                 | connection lost         | open polling            | -
over                 | end of stream           | open polling            | -
over                 | timeout                 | open polling            | -
over                 | session closed          | closing polling         | -
over                 | client's close packet   | closed polling          | 200 ok; close A "transport close"
over                 | Send                    | open polling            | -
`,
	}.test(t)
}

func (e ending) text() string {
	return [...]string{"not", "in turn", "called", "drain", "now", "queue full", "budget", "over"}[e]
}

// TestEndings holds the table in ending.go: what each call makes of a session that ends
// already, and what Events.Close is told once the client has polled.
func TestEndings(t *testing.T) {
	overflow := func(err error) func(*bench, *Session) {
		return func(_ *bench, s *Session) {
			s.mu.Lock()
			s.overflow(err)
			run := s.needsRun()
			s.mu.Unlock()
			if run {
				s.post()
			}
		}
	}
	behind := func(b *bench, s *Session) {
		b.server.Broadcast(prepared(Message{Data: []byte("first")}))
		s.Close()
	}
	calls := []struct {
		name string
		do   func(b *bench, s *Session)
	}{
		{"Close", func(_ *bench, s *Session) { s.Close() }},
		{"Close behind a broadcast", behind},
		{"CloseWith", func(_ *bench, s *Session) { _ = s.CloseWith(4001, "over") }},
		{"CloseSessions", func(_ *bench, s *Session) { s.end(endingCalled) }},
		{"drain", func(_ *bench, s *Session) { s.end(endingDrain) }},
		{"CloseNow", func(_ *bench, s *Session) { s.CloseNow() }},
		{"overflow", overflow(ErrQueueFull)},
		{"budget", overflow(ErrBudget)},
		{"fault", func(_ *bench, s *Session) { s.close(ReasonTransportError, nil) }},
	}
	states := []struct {
		name  string
		reach func(b *bench, s *Session)
	}{
		{"not", func(*bench, *Session) {}},
		{"in turn", behind},
		{"in turn, by CloseWith", func(b *bench, s *Session) { require.NoError(b.t, s.CloseWith(4001, "over")) }},
		{"called", func(_ *bench, s *Session) { s.Close() }},
		{"called, was in turn", func(b *bench, s *Session) { behind(b, s); b.world.Run() }},
		{"drain", func(_ *bench, s *Session) { s.end(endingDrain) }},
		{"now", func(_ *bench, s *Session) { s.CloseNow() }},
		{"queue full", overflow(ErrQueueFull)},
		{"budget", overflow(ErrBudget)},
		{"over", func(_ *bench, s *Session) { s.close(ReasonTransportError, nil) }},
	}
	rows := map[string]string{}
	for line := range strings.Lines(endingTable) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows[cells[0]+" | "+cells[1]] = cells[2] + " | " + cells[3]
		}
	}
	for _, state := range states {
		for _, call := range calls {
			b := newBench(t, 1, Options{})
			b.play(hsPolling)
			b.events()
			s := b.session("A")
			state.reach(b, s)
			require.Equal(t, strings.Split(state.name, ",")[0], s.ends().text())
			call.do(b, s)
			next := s.ends().text()
			require.True(t, s.sealed())
			require.ErrorIs(t, s.Send(Message{}), ErrClosed)
			b.play("get sid=A", "get sid=A")
			key := state.name + " | " + call.name
			require.Equal(t, rows[key], next+" | "+b.events(), key)
			require.Equal(t, 1, b.closes[s], key)
			b.finish()
			delete(rows, key)
		}
	}
	require.Empty(t, rows, "rows for pairs that do not exist")
}

// state | call | next | what the application hears
const endingTable = `
not                   | Close                    | called     | close A "forced close"
not                   | Close behind a broadcast | in turn    | drain A; close A "forced close"
not                   | CloseWith                | in turn    | close A "forced close" engine: closed by the application: 4001 "over"
not                   | CloseSessions            | called     | close A "forced close"
not                   | drain                    | drain      | close A "server shutting down"
not                   | CloseNow                 | now        | close A "forced close"
not                   | overflow                 | queue full | close A "queue overflow" engine: session queue full
not                   | budget                   | budget     | close A "queue overflow" engine: budget of all queues is used up
not                   | fault                    | over       | close A "transport error"

in turn               | Close                    | in turn    | drain A; close A "forced close"
in turn               | Close behind a broadcast | in turn    | drain A; close A "forced close"
in turn               | CloseWith                | in turn    | drain A; close A "forced close"
in turn               | CloseSessions            | in turn    | drain A; close A "forced close"
in turn               | drain                    | in turn    | drain A; close A "forced close"
in turn               | CloseNow                 | now        | close A "forced close"
in turn               | overflow                 | queue full | close A "queue overflow" engine: session queue full
in turn               | budget                   | budget     | close A "queue overflow" engine: budget of all queues is used up
in turn               | fault                    | over       | close A "transport error"

in turn, by CloseWith | Close                    | in turn    | close A "forced close" engine: closed by the application: 4001 "over"
in turn, by CloseWith | Close behind a broadcast | in turn    | close A "forced close" engine: closed by the application: 4001 "over"
in turn, by CloseWith | CloseWith                | in turn    | close A "forced close" engine: closed by the application: 4001 "over"
in turn, by CloseWith | CloseSessions            | in turn    | close A "forced close" engine: closed by the application: 4001 "over"
in turn, by CloseWith | drain                    | in turn    | close A "forced close" engine: closed by the application: 4001 "over"
in turn, by CloseWith | CloseNow                 | now        | close A "forced close" engine: closed by the application: 4001 "over"
in turn, by CloseWith | overflow                 | queue full | close A "queue overflow" engine: session queue full
in turn, by CloseWith | budget                   | budget     | close A "queue overflow" engine: budget of all queues is used up
in turn, by CloseWith | fault                    | over       | close A "transport error"

called                | Close                    | called     | close A "forced close"
called                | Close behind a broadcast | called     | close A "forced close"
called                | CloseWith                | called     | close A "forced close"
called                | CloseSessions            | called     | close A "forced close"
called                | drain                    | called     | close A "forced close"
called                | CloseNow                 | now        | close A "forced close"
called                | overflow                 | queue full | close A "queue overflow" engine: session queue full
called                | budget                   | budget     | close A "queue overflow" engine: budget of all queues is used up
called                | fault                    | over       | close A "transport error"

called, was in turn   | Close                    | called     | drain A; close A "forced close"
called, was in turn   | Close behind a broadcast | called     | drain A; close A "forced close"
called, was in turn   | CloseWith                | called     | drain A; close A "forced close"
called, was in turn   | CloseSessions            | called     | drain A; close A "forced close"
called, was in turn   | drain                    | called     | drain A; close A "forced close"
called, was in turn   | CloseNow                 | now        | close A "forced close"
called, was in turn   | overflow                 | queue full | close A "queue overflow" engine: session queue full
called, was in turn   | budget                   | budget     | close A "queue overflow" engine: budget of all queues is used up
called, was in turn   | fault                    | over       | close A "transport error"

drain                 | Close                    | drain      | close A "server shutting down"
drain                 | Close behind a broadcast | drain      | close A "server shutting down"
drain                 | CloseWith                | drain      | close A "server shutting down"
drain                 | CloseSessions            | drain      | close A "server shutting down"
drain                 | drain                    | drain      | close A "server shutting down"
drain                 | CloseNow                 | now        | close A "forced close"
drain                 | overflow                 | queue full | close A "queue overflow" engine: session queue full
drain                 | budget                   | budget     | close A "queue overflow" engine: budget of all queues is used up
drain                 | fault                    | over       | close A "transport error"

now                   | Close                    | now        | close A "forced close"
now                   | Close behind a broadcast | now        | close A "forced close"
now                   | CloseWith                | now        | close A "forced close"
now                   | CloseSessions            | now        | close A "forced close"
now                   | drain                    | now        | close A "forced close"
now                   | CloseNow                 | now        | close A "forced close"
now                   | overflow                 | now        | close A "forced close"
now                   | budget                   | now        | close A "forced close"
now                   | fault                    | now        | close A "transport error"

queue full            | Close                    | queue full | close A "queue overflow" engine: session queue full
queue full            | Close behind a broadcast | queue full | close A "queue overflow" engine: session queue full
queue full            | CloseWith                | queue full | close A "queue overflow" engine: session queue full
queue full            | CloseSessions            | queue full | close A "queue overflow" engine: session queue full
queue full            | drain                    | queue full | close A "queue overflow" engine: session queue full
queue full            | CloseNow                 | queue full | close A "queue overflow" engine: session queue full
queue full            | overflow                 | queue full | close A "queue overflow" engine: session queue full
queue full            | budget                   | queue full | close A "queue overflow" engine: session queue full
queue full            | fault                    | queue full | close A "transport error"

budget                | Close                    | budget     | close A "queue overflow" engine: budget of all queues is used up
budget                | Close behind a broadcast | budget     | close A "queue overflow" engine: budget of all queues is used up
budget                | CloseWith                | budget     | close A "queue overflow" engine: budget of all queues is used up
budget                | CloseSessions            | budget     | close A "queue overflow" engine: budget of all queues is used up
budget                | drain                    | budget     | close A "queue overflow" engine: budget of all queues is used up
budget                | CloseNow                 | budget     | close A "queue overflow" engine: budget of all queues is used up
budget                | overflow                 | budget     | close A "queue overflow" engine: budget of all queues is used up
budget                | budget                   | budget     | close A "queue overflow" engine: budget of all queues is used up
budget                | fault                    | budget     | close A "transport error"

over                  | Close                    | over       | close A "transport error"
over                  | Close behind a broadcast | over       | close A "transport error"
over                  | CloseWith                | over       | close A "transport error"
over                  | CloseSessions            | over       | close A "transport error"
over                  | drain                    | over       | close A "transport error"
over                  | CloseNow                 | over       | close A "transport error"
over                  | overflow                 | over       | close A "transport error"
over                  | budget                   | over       | close A "transport error"
over                  | fault                    | over       | close A "transport error"
`
