package engine

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

const (
	socketClients = 16
	socketRounds  = 8
)

// The same as TestResponsesAreOnesOwn on real sockets: clients on both loops at
// the same time, each of which asks by polling, JSONP and WebSocket, with and
// without compression, ahead, for what it is refused, and breaks off.
func TestResponsesAreOnesOwnOnSockets(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o := isolationOptions()
	o.Loops, o.Logger = 2, slog.New(slog.DiscardHandler)
	var events Events
	var mu sync.Mutex
	var failures []error
	fail := func(err error) {
		mu.Lock()
		failures = append(failures, err)
		mu.Unlock()
	}
	isolationEvents(&events, func(format string, args ...any) { fail(fmt.Errorf(format, args...)) })
	server, err := New(o, events)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()

	var all sync.WaitGroup
	for i := range socketClients {
		all.Go(func() {
			c := &caller{t: t, tag: newTag(i), address: listener.Addr().String()}
			for round := range socketRounds {
				if err := c.round(round + i); err != nil {
					fail(fmt.Errorf("client %d, round %d: %w", i, round, err))
					return
				}
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = server.Shutdown(ctx) // clients that broke off left sessions behind
	require.ErrorIs(t, <-ended, ErrServerClosed)
	require.Empty(t, failures)
	require.Zero(t, OnLoan())
}

// caller is a client that does one thing after another.
type caller struct {
	t       *testing.T
	tag     tag
	address string
}

// talk is one of its connections.
type talk struct {
	*caller
	conn net.Conn
	in   []byte
}

func (c *caller) dial() (*talk, error) {
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return nil, err
	}
	return &talk{caller: c, conn: conn}, conn.SetDeadline(time.Now().Add(patience))
}

// a prepared request, and what is sought with it.
type question struct {
	sought
	bytes []byte
}

func (c *caller) question(what, method, query, body string, headers ...string) question {
	lines := c.tag.lines(headers...)
	if what == "evil" {
		lines[0] = "Origin: https://evil-" + string(c.tag[1:4]) + ".example"
	}
	r := request{method: method, target: "/engine.io/?EIO=4&tag=" + string(c.tag) + query, headers: lines, body: body, length: method == "POST"}
	return question{sought{tag: c.tag, method: method, x: strings.TrimPrefix(lines[1], "X-Tag: "), what: what}, r.bytes()}
}

// ask sends all questions at once and returns the bodies of the answers.
func (k *talk) ask(questions ...question) (bodies []string, err error) {
	var out []byte
	for _, q := range questions {
		out = append(out, q.bytes...)
	}
	if _, err := k.conn.Write(out); err != nil {
		return nil, err
	}
	for _, q := range questions {
		for {
			head, fields, body, n := whole(k.in, q.method)
			if n > 0 {
				if err := q.check(k.t, head, fields, body); err != nil {
					return nil, err
				}
				bodies = append(bodies, string(body))
				k.in = k.in[n:]
				break
			}
			if err := k.receive(); err != nil {
				return nil, fmt.Errorf("%s, behind %.300q: %w", q.what, k.in, err)
			}
		}
	}
	return bodies, nil
}

func (k *talk) receive() error {
	room := make([]byte, 16<<10)
	n, err := k.conn.Read(room)
	k.in = append(k.in, room[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// round is the life of one session; n varies it.
func (c *caller) round(n int) error {
	k, err := c.dial()
	if err != nil {
		return err
	}
	defer k.conn.Close()
	query, form := "&transport=polling", func(s string) string { return s }
	if n%3 == 0 {
		query += "&j=" + string(c.tag[1:4])
		form = func(s string) string { return "d=" + url.QueryEscape(s) }
	}
	opened, err := k.ask(
		c.question("evil", "GET", query, ""),
		c.question("preflight", "OPTIONS", query, ""),
		c.question("open", "GET", query, ""),
	)
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(strings.ReplaceAll(opened[2], `\"`, `"`), `"sid":"`)
	if len(rest) < sidLength {
		return fmt.Errorf("no session id in %q", opened[2])
	}
	sid := "&sid=" + rest[:sidLength]
	accept := []string{"Accept-Encoding: " + []string{"gzip", "deflate", "br"}[n%3]}
	text := c.tag.fill(10 + n*17%900)
	// All at once: two posts, the poll that brings their echoes, and a refusal.
	got, err := k.ask(
		c.question("post", "POST", query+sid, form("4"+text)),
		c.question("post", "POST", query+sid, form("b"+base64.StdEncoding.EncodeToString([]byte(text))+"\x1e4")),
		c.question("poll", "GET", query+sid, "", accept...),
		c.question("unknown session", "GET", query+"&sid=none", ""),
	)
	if err != nil {
		return err
	}
	if got[0] != "ok" || got[1] != "ok" {
		return fmt.Errorf("posts: %q", got)
	}
	switch n % 4 {
	case 0:
		return c.breakOff(query + sid)
	case 1:
		_, err = k.ask(c.question("post", "POST", query+sid, form("1")))
		return err
	}
	return c.upgrade(sid, text, n%4 == 2)
}

// breakOff leaves in the middle of a body.
func (c *caller) breakOff(query string) error {
	k, err := c.dial()
	if err != nil {
		return err
	}
	q := c.question("post", "POST", query, "4"+c.tag.fill(500))
	_, err = k.conn.Write(q.bytes[:len(q.bytes)-700])
	return errors.Join(err, k.conn.Close())
}

// upgrade goes to WebSocket and has messages echoed there.
func (c *caller) upgrade(sid, text string, packs bool) error {
	k, err := c.dial()
	if err != nil {
		return err
	}
	defer k.conn.Close()
	headers := slices.Clone(upgradeHeaders)
	if packs {
		headers = append(headers, "Sec-WebSocket-Extensions: permessage-deflate")
	}
	if _, err := k.ask(c.question("websocket", "GET", "&transport=websocket"+sid, "", headers...)); err != nil {
		return err
	}
	const messages = 20
	out := append(frame(ws.OpText, "2probe"), frame(ws.OpText, "5")...)
	for range messages {
		if packs {
			out = append(out, compressed(ws.OpText, true, (&packer{}).pack("4"+text))...)
		} else {
			out = append(out, frame(ws.OpText, "4"+text)...)
		}
	}
	out = append(out, frame(ws.OpClose, "\x03\xe8")...)
	if _, err := k.conn.Write(out); err != nil {
		return err
	}
	frames := 0
	for {
		in := k.in
		if k.in, err = c.tag.checkFrames(k.t, in); err != nil {
			return err
		}
		for in = in[:len(in)-len(k.in)]; len(in) > 0; frames++ {
			_, n := parseFrame(in)
			in = in[n:]
		}
		if frames == 1+messages+1 { // the answer to the probe, and the close frame
			return nil
		}
		if err := k.receive(); err != nil {
			return fmt.Errorf("%d frames: %w", frames, err)
		}
	}
}
