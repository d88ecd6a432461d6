package link

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"turbine/internal/invariants"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

func TestRequestIsAnswered(t *testing.T) {
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	require.NotZero(t, out.Arrive([]byte("get"), nil, true, n.reply("1")))
	n.run()
	require.Equal(t, "event 1, get arrived, get has body ", n.journal.take())
	require.Equal(t, Up, out.State())
	n.home.last.answer("4hello")
	n.run()
	require.Equal(t, "1 answered 4hello", n.journal.take())

	s := out.Arrive([]byte("post"), nil, false, n.reply("2"))
	n.run()
	b := pool.Frames.Get(4)
	b.Append([]byte("body"))
	out.Complete(s, b)
	b.Release()
	n.run()
	require.Equal(t, "post arrived, post has body body", n.journal.take())
	n.home.last.back.Abort()
	n.run()
	require.Equal(t, "2 aborted", n.journal.take())

	s = out.Arrive([]byte("cancel"), nil, false, n.reply("3"))
	out.Cancel(s, 413)
	n.run()
	require.Equal(t, "cancel arrived, cancel cancelled 413", n.journal.take())
	out.Lost(s, true)
	n.run()
	require.Equal(t, "cancel lost true", n.journal.take())

	require.NotZero(t, out.Arrive([]byte("now"), nil, true, n.reply("4")))
	out.Note([]byte("hello"))
	n.run()
	require.Equal(t, "now arrived, note hello, 4 answered at once", n.journal.take())

	require.NotZero(t, out.Arrive([]byte("poll"), nil, true, n.reply("5")))
	n.run()
	require.False(t, out.Release(1))
	require.True(t, out.Release(1))
	n.run()
	require.Equal(t, "poll arrived, poll has body , poll released", n.journal.take())
	require.Equal(t, 1, out.Streams())
}

// Bodies and answers of any size arrive whole, however the bytes come in pieces.
func TestLongBodiesTakeTurns(t *testing.T) {
	for _, limit := range []int{0, 1000, 70_001} {
		for _, size := range []int{0, 1, onePiece - 6, onePiece, onePiece + 1, MaxBody, MaxBody + 1, 300_000} {
			n := newMesh(t, 2)
			n.limit = limit
			out := n.out(0, OutOptions{})
			want := pattern(size)
			check := n.reply("1")
			check.answered = func(p []byte) error {
				require.True(t, bytes.Equal(want, p))
				return nil
			}
			out.Arrive([]byte("a"), want, true, check)
			s := out.Arrive([]byte("b"), nil, false, check)
			b := pool.Frames.Get(size)
			b.Append(want)
			out.Complete(s, b)
			n.run()
			for _, name := range []string{"a", "b"} {
				require.True(t, bytes.Equal(want, n.home.guests[name].body), "%d bytes", size)
				n.home.guests[name].back.Answer(b)
			}
			b.Release()
			n.run()
			require.Equal(t, 2, strings.Count(n.journal.take(), "answered"))
			require.Zero(t, out.Streams())
			require.Zero(t, n.ins[0].Streams())
			require.Zero(t, out.line.size)
			require.Zero(t, n.ins[0].line.size)
		}
	}
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7 / 3)
	}
	return p
}

// A short answer waits behind one piece of each busy stream, not behind their ends.
func TestShortAnswerOvertakesLongOnes(t *testing.T) {
	const busy, size = 5, 2 << 20
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	for i := range busy + 1 {
		out.Arrive([]byte{'a' + byte(i)}, nil, true, n.reply(string('a'+byte(i))))
	}
	n.run()
	n.journal.take()
	w := n.wires[0]
	w.b.SetWindow(MaxBody)
	long := pool.Frames.Get(size)
	long.Append(pattern(size))
	for i := range busy {
		n.home.guests[string('a'+byte(i))].back.Answer(long)
	}
	long.Release()
	n.rest()
	short := n.home.guests[string('a'+byte(busy))]
	before := 0
	for answered := false; !answered; {
		if short != nil {
			short.answer("short")
			short = nil
		}
		p := w.b.ReadN(1000)
		require.NotEmpty(t, p)
		before += len(p)
		w.a.Write(p)
		n.rest()
		answered = strings.Contains(n.journal.take(), "answered short")
	}
	require.Less(t, before, (busy+1)*(MaxBody+HeaderLen)+1000)
	n.run()
	require.Equal(t, busy, strings.Count(n.journal.take(), "answered 2097152 bytes"))
	require.Zero(t, n.ins[0].Streams())
}

// What comes of a stream that the edge has given up is for nobody, also when its place has
// a new one.
func TestFramesOfAnOldGenerationAreDropped(t *testing.T) {
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	s := out.Arrive([]byte("old"), nil, true, n.reply("old"))
	n.run()
	old := n.home.last
	old.answer("late")
	n.rest()
	out.Lost(s, false)
	out.streams.free, out.streams.rests = append(out.streams.free, uint16(placeOf(s)-1)), 0 // at once, without a rest
	next := out.Arrive([]byte("new"), nil, true, n.reply("new"))
	require.Equal(t, placeOf(s), placeOf(next))
	require.NotEqual(t, s, next)
	n.run()
	require.NotContains(t, n.journal.take(), "late")
	n.home.last.answer("right")
	n.run()
	require.Equal(t, "new answered right", n.journal.take())
}

func TestHomeDropsTheRestOfALostAnswer(t *testing.T) {
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	s := out.Arrive([]byte("a"), nil, true, n.reply("a"))
	n.run()
	n.wires[0].b.SetWindow(3 * MaxBody)
	b := pool.Frames.Get(1 << 20)
	b.Append(pattern(1 << 20))
	n.home.last.back.Answer(b)
	b.Release()
	n.rest()
	n.wires[0].pass()
	n.rest()
	require.Positive(t, out.options.Gathered.Size())
	out.Lost(s, false)
	require.Zero(t, out.options.Gathered.Size())
	n.run()
	require.Zero(t, n.ins[0].Streams())
	require.Zero(t, n.ins[0].line.length)
	require.NotContains(t, n.journal.take(), "answered")
}

// The largest answer goes when all that are gathered take too much.
func TestLargestOfTooMuchGatheredFails(t *testing.T) {
	n := newMesh(t, 2)
	gathered := &Gathered{Limit: 1 << 20}
	out := n.out(0, OutOptions{Gathered: gathered})
	for _, name := range []string{"small", "large", "other"} {
		out.Arrive([]byte(name), nil, true, n.reply(name))
	}
	n.run()
	n.journal.take()
	for name, size := range map[string]int{"small": 400_000, "large": 2_000_000, "other": 100_000} {
		b := pool.Frames.Get(size)
		b.Append(pattern(size))
		n.home.guests[name].back.Answer(b)
		b.Release()
	}
	n.run()
	require.Equal(t, []string{"large failed", "other answered 100000 bytes", "small answered 400000 bytes"}, sorted(n.journal.take()))
	require.Zero(t, gathered.Size())
	require.Zero(t, n.ins[0].Streams(), "the home was told that the stream is lost")
}

// Every stream fails when the link ends, and the home is told of each: in portions, since
// each costs something.
func TestEachStreamFailsWhenTheLinkEnds(t *testing.T) {
	const many = 3 * portion
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	var streams []uint32
	for i := range many {
		streams = append(streams, out.Arrive([]byte{byte(i), byte(i >> 8), 'x'}, nil, true, n.reply("r")))
	}
	n.run()
	n.journal.take()
	n.wires[0].a.Reset()
	n.wires[0].b.Reset()
	n.world.Turn() // the end is seen
	n.world.Turn()
	for _, s := range streams[many-10:] {
		out.Lost(s, false) // those are not told
	}
	n.run()
	lines := n.journal.take()
	require.Equal(t, many-10, strings.Count(lines, "r failed"))
	require.Equal(t, many, strings.Count(lines, "lost false"))
	require.Zero(t, out.Streams())
	require.Zero(t, n.ins[0].Streams())
	require.Contains(t, lines, "event 2")
	require.NotZero(t, out.Arrive([]byte("next"), nil, true, n.reply("next")))
	n.advance(time.Second)
	require.Contains(t, n.journal.take(), "next arrived", "the next request dials")
}

// A Back that the home kept after Guest.Lost reaches no other request.
func TestLateAnswerReachesNobody(t *testing.T) {
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	s := out.Arrive([]byte("lost"), nil, true, n.reply("lost"))
	n.run()
	kept := n.home.last
	out.Lost(s, false)
	n.run()
	for range 3 {
		out.Arrive([]byte("other"), nil, true, n.reply("other"))
	}
	n.run()
	n.journal.take()
	kept.answer("secret")
	kept.back.Abort()
	n.run()
	require.Empty(t, n.journal.take())
}

func TestStreamsHaveALimit(t *testing.T) {
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	out.Dial()
	n.run()
	r := n.reply("r")
	seen := map[uint32]bool{}
	for range MaxStreams {
		s := out.Arrive([]byte("a"), nil, true, r)
		require.NotZero(t, s)
		require.False(t, seen[s])
		seen[s] = true
		if len(seen)%4096 == 0 {
			n.run()
		}
	}
	require.Zero(t, out.Arrive([]byte("a"), nil, true, r))
	n.run()
	require.Equal(t, MaxStreams, n.ins[0].Streams())
	for s := range seen {
		out.Lost(s, false)
		break
	}
	s := out.Arrive([]byte("a"), nil, true, r)
	require.NotZero(t, s, "the place of the one that was lost is used without its rest")
	require.False(t, seen[s])
	n.run()
	require.Equal(t, MaxStreams, n.ins[0].Streams())
}

// A lost place rests, so that its generations do not come round at once.
func TestLostPlacesRest(t *testing.T) {
	var table streams
	r := &fakeReply{}
	seen := map[uint32]int{}
	for i := range 300_000 {
		s := table.take(r)
		if last, again := seen[s]; again {
			require.Greater(t, i-last, 200_000)
		}
		seen[s] = i
		table.end(s, true)
	}
	require.LessOrEqual(t, table.used, restingStreams+1)
	answered := table.take(r)
	table.end(answered, false)
	require.Equal(t, placeOf(answered), placeOf(table.take(r)), "a place that was answered is warm")
}

func TestBothEndsNoticeSilence(t *testing.T) {
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	out.Arrive([]byte("poll"), nil, true, n.reply("poll"))
	n.advance(time.Minute)
	require.Equal(t, "event 1, poll arrived, poll has body ", n.journal.take(), "pings keep the link alive")
	require.Less(t, n.wires[0].aToB, 60*(8+HeaderLen)+300, "not more than two pings or answers every two seconds")
	n.wires[0].stalled = true
	n.advance(deadAfter - time.Second)
	require.Empty(t, n.journal.take())
	n.advance(time.Second + pingAfter)
	require.Equal(t, []string{"event 2", "poll failed", "poll lost false"}, sorted(n.journal.take()))
	require.Equal(t, Absent, out.State())
}

// A process that was stopped finds the link as it left it.
func TestStoppedProcessIsNotSilence(t *testing.T) {
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	out.Arrive([]byte("poll"), nil, true, n.reply("poll"))
	n.advance(time.Second)
	n.journal.take()
	n.world.Jump(time.Hour)
	n.advance(time.Second)
	require.Empty(t, n.journal.take())
	require.Equal(t, Up, out.State())
}

func TestFramesDoNotAllocate(t *testing.T) {
	if invariants.Enabled {
		t.Skip("buffers are quarantined")
	}
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{Counts: new(Counts)})
	r := new(quietReply)
	home := new(quietHome)
	n.door.up = quietDoor(home)
	cycle := func(size int) {
		head, body := []byte("a head of a request, of the usual length or so"), make([]byte, size)
		for range 3 { // until buffers have their sizes
			round(n, out, head, body, r)
		}
		require.Zero(t, testing.AllocsPerRun(200, func() { round(n, out, head, body, r) }), "%d bytes", size)
	}
	cycle(0)
	cycle(100)
	cycle(5000)
	require.Zero(t, out.Streams())
	require.Positive(t, home.bodies)
}

func round(n *mesh, out *Out, head, body []byte, r Reply) {
	out.Arrive(head, body, true, r)
	n.run()
}

func TestHandoverKeepsNotes(t *testing.T) {
	n := newMesh(t, 2)
	n.refuse = true
	out := n.out(0, OutOptions{})
	out.Note([]byte("first"))
	n.advance(5 * time.Second)
	n.refuse = false
	out.Note([]byte("second"))
	n.advance(2 * time.Second)
	require.Regexp(t, `^(event 3, )+event 1, note first, note second$`, n.journal.take())

	n.refuse = true
	n.cut()
	out.Note([]byte("third"))
	n.advance(noteWait + time.Second)
	n.refuse = false
	n.advance(time.Minute)
	require.NotContains(t, n.journal.take(), "third", "a note waits 10 seconds at most")
}
