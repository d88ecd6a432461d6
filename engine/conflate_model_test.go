package engine

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"turbine/internal/race"

	"github.com/stretchr/testify/require"
)

// conflated is a message that waits, in the oracle's words.
type conflated struct {
	key, text   string
	binary      bool
	merges, bad bool // has a Merge; which makes no text
	sent        bool // has a Sent, which notes the text that was sent last
	last        string
	size        int
	publishes   int // behind how many, if it is held
}

// conflationSession is what SendOptions says of one session. It knows nothing of how
// the engine finds messages by their keys.
type conflationSession struct {
	*Session
	name        string
	queue, held []conflated
	bytes       int
	closed      bool
	member      bool     // of the group
	sent        []string // what Sent was called for
	probes, ws  bool
}

// conflationModel is the oracle: sessions of one loop, and what waits for its turn.
type conflationModel struct {
	t         *testing.T
	b         *bench
	random    *rand.Rand
	sessions  []*conflationSession
	pending   []func() // what was published, and what waits behind that
	holding   int      // of these, those that messages have to wait for
	publishes int
	sends     int
	roots     []*Prepared
	counts    struct{ replaced, merged, refused, apart int }
}

// place finds what a new message of the key takes the place of.
func (m *conflationModel) place(s *conflationSession, key string, hold bool) *conflated {
	all := s.queue
	if hold {
		all = s.held
	}
	for i := len(all) - 1; i >= 0 && key != ""; i-- {
		if all[i].key == key {
			if hold && all[i].publishes != m.publishes {
				return nil
			}
			return &all[i]
		}
	}
	return nil
}

// put is a message that comes to s: from a caller, or in its turn among what was published.
func (m *conflationModel) put(s *conflationSession, c conflated, inTurn bool) error {
	if s.closed {
		return ErrClosed
	}
	hold := !inTurn && m.holding > 0
	at := m.place(s, c.key, hold)
	if at != nil && c.merges && c.bad {
		if !inTurn {
			return ErrNotUTF8
		}
		at = nil
	}
	if at != nil {
		if c.merges {
			c = at.with(c)
			m.counts.merged++
		}
		if more := c.size - at.size; more > 0 && s.bytes+more > m.b.options.Queue.MaxBytes {
			return m.refuse(s)
		}
		c.publishes, c.merges = at.publishes, c.merges && at.merges
		s.bytes += c.size - at.size
		*at = c
		m.counts.replaced++
		return nil
	}
	if n := len(s.queue) + len(s.held); n > 0 && (s.bytes+c.size > m.b.options.Queue.MaxBytes || n >= m.b.options.Queue.MaxPackets) {
		return m.refuse(s)
	}
	s.bytes += c.size
	if !hold {
		s.queue = append(s.queue, c)
		return nil
	}
	c.publishes = m.publishes
	s.held = append(s.held, c)
	m.later(true, func() { m.letGo(s) })
	return nil
}

// with is the result of Merge, with the options of the new message.
func (c *conflated) with(next conflated) conflated {
	next.text = "(" + c.text + "+" + next.text + ")"
	next.size = packetSize + len(next.text)
	return next
}

func (m *conflationModel) refuse(s *conflationSession) error {
	m.counts.refused++
	if m.b.options.Queue.Overflow == OverflowClose {
		s.closed, s.queue, s.held, s.bytes = true, nil, nil, 0
	}
	return ErrQueueFull
}

func (m *conflationModel) later(holds bool, f func()) {
	if holds {
		m.holding++
	}
	m.pending = append(m.pending, f)
}

// letGo is the turn of the first message that s holds.
func (m *conflationModel) letGo(s *conflationSession) {
	if s.closed {
		return
	}
	c := s.held[0]
	s.held = s.held[1:]
	at := m.place(s, c.key, false)
	if at == nil {
		s.queue = append(s.queue, c)
		return
	}
	size := c.size
	if c.merges {
		more := at.with(c).size - size - at.size
		if c.bad || more > 0 && s.bytes+more > m.b.options.Queue.MaxBytes {
			s.queue = append(s.queue, c)
			m.counts.apart++
			return
		}
		c = at.with(c)
		m.counts.merged++
	}
	s.bytes += c.size - size - at.size
	*at = c
	m.counts.replaced++
}

// message makes one at random, and how it is sent.
func (m *conflationModel) message(s *conflationSession) (Message, SendOptions, conflated) {
	r := m.random
	m.sends++
	c := conflated{
		key: []string{"", "", "a", "a", "b", "c"}[r.IntN(6)], text: strconv.Itoa(m.sends), binary: r.IntN(4) == 0,
		merges: r.IntN(2) == 0, bad: r.IntN(6) == 0, sent: r.IntN(4) == 0,
	}
	if r.IntN(8) == 0 {
		c.text += strings.Repeat("xy", r.IntN(150))
	}
	c.size, c.last = packetSize+len(c.text), c.text
	o := m.options(s, c)
	c.merges = c.merges && c.key != ""
	return Message{Data: []byte(c.text), Binary: c.binary}, o, c
}

// options are those of the message c for s, or of a message for many, where s is nil.
func (m *conflationModel) options(s *conflationSession, c conflated) (o SendOptions) {
	o.Key = c.key
	if c.merges {
		o.Merge = func(waiting, next Message) Message {
			if c.bad {
				return Message{Data: []byte{0xff}}
			}
			return Message{Data: fmt.Appendf(nil, "(%s+%s)", waiting.Data, next.Data), Binary: next.Binary}
		}
	}
	if c.sent && s != nil {
		o.Sent = func() { s.sent = append(s.sent, c.last) }
	}
	return o
}

// act is one call of the application.
func (m *conflationModel) act() {
	r := m.random
	s := m.sessions[r.IntN(len(m.sessions))]
	switch n := r.IntN(20); {
	case n < 9:
		message, o, c := m.message(s)
		if c.key == "" && !c.sent && s.ws && m.holding == 0 { // it waits as a frame
			c.size = packetSize + frameSize(message, Revision4)
		}
		want := m.put(s, c, false)
		require.Equal(m.t, want, s.SendWith(message, o), "%s of %s", c.text, s.name)
	case n < 12:
		p, o, c := m.prepared(s)
		want := m.put(s, c, false)
		require.Equal(m.t, want, s.SendPrepared(p.With(o)), "%s of %s", c.text, s.name)
	case n < 16:
		m.publish()
	case n < 18:
		if s.member = !s.member; s.member {
			s.Join("group")
		} else {
			s.Leave("group")
		}
		member := s.member
		m.later(false, func() { s.member = member })
		s.member = !member // it counts in its turn
	default:
		m.settle()
	}
}

// prepared is message for one of a few that are prepared, and wait for many.
func (m *conflationModel) prepared(s *conflationSession) (*Prepared, SendOptions, conflated) {
	_, _, c := m.message(nil)
	i := m.random.IntN(len(m.roots))
	c.text, c.binary = fmt.Sprint("p", i), i%2 == 0
	c.size, c.last = packetSize+len(c.text), c.text
	return m.roots[i], m.options(s, c), c
}

// publish sends to all, to the group, to a session of a list, or to nobody.
func (m *conflationModel) publish() {
	p, o, c := m.prepared(nil)
	c.sent = false
	a, to := Audience{}, func(*conflationSession) bool { return true }
	switch m.random.IntN(4) {
	case 0:
		a.Groups, to = []string{"group"}, func(s *conflationSession) bool { return s.member }
	case 1:
		listed := m.sessions[m.random.IntN(len(m.sessions))]
		a.Sessions, to = []*Session{listed.Session}, func(s *conflationSession) bool { return s == listed }
	case 2:
		a.Keep, to = passed, func(*conflationSession) bool { return false }
	}
	require.NoError(m.t, m.b.server.PublishTo(a, p.With(o)))
	m.publishes++
	m.later(true, func() {
		for _, s := range m.sessions {
			if to(s) {
				_ = m.put(s, c, true)
			}
		}
	})
}

// settle lets all that was published have its turn.
func (m *conflationModel) settle() {
	m.b.world.Run()
	for len(m.pending) > 0 {
		next := m.pending[0]
		m.pending = m.pending[1:]
		next()
	}
	m.holding = 0
	m.check()
}

// check compares what waits with what is counted, for the sessions and their loop.
func (m *conflationModel) check() {
	require.Equal(m.t, countedFor(m.b, m.b.sessions...), m.b.server.Stats().Queued)
	for _, s := range m.sessions {
		require.Equal(m.t, s.bytes, s.Buffered(), s.name)
		require.Equal(m.t, s.closed, s.State() != StateOpen, s.name)
	}
}

// take lets the client of s have all that waits, or a part by polling, which has to be
// what the oracle has.
func (m *conflationModel) take(s *conflationSession) {
	m.settle()
	if s.closed {
		return
	}
	var got, want, sent []string
	switch {
	case s.probes: // the upgrade ends
		got = framed(m.t, s.name, m.play("frame "+s.name+" text 5"))
		s.probes, s.ws = false, true
	case s.ws:
		got = framed(m.t, s.name, m.play("window "+s.name+" 1000000"))
		require.Equal(m.t, "falsex{x100000}", got[0]) // it has blocked the connection
		got = got[1:]
	default:
		for s.Buffered() > 0 && (len(got) == 0 || m.random.IntN(3) > 0) {
			got = append(got, payload(m.t, m.play("get sid="+s.name))...)
		}
	}
	taken := min(len(got), len(s.queue))
	for _, c := range s.queue[:taken] {
		s.bytes -= c.size
		want = append(want, fmt.Sprint(c.binary, c.text))
		if c.sent {
			sent = append(sent, c.last)
		}
	}
	require.Equal(m.t, strings.Join(want, " "), strings.Join(got, " "), s.name)
	require.Equal(m.t, strings.Join(sent, " "), strings.Join(s.sent, " "), "Sent of %s", s.name)
	s.queue, s.sent = s.queue[taken:], nil
	m.check()
	switch {
	case s.ws:
		m.block(s)
	case s.name != "A" && m.random.IntN(2) == 0:
		lines := m.play("ws sid="+s.name+" conn="+s.name, "frame "+s.name+" text 2probe")
		require.Equal(m.t, []string{s.name + ": 101", s.name + `: text "3probe"`}, lines)
		s.probes = true
	}
}

// play leaves out what clients hear of sessions that have ended.
func (m *conflationModel) play(commands ...string) (lines []string) {
	for _, line := range m.b.play(commands...) {
		if !slices.ContainsFunc(m.sessions, func(s *conflationSession) bool { return s.closed && strings.HasPrefix(line, s.name+": ") }) {
			lines = append(lines, line)
		}
	}
	return lines
}

// block fills what the connection of s takes, so that all that follows waits.
func (m *conflationModel) block(s *conflationSession) {
	m.b.play("window " + s.name + " 0")
	require.NoError(m.t, s.Send(filler(100_000)))
	m.b.world.Run()
	require.Zero(m.t, s.Buffered())
}

// framed are the messages of these lines.
func framed(t *testing.T, name string, lines []string) (all []string) {
	for _, line := range lines {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(line, name+": "), " ")
		switch kind {
		case "text":
			text, err := strconv.Unquote(rest)
			require.NoError(t, err, line)
			require.Equal(t, "4", text[:1], line)
			all = append(all, fmt.Sprint(false, text[1:]))
		case "binary":
			data, err := hex.DecodeString(rest)
			require.NoError(t, err, line)
			all = append(all, fmt.Sprint(true, string(data)))
		default:
			require.Fail(t, "no message", line)
		}
	}
	return all
}

// payload is framed for polling.
func payload(t *testing.T, lines []string) (all []string) {
	require.Len(t, lines, 1)
	for _, p := range strings.Split(strings.TrimPrefix(lines[0], "200 "), `\x1e`) {
		if p[0] == '4' {
			all = append(all, fmt.Sprint(false, p[1:]))
			continue
		}
		require.Equal(t, "b", p[:1], lines[0])
		data, err := base64.StdEncoding.DecodeString(p[1:])
		require.NoError(t, err)
		all = append(all, fmt.Sprint(true, string(data)))
	}
	return all
}

// TestConflationModel compares conflation with an oracle that is made of its
// description: what is sent, prepared and published with and without keys and Merge,
// before and after joins, within the limits of the queue and above, by polling, during
// an upgrade and on WebSocket. What each call returns, what waits after it, what
// arrives, and whose Sent is called, has to be the same.
func TestConflationModel(t *testing.T) {
	var replaced, merged, refused, apart int // in all runs together
	for seed := range uint64(100 / race.Less) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			queue := []Queue{
				{MaxBytes: 1 << 20, MaxPackets: 10_000},
				{MaxBytes: 2000, MaxPackets: 10_000, Overflow: OverflowDrop},
				{MaxBytes: 1 << 20, MaxPackets: 8, Overflow: OverflowDrop},
				{MaxBytes: 3000, MaxPackets: 20, Overflow: OverflowClose},
			}[seed%4]
			b := newSpec(t, 1, Options{Queue: queue, MaxPayload: 40}, nil)
			m := &conflationModel{t: t, b: b, random: r}
			for i := range 4 {
				m.roots = append(m.roots, prepared(Message{Data: fmt.Append(nil, "p", i), Binary: i%2 == 0}))
			}
			b.play(hsPolling, hsPolling, "ws EIO=4&transport=websocket conn=C")
			for _, name := range []string{"A", "B", "C"} {
				s := &conflationSession{Session: b.session(name), name: name, ws: name == "C"}
				if m.sessions = append(m.sessions, s); s.ws {
					m.block(s)
				}
			}
			for range 30 {
				for range r.IntN(20) {
					m.act()
				}
				m.take(m.sessions[r.IntN(len(m.sessions))])
			}
			for _, s := range m.sessions {
				m.take(s)
			}
			b.finish()
			replaced, merged, refused, apart = replaced+m.counts.replaced, merged+m.counts.merged, refused+m.counts.refused, apart+m.counts.apart
		})
	}
	require.Positive(t, replaced)
	require.Positive(t, merged)
	require.Positive(t, refused)
	require.Positive(t, apart, "that Merge makes no text of, or one that is too large")
}
