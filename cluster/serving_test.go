package cluster_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"turbine/cluster"
	"turbine/cluster/link"
	"turbine/engine"
	"turbine/internal/certs"
)

// client is one on the polling transport, which takes any node for any request.
type client struct {
	t   *testing.T
	sid string
}

// ask makes one request, and returns its status and body.
func ask(t *testing.T, method, url, body string) (int, string) {
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// open begins a session on a node.
func open(t *testing.T, at *node) *client {
	t.Helper()
	status, body := ask(t, http.MethodGet, at.url, "")
	require.Equal(t, http.StatusOK, status, body)
	var hello struct{ Sid string }
	require.NoError(t, json.Unmarshal([]byte(body[1:]), &hello))
	require.Len(t, hello.Sid, 32)
	return &client{t, hello.Sid}
}

func (c *client) post(at *node, text string) (int, string) {
	return ask(c.t, http.MethodPost, at.url+"&sid="+c.sid, "4"+text)
}

// poll polls until messages come, and returns them. A ping is answered.
func (c *client) poll(next func() *node) ([]string, error) {
	for {
		status, body := ask(c.t, http.MethodGet, next().url+"&sid="+c.sid, "")
		if status != http.StatusOK {
			return nil, fmt.Errorf("%d %s", status, body)
		}
		var messages []string
		for packet := range strings.SplitSeq(body, "\x1e") {
			switch packet[0] {
			case '4':
				messages = append(messages, packet[1:])
			case '2':
				if status, body := ask(c.t, http.MethodPost, next().url+"&sid="+c.sid, "3"); status != http.StatusOK {
					return nil, fmt.Errorf("pong: %d %s", status, body)
				}
			}
		}
		if len(messages) > 0 {
			return messages, nil
		}
	}
}

// echoes holds that messages come back, in order and once, each request at a node of its
// own.
func (c *client) echoes(next func() *node, from, to int) error {
	for i := from; i < to; {
		if status, body := c.post(next(), fmt.Sprint(i)); status != http.StatusOK {
			return fmt.Errorf("post: %d %s", status, body)
		}
		messages, err := c.poll(next)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m != fmt.Sprint(i) {
				return fmt.Errorf("message %s instead of %d", m, i)
			}
			i++
		}
	}
	return nil
}

func always(n *node) func() *node { return func() *node { return n } }

// anyOf returns nodes in a random order.
func anyOf(seed uint64, nodes ...*node) func() *node {
	r := rand.New(rand.NewPCG(seed, 0))
	return func() *node { return nodes[r.IntN(len(nodes))] }
}

// unknown is the answer to an id that nobody has.
const unknown = `{"code":1,"message":"Session ID unknown"}`

func TestAnyNodeTakesAnyRequest(t *testing.T) {
	goroutines(t)
	first := free(t)
	nodes := []*node{start(t, "a", first, first), start(t, "b", "127.0.0.1:0", first), start(t, "c", "127.0.0.1:0", first)}
	var all sync.WaitGroup
	failed := make(chan error, 12)
	var clients []*client
	for i := range cap(failed) {
		c := open(t, nodes[i%len(nodes)])
		clients = append(clients, c)
		all.Go(func() { failed <- c.echoes(anyOf(uint64(i), nodes...), 0, 20) })
	}
	all.Wait()
	for range cap(failed) {
		require.NoError(t, <-failed)
	}
	for _, n := range nodes {
		require.Equal(t, 4, n.server.Stats().Sessions, "each at its home")
	}
	for i, c := range clients { // at a node that is not the session's
		status, body := ask(t, http.MethodPost, nodes[(i+1)%len(nodes)].url+"&sid="+c.sid, "1")
		require.Equal(t, http.StatusOK, status, body)
	}

	// A node that nobody knows is asked for, and then it is known to be none.
	stranger := open(t, nodes[0])
	stranger.sid = "AAAAB" + stranger.sid[5:]
	for range 3 {
		status, body := stranger.post(nodes[1], "x")
		require.Equal(t, http.StatusBadRequest, status)
		require.Equal(t, unknown, body)
	}

	for i, n := range nodes {
		s := n.Stats()
		require.Equal(t, 2, s.Links[link.Up], "to both others")
		require.Equal(t, 2, s.Accepted)
		require.NotZero(t, s.Answered)
		require.NotZero(t, s.BytesSent)
		require.NotZero(t, s.BytesHeard)
		require.Zero(t, s.Aborted+s.NoRoom)
		require.Equal(t, i == 1, s.Failed == 1, "the one that waited for the stranger's node")
	}
	require.Equal(t, cluster.UnknownStats{Asked: 1, Absent: 2}, nodes[1].Stats().Unknown)

	// A poll that waits for a session of another node is answered when its own leaves.
	c := open(t, nodes[0])
	type answer struct {
		status int
		body   string
	}
	waits := make(chan answer, 1)
	go func() {
		status, body := ask(t, http.MethodGet, nodes[1].url+"&sid="+c.sid, "")
		waits <- answer{status, body}
	}()
	require.Eventually(t, func() bool { return nodes[0].server.Stats().Polls == 1 }, patience, time.Millisecond)
	nodes[1].leave(t)
	require.Equal(t, answer{http.StatusOK, "6"}, <-waits, "a noop")
	require.NoError(t, c.echoes(anyOf(1, nodes[0], nodes[2]), 0, 5))
}

func TestNodeIsKilled(t *testing.T) {
	goroutines(t)
	first := free(t)
	a, b, c := start(t, "a", first, first), start(t, "b", "127.0.0.1:0", first), start(t, "c", "127.0.0.1:0", first)
	a.sees(t, "b alive", "c alive")
	c.sees(t, "a alive", "b alive")
	lost, stays := open(t, b), open(t, c)
	waits := make(chan string, 1)
	go func() {
		_, body := ask(t, http.MethodGet, a.url+"&sid="+lost.sid, "")
		waits <- body
	}()
	require.Eventually(t, func() bool { return b.server.Stats().Polls == 1 }, patience, time.Millisecond)
	b.kill(t)
	require.Equal(t, unknown, <-waits, "it does not wait for a timeout")
	status, body := lost.post(c, "x")
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, unknown, body)
	require.NoError(t, stays.echoes(anyOf(1, a, c), 0, 5), "others are not disturbed")
	a.sees(t, "b dead", "c alive")
	c.sees(t, "a alive", "b dead")
	require.Eventually(t, func() bool { return a.told("lost b") != c.told("lost b") }, patience, time.Millisecond, "one of them tells it")
	require.True(t, a.told("suspect b"))
	status, body = lost.post(a, "x")
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, unknown, body)
}

// external starts a NATS server that is none of ours.
func external(t *testing.T, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, Username: "u", Password: "p", MaxPayload: 2 << 20, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(patience))
	return s
}

func TestNATSIsAwayForAWhile(t *testing.T) {
	goroutines(t)
	s := external(t, server.RANDOM_PORT)
	port := s.Addr().(*net.TCPAddr).Port
	var nodes []*node
	for _, name := range []string{"a", "b"} {
		n := prepare(t, name, "", func(o *cluster.Options, _ *engine.Options) {
			o.NATS, o.Embedded = fmt.Sprintf("nats://u:p@127.0.0.1:%d", port), nil
		})
		n.join(t)
		nodes = append(nodes, n)
	}
	a, b := nodes[0], nodes[1]
	c := open(t, a)
	require.NoError(t, c.echoes(anyOf(1, a, b), 0, 5))
	s.Shutdown()
	s.WaitForShutdown()
	a.sees(t, "b suspect")
	b.sees(t, "a suspect")
	require.True(t, a.told("bus down"))
	require.False(t, a.Stats().NATSUp)
	require.NoError(t, c.echoes(anyOf(2, a, b), 5, 10), "requests travel by links")
	s = external(t, port)
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	a.sees(t, "b alive")
	b.sees(t, "a alive")
	require.Eventually(t, func() bool { return a.told("bus up") && b.told("bus up") }, patience, time.Millisecond)
	require.False(t, a.told("dead b"))
	require.NoError(t, c.echoes(anyOf(3, a, b), 10, 15))
	a.kill(t)
	b.kill(t)
}

func TestNodesWithOtherKeysDoNotMeet(t *testing.T) {
	goroutines(t)
	first := free(t)
	keyed := func(k string) func(*cluster.Options, *engine.Options) {
		return func(o *cluster.Options, _ *engine.Options) { o.Key = bytes.Repeat([]byte(k), 32) }
	}
	a := prepare(t, "a", first, keyed("a"))
	a.join(t)
	b := prepare(t, "b", "127.0.0.1:0", keyed("b"), first)
	b.join(t)
	a.sees(t)
	b.sees(t)
	require.NoError(t, open(t, b).echoes(always(b), 0, 3), "each works alone")
	status, body := open(t, a).post(b, "x")
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, unknown, body)
}

func TestNodesSpeakTLS(t *testing.T) {
	goroutines(t)
	first := free(t)
	authority := certs.New(t)
	secure := func(o *cluster.Options, _ *engine.Options) {
		pair := authority.Issue(t, "localhost", func(c *x509.Certificate) {
			c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		})
		o.Key = bytes.Repeat([]byte("k"), 32)
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair.TLS(t)}, RootCAs: authority.Pool(), ClientCAs: authority.Pool()}
	}
	a := prepare(t, "a", first, secure, first)
	a.join(t)
	b := prepare(t, "b", "127.0.0.1:0", secure, first)
	b.join(t)
	b.sees(t, "a alive")
	require.NoError(t, open(t, b).echoes(always(a), 0, 5))
}

func TestHandOverFreesTheAddress(t *testing.T) {
	goroutines(t)
	first, links := free(t), free(t)
	a := prepare(t, "a", first, func(o *cluster.Options, _ *engine.Options) { o.Listen = links }, first)
	require.Error(t, a.HandOver(), "it has not joined")
	a.join(t)
	b := start(t, "b", "127.0.0.1:0", first)
	b.sees(t, "a alive")
	c := open(t, a)
	require.NoError(t, a.HandOver())
	next := prepare(t, "next", first, func(o *cluster.Options, _ *engine.Options) { o.Listen = links }, first)
	next.join(t)
	next.sees(t, "a alive", "b alive")
	require.Equal(t, links, next.Members()[0].Address)
	require.NotEqual(t, links, a.Members()[0].Address)
	require.Eventually(t, func() bool {
		for _, m := range b.Members() {
			if m.Name == "a" {
				return m.Address == a.Members()[0].Address
			}
		}
		return false
	}, patience, time.Millisecond)
	require.NoError(t, c.echoes(anyOf(1, b, next), 0, 10), "the old one's sessions are reached by a new link, and by one that was there")
	status, body := ask(t, http.MethodPost, next.url+"&sid="+c.sid, "1")
	require.Equal(t, http.StatusOK, status, body)
	a.leave(t)
	next.sees(t, "a gone", "b alive")
	require.NoError(t, open(t, next).echoes(always(b), 0, 5))
}

func TestJoinNeedsTheClustersNode(t *testing.T) {
	n := prepare(t, "a", "127.0.0.1:0", nil)
	other, err := engine.New(engine.Options{}, engine.Events{})
	require.NoError(t, err)
	require.ErrorContains(t, n.Join(t.Context(), other), "engine.Options.Node")
	require.NoError(t, n.server.Close())
}
