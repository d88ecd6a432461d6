package engine

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"turbine/loop/looptest"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

const (
	isolationRuns    = 2
	isolationSteps   = 10_000
	isolationClients = 16
	isolationPipes   = 10
	isolationQueue   = 5 // requests ahead on one connection
)

// A response never carries bytes of another request or of another session, nor
// what was left in a buffer: clients of all kinds share connections, as behind a
// proxy, ask ahead, are refused, read slowly, and vanish in the middle, on a
// server of two loops. With the tag invariants what is left in a buffer is 0xdb.
func TestResponsesAreOnesOwn(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(isolationRuns) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newMixer(t, seed, seen)
			for m.step = 0; m.step < isolationSteps; m.step++ {
				m.act()
			}
			m.finish()
		})
	}
	if t.Failed() {
		return
	}
	for _, kind := range []string{
		"open 200", "poll 200", "poll 400", "post 200", "post 400", "jsonp", "jsonp post 200", "gzip", "deflate", "websocket 101",
		"unknown session 400", "evil 403", "preflight 204", "no transport 400", "head 400", "malformed 400", "reset",
	} {
		require.Greater(t, seen[kind], 5, "%s: %v", kind, seen)
	}
	require.Greater(t, seen["frame bytes"], 1_000_000)
	t.Logf("checked: %v", seen)
}

// mixer drives the clients, with a random number for each decision.
type mixer struct {
	t       *testing.T
	random  *rand.Rand
	bench   *bench
	step    int
	clients []*isolated
	pipes   []*pipe
	live    map[tag]*Session // the latest of each client
	seen    map[string]int   // what was checked, by kind
}

// isolated is one client, whose sessions come one after another.
type isolated struct {
	tag    tag
	sid    string
	jsonp  bool
	asking int   // responses to its session's requests to come
	socket *pipe // its WebSocket
}

// pipe is a connection. Those of a WebSocket are of one client, others of all.
type pipe struct {
	peer   *looptest.Peer
	out    []byte // not written yet
	in     []byte
	queue  []sought
	socket *isolated
	packs  bool // permessage-deflate was asked for
	open   bool // a WebSocket's 101 has come
}

func newMixer(t *testing.T, seed uint64, seen map[string]int) *mixer {
	m := &mixer{t: t, random: rand.New(rand.NewPCG(seed, 5)), live: map[tag]*Session{}, seen: seen}
	m.bench = newSpec(t, 2, isolationOptions(), func(b *bench, e *Events) {
		e.Admit = nil
		e.Open = func(s *Session, r *Request) { m.live[tag(r.Query("tag"))] = s }
		e.Upgrade, e.Drain = nil, nil
		e.Close = func(s *Session, _ Reason, _ error) {
			if g, ok := s.Value().(tag); ok && m.live[g] == s {
				delete(m.live, g)
			}
		}
		isolationEvents(e, m.fail)
	})
	for i := range isolationClients {
		m.clients = append(m.clients, &isolated{tag: newTag(i)})
	}
	for range isolationPipes {
		m.pipes = append(m.pipes, m.dial())
	}
	return m
}

func (m *mixer) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("step %d: %s", m.step, fmt.Sprintf(format, args...))
}

func (m *mixer) one(n int) bool { return m.random.IntN(n) == 0 }

func (m *mixer) dial() *pipe {
	p := &pipe{peer: m.bench.world.Dial()}
	if m.one(3) {
		p.peer.SetWindow(1 + m.random.IntN(5000)) // a slow reader
	}
	return p
}

// act is one step: something is asked, some bytes go there, some come back.
func (m *mixer) act() {
	m.ask(m.clients[m.random.IntN(len(m.clients))])
	for range 3 {
		m.write(m.pipes[m.random.IntN(len(m.pipes))])
		for range m.random.IntN(3) {
			m.bench.world.Turn()
		}
		m.read(m.random.IntN(len(m.pipes)))
	}
	switch {
	case m.one(60):
		m.lose(m.random.IntN(len(m.pipes)))
	case m.one(100):
		m.bench.world.Advance(time.Second)
	}
}

// ask queues a request of c, or has the server send to it.
func (m *mixer) ask(c *isolated) {
	switch m.random.IntN(12) {
	case 0:
		m.refused(c)
	case 1, 2, 3:
		if s := m.live[c.tag]; s != nil {
			_ = s.Send(Message{Binary: m.one(4), Data: []byte(c.tag.fill(m.size()))}) // it may be full
		}
	case 4:
		if s := m.live[c.tag]; s != nil && m.one(10) {
			s.Close()
		}
	default:
		switch {
		case c.socket != nil:
			m.speak(c)
		case c.sid == "":
			m.handshake(c)
		case m.one(12):
			m.webSocket(c, "&sid="+c.sid)
		case m.one(2):
			m.poll(c)
		default:
			m.post(c)
		}
	}
}

func (m *mixer) size() int {
	if m.one(8) {
		return 1 + m.random.IntN(4000)
	}
	return m.random.IntN(120)
}

// request queues a request of c behind what others ask on a shared connection.
func (m *mixer) request(c *isolated, what, query string, r request) {
	p := m.pipes[m.random.IntN(len(m.pipes))]
	if p.socket != nil || len(p.queue) >= isolationQueue {
		return
	}
	lines := c.tag.lines(r.headers...)
	w := sought{tag: c.tag, method: r.method, x: strings.TrimPrefix(lines[1], "X-Tag: "), what: what}
	r.headers = lines
	switch what {
	case "open", "poll", "post", "jsonp post":
		c.asking++
	case "evil":
		r.headers[0] = "Origin: https://evil-" + string(c.tag[1:4]) + ".example"
	}
	if r.target == "" {
		r.target = "/engine.io/?EIO=4&transport=polling&tag=" + string(c.tag) + query
	}
	p.queue = append(p.queue, w)
	p.out = append(p.out, r.bytes()...)
}

func (m *mixer) accepts() []string {
	switch m.random.IntN(4) {
	case 0:
		return []string{"Accept-Encoding: gzip"}
	case 1:
		return []string{"Accept-Encoding: deflate"}
	}
	return nil
}

func (m *mixer) handshake(c *isolated) {
	if c.asking > 0 {
		return
	}
	if m.one(5) {
		m.webSocket(c, "")
		return
	}
	c.jsonp = m.one(3)
	m.request(c, "open", c.query(), request{method: "GET", headers: m.accepts()})
}

// query is what each request of the session says, in addition to its transport.
func (c *isolated) query() (q string) {
	if c.jsonp {
		q = "&j=" + string(c.tag[1:4])
	}
	if c.sid != "" {
		q += "&sid=" + c.sid
	}
	return q
}

func (m *mixer) poll(c *isolated) {
	if c.asking == 0 || m.one(20) { // now and then two at a time, which ends the session
		m.request(c, "poll", c.query(), request{method: "GET", headers: m.accepts()})
	}
}

func (m *mixer) post(c *isolated) {
	if c.asking > 1 && !m.one(50) {
		return
	}
	var packets []string
	for range 1 + m.random.IntN(4) {
		text := c.tag.fill(m.size())
		if m.one(4) {
			packets = append(packets, "b"+base64.StdEncoding.EncodeToString([]byte(text)))
		} else {
			packets = append(packets, "4"+text)
		}
	}
	r := request{method: "POST", body: strings.Join(packets, "\x1e"), length: true}
	what := "post"
	if c.jsonp {
		what, r.body = "jsonp post", "d="+url.QueryEscape(r.body)
	}
	if m.one(4) { // in chunks
		cut := m.random.IntN(len(r.body))
		r.headers, r.length = []string{"Transfer-Encoding: chunked"}, false
		r.body = fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", len(r.body)-cut, r.body[:len(r.body)-cut], cut, r.body[len(r.body)-cut:])
		if cut == 0 {
			r.body = strings.TrimSuffix(r.body, "0\r\n\r\n0\r\n\r\n") + "0\r\n\r\n"
		}
	}
	m.request(c, what, c.query(), r)
}

// refused asks for what is not there, or may not be had.
func (m *mixer) refused(c *isolated) {
	switch m.random.IntN(7) {
	case 0:
		m.request(c, "unknown session", "&sid="+strings.Repeat("A", sidLength), request{method: "GET"})
	case 1:
		m.request(c, "unknown session", "&sid=none", request{method: "POST", body: "4" + c.tag.fill(m.size()), length: true})
	case 2:
		m.request(c, "evil", "", request{method: "GET"})
	case 3:
		m.request(c, "preflight", "", request{method: "OPTIONS"})
	case 4:
		m.request(c, "no transport", "&transport=none", request{method: "GET"})
	case 5:
		m.request(c, "head", "&sid=none", request{method: "HEAD"})
	case 6:
		m.request(c, "malformed", "", request{method: "GET", headers: []string{"Content-Length: " + string(c.tag)}})
	}
}

// webSocket opens one, of a new session or to upgrade the one there is.
func (m *mixer) webSocket(c *isolated, query string) {
	headers, packs := upgradeHeaders, m.one(2)
	if packs {
		headers = append([]string{"Sec-WebSocket-Extensions: permessage-deflate"}, headers...)
	}
	lines := c.tag.lines(headers...)
	r := request{method: "GET", headers: lines, target: "/engine.io/?EIO=4&transport=websocket&tag=" + string(c.tag) + query}
	p := m.dial()
	p.socket, p.packs, c.socket = c, packs, p
	p.queue = []sought{{tag: c.tag, method: "GET", x: strings.TrimPrefix(lines[1], "X-Tag: "), what: "websocket"}}
	p.out = r.bytes()
	if query != "" {
		p.out = append(p.out, frame(ws.OpText, "2probe")...)
		if !m.one(4) {
			p.out = append(p.out, frame(ws.OpText, "5")...)
		}
	}
	m.pipes = append(m.pipes, p)
}

// speak sends frames on c's WebSocket.
func (m *mixer) speak(c *isolated) {
	p := c.socket
	if len(p.out) > 20_000 {
		return
	}
	text := c.tag.fill(m.size())
	switch m.random.IntN(8) {
	case 0:
		p.out = append(p.out, frame(ws.OpPing, c.tag.fill(m.random.IntN(20)))...)
	case 1:
		p.out = append(p.out, frame(ws.OpBinary, text)...)
	case 2: // in fragments
		cut := m.random.IntN(len(text) + 1)
		p.out = append(p.out, wsframe.AppendMaskedFrame(nil, ws.OpText, false, [4]byte{9, 8, 7, 6}, []byte("4"+text[:cut]))...)
		p.out = append(p.out, wsframe.AppendMaskedFrame(nil, ws.OpContinuation, true, [4]byte{1, 0, 1, 0}, []byte(text[cut:]))...)
	case 3:
		if m.one(10) {
			p.out = append(p.out, frame(ws.OpClose, "")...)
		}
	case 4:
		p.out = append(p.out, frame(ws.OpText, "5")...) // upgrades, or means nothing
	case 5, 6:
		if p.packs || m.one(50) { // an error where it was not agreed
			p.out = append(p.out, compressed(ws.OpText, true, (&packer{}).pack("4"+text))...)
		}
	default:
		p.out = append(p.out, frame(ws.OpText, "4"+text)...)
	}
}

// write sends some of what waits, cut anywhere.
func (m *mixer) write(p *pipe) {
	n := len(p.out)
	if m.one(2) {
		n = min(n, m.random.IntN(2000))
	}
	p.peer.Write(p.out[:n])
	p.out = p.out[n:]
}

// read takes some of what has come and holds it against what is sought.
func (m *mixer) read(at int) {
	p := m.pipes[at]
	if m.one(2) {
		p.in = append(p.in, p.peer.ReadN(m.random.IntN(3000))...)
	} else {
		p.in = append(p.in, p.peer.Read()...)
	}
	m.check(p)
	if p.peer.EOF() && p.peer.Buffered() == 0 {
		if len(p.in) > 0 && !p.peer.Aborted() {
			m.fail("%q is left at the end", p.in)
		}
		m.remove(at)
	}
}

func (m *mixer) check(p *pipe) {
	for len(p.queue) > 0 && len(p.in) > 0 {
		w := p.queue[0]
		head, fields, body, n := whole(p.in, w.method)
		if n == 0 {
			return
		}
		if err := w.check(m.t, head, fields, body); err != nil {
			m.fail("%v", err)
		}
		p.in, p.queue = p.in[n:], p.queue[1:]
		m.seen[w.what+" "+head[9:12]]++
		m.seen[fields.Get("Content-Encoding")]++
		m.answered(w, head[9:12], string(body))
		p.open = head[9:12] == "101"
	}
	if p.open {
		before := len(p.in)
		rest, err := p.socket.tag.checkFrames(m.t, p.in)
		if err != nil {
			m.fail("%v", err)
		}
		p.in = rest
		m.seen["frame bytes"] += before - len(rest)
	} else if len(p.in) > 0 && len(p.queue) == 0 {
		m.fail("nobody asked for %q", p.in)
	}
}

// answered tells the client of w what became of its request.
func (m *mixer) answered(w sought, status, body string) {
	c := m.owner(w.tag)
	switch w.what {
	case "open":
		c.asking--
		if at := strings.Index(body, `sid\":\"`); at >= 0 {
			c.sid = body[at+8 : at+8+sidLength]
		} else if at := strings.Index(body, `"sid":"`); at >= 0 {
			c.sid = body[at+7 : at+7+sidLength]
		}
	case "poll", "post", "jsonp post":
		c.asking--
		if status != "200" {
			c.sid = ""
		}
		if strings.HasPrefix(body, `___eio`) {
			m.seen["jsonp"]++
		}
	}
}

func (m *mixer) owner(g tag) *isolated {
	for _, c := range m.clients {
		if c.tag == g {
			return c
		}
	}
	m.fail("no client %s", g)
	return nil
}

// lose resets a connection in the middle of whatever it is doing.
func (m *mixer) lose(at int) {
	m.pipes[at].peer.Reset()
	m.seen["reset"]++
	m.remove(at)
}

// remove forgets a connection that is gone, and what was sought on it.
func (m *mixer) remove(at int) {
	p := m.pipes[at]
	for _, w := range p.queue {
		c := m.owner(w.tag)
		switch w.what {
		case "open", "poll", "post", "jsonp post":
			c.asking--
		}
		c.sid = ""
	}
	if p.socket != nil {
		p.socket.socket, p.socket.sid = nil, ""
		m.pipes = append(m.pipes[:at], m.pipes[at+1:]...)
		return
	}
	m.pipes[at] = m.dial()
}

// finish reads what is left.
func (m *mixer) finish() {
	m.bench.server.CloseSessions()
	for range 3 {
		for _, p := range m.pipes {
			p.peer.SetWindow(1 << 20)
			m.bench.world.Run()
			p.in = append(p.in, p.peer.Read()...)
			m.check(p)
		}
		m.bench.world.Advance(m.bench.options.Timeouts.Close)
	}
	m.bench.world.Close()
	require.Zero(m.t, OnLoan())
	require.Zero(m.t, m.bench.logged.lines.Load(), "a panic was logged")
}
