package cluster

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"turbine/engine"
)

// receiving is a bus whose goroutine that receives is the test's.
type receiving struct {
	*bus
	at   time.Duration
	gaps map[engine.NodeID]uint64
	got  []string
}

func newReceiving() *receiving {
	r := &receiving{at: time.Hour, gaps: map[engine.NodeID]uint64{}}
	r.bus = newBus(busOptions{
		ID: own, Subjects: "turbine.test", Log: slog.New(slog.DiscardHandler),
		Now:    func() time.Duration { return r.at },
		Gap:    func(node engine.NodeID, missing uint64) { r.gaps[node] += missing },
		Told:   func(_ engine.NodeID, p []byte) { r.got = append(r.got, "told "+string(p)) },
		Query:  func([]byte) { r.got = append(r.got, "query") },
		Answer: func([]byte) { r.got = append(r.got, "answer") },
	})
	r.deliver = func(a engine.Audience, _ *engine.Prepared) {
		r.got = append(r.got, strings.Join(a.Groups, "+"))
	}
	return r
}

func (r *receiving) hear(subject string, b body) {
	r.take(&nats.Msg{Subject: "turbine.test" + subject, Data: appendBody(nil, &b)})
}

// numbered is a message with that number of node 5.
func numbered(seq uint64) body {
	return body{kind: bodyMessages, node: 5, seq: seq, messages: []engine.Message{{Data: []byte("m")}}}
}

func TestGapsAndDoublesAreFoundByNumbers(t *testing.T) {
	for _, c := range []struct {
		name    string
		subject string
		whole   time.Duration // how long the part has been subscribed whole; 0: it is not
		seqs    []uint64
		doubles uint64
		gaps    uint64
	}{
		{"all, in order", ".all", 0, []uint64{1, 2, 3}, 0, 0},
		{"the first that is heard is a beginning", ".all", 0, []uint64{9, 10}, 0, 0},
		{"two are missing", ".all", 0, []uint64{1, 2, 5, 6}, 0, 2},
		{"users", ".users", 0, []uint64{1, 3}, 0, 1},
		{"some groups of a part", ".p.7.g", 0, []uint64{1, 5, 9}, 0, 0},
		{"twice", ".p.7.g", 0, []uint64{1, 1, 5, 5}, 2, 0},
		{"a whole part, its first", ".p.7.g", lingering, []uint64{9, 10}, 0, 0},
		{"a whole part", ".p.7.g", lingering, []uint64{4, 5, 9, 9}, 1, 3},
		{"a part that has just become whole", ".p.7.g", lingering - 1, []uint64{4, 5, 9, 9}, 1, 0},
		{"what is for one node", ".node.00000010", 0, []uint64{1, 5}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiving()
			if c.whole > 0 {
				r.hear(c.subject, numbered(1))
				r.got = nil
				r.at -= c.whole
				r.widened(7, true)
				r.at += c.whole
			}
			for _, seq := range c.seqs {
				r.hear(c.subject, numbered(seq))
			}
			r.tellGaps()
			r.tellGaps()
			s := r.stats()
			require.Equal(t, c.doubles, s.Duplicates)
			require.Equal(t, c.gaps, s.Gaps)
			require.Equal(t, c.gaps, r.gaps[5])
			require.Len(t, r.got, len(c.seqs)-int(c.doubles))
		})
	}
}

func TestNumbersCountByPublisherAndPart(t *testing.T) {
	r := newReceiving()
	for _, subject := range []string{".all", ".p.7.g", ".p.8.g", ".users"} {
		r.hear(subject, numbered(1))
		other := numbered(1)
		other.node = 6
		r.hear(subject, other)
	}
	require.Len(t, r.got, 8)
	require.Zero(t, r.stats().Duplicates)
}

func TestWhatIsNotForThisNodeIsLeft(t *testing.T) {
	r := newReceiving()
	mine := numbered(1)
	mine.node = own
	r.hear(".all", mine)
	r.take(&nats.Msg{Subject: "turbine.test.node.00000010", Data: []byte(`{"kind":"beat"}`)})
	r.take(&nats.Msg{Subject: "turbine.other.all", Data: appendBody(nil, &bodies[0])})
	r.take(&nats.Msg{Subject: "turbine.test.p.256.g", Data: appendBody(nil, &bodies[0])})
	require.Empty(t, r.got)
	require.Zero(t, r.stats().Malformed)
	r.take(&nats.Msg{Subject: "turbine.test.all", Data: []byte{bodyVersion, byte(bodyMessages)}})
	broken := numbered(1)
	broken.messages[0].Data = []byte{0xff}
	r.hear(".all", broken)
	require.EqualValues(t, 2, r.stats().Malformed)
	require.Empty(t, r.got)
	r.take(&nats.Msg{Subject: "turbine.test.q", Data: appendQuery(nil, &queryBodies[0])})
	r.take(&nats.Msg{Subject: "turbine.test.node.00000010", Data: appendAnswer(nil, &answerBodies[0])})
	r.hear(".users", body{kind: bodyTold, node: 5, seq: 1, told: []byte("x")})
	require.Equal(t, []string{"query", "answer", "told x"}, r.got)
}

func TestAPanicInToldEndsNothing(t *testing.T) {
	r := newReceiving()
	r.o.Told = func(engine.NodeID, []byte) { panic("told") }
	r.hear(".all", body{kind: bodyTold, node: 5, seq: 1})
	r.hear(".all", numbered(2))
	require.Len(t, r.got, 1)
}

// Queues of loops have no limit: a mark behind some messages says how far they are.
func TestReceivingWaitsForTheLoops(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
		room int // messages
	}{
		{"of small messages", 1, maxMarks * markMessages},
		{"of large ones", markBytes, maxMarks},
	} {
		t.Run(c.name, func(t *testing.T) {
			credit := credit{room: make(chan struct{}, maxMarks)}
			over := make(chan struct{})
			var marks []func(int, int)
			for range c.room {
				if done := credit.next(c.size, over); done != nil {
					marks = append(marks, done)
				}
			}
			require.Len(t, marks, maxMarks)
			require.Len(t, credit.room, maxMarks, "the next mark waits")
			marks[0](0, 0)
			require.Len(t, credit.room, maxMarks-1)
			close(over)
		})
	}
}

func TestWhatIsPublishedWaitsForTheSender(t *testing.T) {
	b := newReceiving().bus
	m := []engine.Message{{Data: []byte("m")}}
	b.maxMessage = 10
	require.ErrorIs(t, b.Publish([]string{"g"}, nil, m, engine.SendOptions{}), ErrBusDown, "before Join")
	b.connected(true)
	require.NoError(t, b.Publish([]string{"g"}, []string{"x"}, m, engine.SendOptions{NoCompress: true}))
	require.NoError(t, b.Publish(nil, nil, m, engine.SendOptions{}))
	require.NoError(t, b.Publish([]string{"g", "h"}, nil, m, engine.SendOptions{}))
	require.NoError(t, b.tell(All(), []byte("a")))
	require.NoError(t, b.tell(Users(), []byte("u")))
	require.NoError(t, b.tell(Group("g"), []byte("g")))
	require.NoError(t, b.tell(OneNode(5), []byte("n")))
	require.NoError(t, b.raw("turbine.test.q", []byte("question")))
	for _, what := range [][]engine.Message{{{Data: []byte("elevenbytes")}}, {{Data: []byte("12345")}, {}}} {
		require.ErrorIs(t, b.Publish(nil, nil, what, engine.SendOptions{}), ErrTooLarge)
	}
	require.ErrorIs(t, b.Publish([]string{strings.Repeat("n", maxNames)}, nil, m, engine.SendOptions{}), ErrTooLarge)
	require.ErrorIs(t, b.tell(All(), make([]byte, 11)), ErrTooLarge)
	b.connected(false)
	require.ErrorIs(t, b.Publish(nil, nil, m, engine.SendOptions{}), ErrBusDown)
	require.ErrorIs(t, b.raw("turbine.test.q", nil), ErrBusDown)
	b.connected(true)
	require.NoError(t, b.tell(All(), []byte("behind")))

	g := b.o.Subjects.group("g")
	want := []struct {
		subject string
		seq     uint64
	}{
		{g, 2}, {"turbine.test.all", 1}, {"turbine.test.all", 2}, {"turbine.test.all", 3}, {"turbine.test.users", 1},
		{g, 3}, {"turbine.test.node.00000005", 1}, {"turbine.test.q", 0}, {"turbine.test.all", 5},
	}
	begin := 0
	for i, item := range b.fill.items {
		require.Equal(t, want[i].subject, item.subject)
		if !item.raw {
			got, err := parseBody(b.fill.bytes[begin:item.end])
			require.NoError(t, err)
			require.Equal(t, want[i].seq, got.seq, "what was lost in between has a number")
			require.Equal(t, i == 0, got.noCompress)
		}
		begin = item.end
	}
	require.Len(t, b.fill.items, len(want))
	b.fill.bytes = make([]byte, maxWaiting+1)
	require.ErrorIs(t, b.Publish(nil, nil, m, engine.SendOptions{}), ErrBusDown, "NATS takes nothing")
	require.EqualValues(t, 4, b.stats().TooLarge)
	require.EqualValues(t, 3, b.stats().Down)

	b.stop()
	b.stop()
	items := len(b.fill.items)
	b.Interest("late", true)
	require.Len(t, b.fill.items, items)
	require.True(t, errors.Is(b.Publish(nil, nil, m, engine.SendOptions{}), ErrBusDown))
}
