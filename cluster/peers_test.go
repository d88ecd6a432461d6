package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/cluster/link"
	"turbine/engine"
	"turbine/internal/certs"

	"github.com/stretchr/testify/require"
)

// A staticNode is a server whose peers are told to it.
type staticNode struct {
	id      engine.NodeID
	server  *engine.Server
	peers   *peers
	address string // of its links
	url     string // of its clients
	host    string
	events  chan string
	closed  chan engine.Reason
	served  chan error
}

// startNodes starts so many servers, each of which knows the others.
func startNodes(t testing.TB, n int, change func(*engine.Options, *peersOptions)) []*staticNode {
	nodes := make([]*staticNode, n)
	for i := range nodes {
		nodes[i] = startNode(t, engine.NodeID(i+1), change)
	}
	for _, a := range nodes {
		for _, b := range nodes {
			if a != b {
				a.peers.learn(b.id, b.address)
			}
		}
	}
	for _, a := range nodes {
		require.Eventually(t, func() bool { return a.peers.stats().Links[link.Up] >= n-1 }, 10*time.Second, time.Millisecond)
	}
	return nodes
}

func startNode(t testing.TB, id engine.NodeID, change func(*engine.Options, *peersOptions)) *staticNode {
	n := &staticNode{id: id, events: make(chan string, 1000), closed: make(chan engine.Reason, 20_000), served: make(chan error, 1)}
	quiet := slog.New(slog.DiscardHandler)
	po := peersOptions{
		Self:   link.Self{Cluster: "tests", Node: uint32(id), Boot: [16]byte{byte(id)}, Key: bytes.Repeat([]byte("k"), 32)},
		Listen: "127.0.0.1:0", Log: quiet,
		Tell: func(node engine.NodeID, e linkEvent) {
			select {
			case n.events <- fmt.Sprintf("%d %d", node, e):
			default:
			}
		},
	}
	eo := engine.Options{Logger: quiet, Loops: 2}
	if change != nil {
		change(&eo, &po)
	}
	n.peers = newPeers(po)
	eo.Node = &engine.Node{ID: id, Peers: n.peers}
	var err error
	n.server, err = engine.New(eo, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
		Close:   func(_ *engine.Session, r engine.Reason, _ error) { n.closed <- r },
	})
	require.NoError(t, err)
	home, err := n.server.Home()
	require.NoError(t, err)
	n.address, err = n.peers.start(home, [8]byte{})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n.host = l.Addr().String()
	n.url = "http://" + n.host + "/engine.io/?EIO=4&transport=polling"
	go func() { n.served <- n.server.Serve(l) }()
	t.Cleanup(n.stop)
	return n
}

func (n *staticNode) stop() {
	_ = n.server.Close()
	<-n.served
	n.peers.stop()
}

// browser is a client of long-polling that sends each request to another server.
type browser struct {
	t      testing.TB
	nodes  []*staticNode
	random *rand.Rand
	mu     sync.Mutex // random
	http   *http.Client
	sid    string
	got    []string // messages
}

var transport = &http.Transport{MaxIdleConnsPerHost: 100, MaxIdleConns: 1000}

func newBrowser(t testing.TB, nodes []*staticNode, seed uint64) *browser {
	b := &browser{t: t, nodes: nodes, random: rand.New(rand.NewPCG(seed, 7)), http: &http.Client{Transport: transport, Timeout: time.Minute}}
	b.handshake(b.any())
	return b
}

func (b *browser) any() *staticNode {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.nodes[b.random.IntN(len(b.nodes))]
}

func (b *browser) handshake(n *staticNode) {
	status, body := b.get(n.url)
	require.Equal(b.t, 200, status, body)
	var open struct{ SID string }
	require.NoError(b.t, json.Unmarshal([]byte(body[1:]), &open))
	b.sid = open.SID
}

func (b *browser) get(url string) (status int, body string) {
	r, err := b.http.Get(url)
	require.NoError(b.t, err)
	return b.read(r)
}

func (b *browser) read(r *http.Response) (status int, body string) {
	defer r.Body.Close()
	p, err := io.ReadAll(r.Body)
	require.NoError(b.t, err)
	return r.StatusCode, string(p)
}

func (b *browser) poll(n *staticNode) (status int, body string) {
	return b.get(n.url + "&sid=" + b.sid)
}

func (b *browser) post(n *staticNode, payload string) (status int, body string) {
	r, err := b.http.Post(n.url+"&sid="+b.sid, "text/plain", strings.NewReader(payload))
	require.NoError(b.t, err)
	return b.read(r)
}

// take takes the messages out of a payload.
func (b *browser) take(body string) {
	for _, p := range strings.Split(body, "\x1e") {
		if strings.HasPrefix(p, "4") {
			b.got = append(b.got, p[1:])
		}
	}
}

// chat sends want, and polls until as many messages have come.
func (b *browser) chat(want []string) {
	var polling sync.WaitGroup
	polling.Go(func() {
		for len(b.got) < len(want) {
			status, body := b.poll(b.any())
			if !assertStatus(b.t, status, body) {
				return
			}
			b.take(body)
		}
	})
	for i := 0; i < len(want); {
		n := min(len(want)-i, 1+i%3)
		status, body := b.post(b.any(), "4"+strings.Join(want[i:i+n], "\x1e4"))
		if !assertStatus(b.t, status, body) {
			break
		}
		i += n
	}
	polling.Wait()
	require.Equal(b.t, want, b.got)
}

func assertStatus(t testing.TB, status int, body string) bool {
	if status != 200 {
		t.Errorf("%d %s", status, body)
	}
	return status == 200
}

// Clients whose requests reach any of three servers get all their echoes, in order.
func TestPollsReachTheirSessionsThroughAnyNode(t *testing.T) {
	nodes := startNodes(t, 3, nil)
	var clients sync.WaitGroup
	for i := range 12 {
		b := newBrowser(t, nodes, uint64(i))
		clients.Go(func() {
			var want []string
			for j := range 40 {
				size := 10 + j
				if j == 20 {
					size = 200_000 // in pieces
				}
				want = append(want, fmt.Sprintf("%d/%d %s", i, j, strings.Repeat("x", size)))
			}
			b.chat(want)
		})
	}
	clients.Wait()
	forwarded := uint64(0)
	for _, n := range nodes {
		s := n.peers.stats()
		forwarded += s.Answered
		require.Zero(t, s.Failed+s.NoRoom)
	}
	require.Greater(t, forwarded, uint64(12*40/3))
}

// waiting polls at n, and returns when the request has come to home.
func (b *browser) waiting(n, home *staticNode) <-chan string {
	result := make(chan string, 1)
	before := home.peers.stats().Guests
	go func() {
		r, err := b.http.Get(n.url + "&sid=" + b.sid)
		if err != nil {
			result <- err.Error()
			return
		}
		defer r.Body.Close()
		p, _ := io.ReadAll(r.Body)
		result <- fmt.Sprint(r.StatusCode, " ", string(p))
	}()
	require.Eventually(b.t, func() bool { return home.peers.stats().Guests > before }, 10*time.Second, time.Millisecond)
	return result
}

const codeOne = `400 {"code":1,"message":"Session ID unknown"}`

// A poll that waits on a link that is cut is told code 1, and its session is closed. A
// session without a request on its way goes on over the next link.
func TestCutLinkCostsWhatIsOnIt(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	home, edge := nodes[0], nodes[1]
	var waiting, idle *browser
	for _, b := range []**browser{&waiting, &idle} {
		*b = newBrowser(t, nodes[:1], 1)
	}
	polled := waiting.waiting(edge, home)
	for _, l := range home.peers.loops {
		require.NoError(t, l.on.Post(&cutting{l}))
	}
	require.Equal(t, codeOne, <-polled)
	require.Equal(t, engine.ReasonTransportError, <-home.closed)
	status, body := waiting.poll(home)
	require.Equal(t, codeOne, fmt.Sprint(status, " ", body))
	status, _ = idle.post(edge, "4still here")
	require.Equal(t, 200, status)
	status, body = idle.poll(edge)
	require.Equal(t, "200 4still here", fmt.Sprint(status, " ", body))
}

type cutting struct{ of *peersLoop }

func (c *cutting) Run() {
	for in := range c.of.ins {
		in.Close()
	}
}

// While links are cut one after another, a session either gets everything in order or is
// closed: what has come by then is in order, and nothing is doubled.
func TestChatsThroughCutLinks(t *testing.T) {
	nodes := startNodes(t, 3, nil)
	var clients sync.WaitGroup
	var whole, closed, messages atomic.Int64
	for i := range 20 {
		b := newBrowser(t, nodes, uint64(100+i))
		clients.Go(func() {
			const many = 60
			over := make(chan struct{})
			var polling sync.WaitGroup
			polling.Go(func() {
				defer close(over)
				for len(b.got) < many {
					status, body := b.poll(b.any())
					if status != http.StatusOK {
						return
					}
					b.take(body)
				}
			})
			for j := range many {
				if status, _ := b.post(b.any(), fmt.Sprintf("4%d", j)); status != http.StatusOK {
					break
				}
			}
			select {
			case <-over:
			case <-time.After(20 * time.Second):
				_, _ = b.post(b.any(), "1") // it was refused while the link was away: the poll waits for nothing
			}
			polling.Wait()
			for j, m := range b.got {
				require.Equal(t, fmt.Sprint(j), m)
			}
			messages.Add(int64(len(b.got)))
			if len(b.got) == many {
				whole.Add(1)
			} else {
				closed.Add(1)
			}
		})
	}
	const cuts = 6
	done := make(chan struct{})
	go func() {
		clients.Wait()
		close(done)
	}()
	for turn := 0; ; turn++ {
		select {
		case <-done:
			require.Equal(t, int64(20), whole.Load()+closed.Load())
			require.Positive(t, messages.Load())
			t.Logf("%d sessions whole, %d closed, %d messages, %d cuts", whole.Load(), closed.Load(), messages.Load(), min(turn, cuts))
			return
		case <-time.After(20 * time.Millisecond):
			if turn < cuts {
				l := nodes[turn%3].peers.loops[turn/3%2]
				_ = l.on.Post(&cutting{l})
			}
		}
	}
}

// When a node dies the polls that wait for its sessions are told at once, and so are those
// that come later. Sessions of other nodes notice nothing.
func TestDeadNodesPollsAreToldAtOnce(t *testing.T) {
	nodes := startNodes(t, 3, nil)
	dead, edge := nodes[0], nodes[1]
	var polled []<-chan string
	var lost []*browser
	for i := range 30 {
		b := newBrowser(t, nodes[:1], uint64(i))
		lost = append(lost, b)
		polled = append(polled, b.waiting(edge, dead))
	}
	stays := newBrowser(t, nodes[2:], 1)
	wait := stays.waiting(edge, nodes[2])
	dead.kill()
	for _, p := range polled {
		require.Equal(t, codeOne, <-p)
	}
	status, body := lost[0].poll(nodes[2])
	require.Equal(t, codeOne, fmt.Sprint(status, " ", body))
	edge.peers.forget(dead.id)
	require.False(t, edge.peers.Knows(dead.id))
	status, body = lost[1].poll(edge)
	require.Equal(t, codeOne, fmt.Sprint(status, " ", body))
	status, _ = stays.post(edge, "4hello")
	require.Equal(t, 200, status)
	require.Equal(t, "200 4hello", <-wait)
}

// kill ends a node as a signal would: nobody is told, and its sockets are gone.
func (n *staticNode) kill() {
	n.peers.port.close()
	for _, l := range n.peers.loops {
		_ = l.on.Post(&cutting{l})
	}
}

// A node whose address is asked for gets its requests when the answer comes.
func TestRequestsOfANodeThatIsAskedForWait(t *testing.T) {
	asked := make(chan engine.NodeID, 1)
	nodes := make([]*staticNode, 2)
	nodes[0] = startNode(t, 1, nil)
	nodes[1] = startNode(t, 2, func(_ *engine.Options, o *peersOptions) {
		o.Unknown = func(n engine.NodeID) bool {
			if n != 1 {
				return false
			}
			asked <- n
			return true
		}
	})
	b := newBrowser(t, nodes[:1], 1)
	result := make(chan string, 1)
	go func() {
		status, body := b.post(nodes[1], "4hello")
		result <- fmt.Sprint(status, " ", body)
	}()
	nodes[1].peers.learn(<-asked, nodes[0].address)
	require.Equal(t, "200 ok", <-result)
	unknown := newBrowser(t, nodes[:1], 1)
	unknown.sid = "AQAAAAEAAAEAAAAAAAAAAAAAAAAAAAAA"
	status, body := unknown.poll(nodes[1])
	require.Equal(t, codeOne, fmt.Sprint(status, " ", body))
}

// Polls that wait on other nodes are let go when their edge drains, and all come back.
func TestDrainLetsWaitingPollsGo(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	var polled []<-chan string
	for i := range 10 {
		polled = append(polled, newBrowser(t, nodes[:1], uint64(i)).waiting(nodes[1], nodes[0]))
	}
	nodes[1].peers.drain(context.Background(), 2*releaseStep)
	for _, p := range polled {
		require.Equal(t, "200 6", <-p)
	}
	require.Empty(t, nodes[0].closed)
}

// Nodes with different keys do not meet, and say so once a minute.
func TestNodesWithDifferentKeys(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	logger := slog.New(slog.NewTextHandler(&lockedWriter{w: &log, mu: &mu}, nil))
	a := startNode(t, 1, func(_ *engine.Options, o *peersOptions) { o.Log = logger })
	b := startNode(t, 2, func(_ *engine.Options, o *peersOptions) { o.Self.Key = bytes.Repeat([]byte("x"), 32) })
	a.peers.learn(b.id, b.address)
	require.Equal(t, fmt.Sprintf("2 %d", linkDenied), <-a.events)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, 1, strings.Count(log.String(), "node has another key"))
	require.Contains(t, log.String(), b.address)
}

type lockedWriter struct {
	w  io.Writer
	mu *sync.Mutex
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestDenialsAreLoggedOnceAMinute(t *testing.T) {
	var d denials
	now := time.Unix(1000, 0)
	require.True(t, d.allowAt("a", now))
	require.False(t, d.allowAt("a", now.Add(denialPause-1)))
	require.True(t, d.allowAt("b", now))
	require.True(t, d.allowAt("a", now.Add(denialPause)))
	for i := range 2 * maxDenials {
		d.allowAt(fmt.Sprint(i), now.Add(denialPause))
	}
	require.LessOrEqual(t, len(d.last), maxDenials)
	require.True(t, d.allowAt("z", now.Add(2*denialPause)))
}

// The listener moves, and links that are up stay.
func TestPortMoves(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	before := nodes[0].address
	b := newBrowser(t, nodes[:1], 1)
	wait := b.waiting(nodes[1], nodes[0])
	address, err := nodes[0].peers.move()
	require.NoError(t, err)
	require.NotEqual(t, before, address)
	_, err = net.Dial("tcp", before)
	require.Error(t, err)
	nodes[1].peers.learn(1, address)
	status, _ := b.post(nodes[1], "4hello")
	require.Equal(t, 200, status)
	require.Equal(t, "200 4hello", <-wait)
	late := startNode(t, 3, nil)
	late.peers.learn(1, address)
	require.Equal(t, fmt.Sprintf("1 %d", linkUp), <-late.events)
}

// Links speak TLS, both ends of which show a certificate.
func TestLinksSpeakTLS(t *testing.T) {
	authority := certs.New(t)
	pair := authority.Issue(t, "a node", nil)
	nodes := startNodes(t, 2, func(_ *engine.Options, o *peersOptions) {
		o.TLS = &tls.Config{
			Certificates: []tls.Certificate{pair.TLS(t)}, RootCAs: authority.Pool(), ClientCAs: authority.Pool(),
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
		}
	})
	b := newBrowser(t, nodes, 1)
	b.chat([]string{"a", "b", strings.Repeat("c", 200_000), "d"})
	stranger := startNode(t, 9, nil) // without TLS
	stranger.peers.learn(1, nodes[0].address)
	require.Equal(t, fmt.Sprintf("1 %d", linkRefused), <-stranger.events)
}

// Peers can be stopped before they were started, twice, and while others dial.
func TestPeersStop(t *testing.T) {
	p := newPeers(peersOptions{})
	p.learn(1, "127.0.0.1:1")
	require.False(t, p.Knows(1), "nothing is known before the start")
	require.Zero(t, p.Conns())
	require.Zero(t, p.stats())
	p.stop()
	nodes := startNodes(t, 2, nil)
	nodes[0].peers.stop()
	nodes[0].peers.stop()
	_, err := nodes[0].peers.move()
	require.ErrorIs(t, err, net.ErrClosed)
	require.Eventually(t, func() bool { return nodes[0].peers.Conns() == 0 }, 10*time.Second, time.Millisecond)
	require.Zero(t, nodes[0].peers.stats().Links[link.Up])
}
