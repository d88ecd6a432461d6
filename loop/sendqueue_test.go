package loop

import (
	"errors"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// queued makes a connection whose kernel takes room bytes.
func queued(t *testing.T, room int) (*Loop, *fakeKernel, *Conn) {
	t.Helper()
	before := pool.Outstanding()
	var now time.Duration
	l, k := newFake(&now, tick)
	c := open(l, 3)
	k.room = room
	t.Cleanup(func() {
		l.Close()
		require.Equal(t, before, pool.Outstanding(), "buffers not released")
	})
	return l, k, c
}

func share(c *Conn, p string) {
	b := pool.Frames.Get(len(p))
	b.Append([]byte(p))
	c.WriteBuf(b)
	b.Release()
}

func TestSmallWritesAreCorked(t *testing.T) {
	l, k, c := queued(t, 1<<20)
	for range 1000 {
		c.Write([]byte("hello "))
	}
	share(c, "a shared one")
	c.Write([]byte(" and more"))
	require.Zero(t, k.calls)
	require.Equal(t, 6021, c.Unsent())
	l.leave()
	require.Equal(t, 1, k.calls)
	require.Equal(t, strings.Repeat("hello ", 1000)+"a shared one and more", string(k.sent))
	require.Zero(t, c.Unsent())
	require.Nil(t, c.out)
}

func TestLargeBuffersAreShared(t *testing.T) {
	l, k, c := queued(t, 1<<30)
	big := strings.Repeat("b", smallWrite+1)
	var want strings.Builder
	for range 200 {
		c.Write([]byte("head"))
		share(c, big)
		want.WriteString("head" + big)
	}
	require.Equal(t, 400, c.out.bufs.Len())
	l.leave()
	require.Equal(t, want.String(), string(k.sent))
	require.Equal(t, []int{64, 64, 64, 64, 64, 64, 16}, k.pieces)
}

func TestCorkIsBounded(t *testing.T) {
	_, _, c := queued(t, 0)
	for range 3 * corkSize / 1000 {
		c.Write(make([]byte, 1000))
	}
	c.Write(make([]byte, 10*corkSize)) // one piece, however large
	bufs := c.out.bufs.Front(10)
	require.LessOrEqual(t, len(bufs), 5)
	require.Equal(t, 10*corkSize, bufs[len(bufs)-1].Len())
	for _, b := range bufs[:len(bufs)-1] {
		require.LessOrEqual(t, b.Len(), corkSize)
	}
}

// Small messages behind a stopped reader take few buffers: sending them is
// linear, and each wakes nobody.
func TestBacklogOfSmallMessages(t *testing.T) {
	l, k, c := queued(t, 0)
	c.Write([]byte("plug"))
	l.leave()
	require.True(t, c.blocked)
	calls := k.calls
	for range 100_000 {
		share(c, "12345678")
		l.leave()
	}
	require.Equal(t, calls, k.calls, "a blocked connection is not tried")
	require.LessOrEqual(t, c.out.bufs.Len(), 100_000*8/corkSize+2)
	k.room = 1 << 30
	l.flush(c)
	require.Len(t, k.sent, 4+800_000)
}

func TestQueueDoesNotCreep(t *testing.T) {
	l, k, c := queued(t, 0)
	piece := strings.Repeat("p", smallWrite+1)
	for range 10 {
		share(c, piece)
	}
	l.leave()
	for range 100_000 { // never empty
		share(c, piece)
		k.room += len(piece)
		l.flush(c)
	}
	require.Equal(t, 10*len(piece), c.Unsent())
	require.LessOrEqual(t, c.out.bufs.Cap(), 4*MaxVector)
}

func TestPartialWrites(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		l, k, c := queued(t, 0)
		var want strings.Builder
		drained := 0
		c.SetHandler(&drains{&drained})
		for range 50 {
			p := strings.Repeat(string(rune('a'+random.IntN(26))), 1+random.IntN(3000))
			if random.IntN(2) == 0 {
				c.Write([]byte(p))
			} else {
				share(c, p)
			}
			want.WriteString(p)
			k.room = random.IntN(3000)
			l.leave()
			if c.blocked {
				l.flush(c)
			}
			require.Equal(t, want.Len()-len(k.sent), c.Unsent())
		}
		k.room = 1 << 30
		for range 2 {
			l.flush(c)
		}
		require.Equal(t, want.String(), string(k.sent))
		require.Positive(t, drained)
	}
}

type drains struct{ n *int }

func (drains) Data([]byte)  {}
func (d *drains) Drained()  { *d.n++ }
func (drains) EOF()         {}
func (drains) Closed(error) {}

func TestUnsentBuffersAreReleasedAtTheEnd(t *testing.T) {
	l, k, c := queued(t, 5000)
	for range 100 {
		share(c, strings.Repeat("x", 2000))
	}
	l.leave()
	require.Len(t, k.sent, 5000)
	c.Abort()
	require.Zero(t, c.Unsent())
	c.Write([]byte("nothing"))
	require.Nil(t, c.out)
}

// refusing fails every write.
type refusing struct{ *fakeKernel }

func (refusing) Write(int, []byte, bool) (int, error)    { return 0, syscall.EPIPE }
func (refusing) Writev(int, [][]byte, bool) (int, error) { return 0, syscall.EPIPE }

func TestFailingWriteEndsTheConnectionLater(t *testing.T) {
	l, k, c := queued(t, 0)
	l.kernel = refusing{k}
	var told error
	c.SetHandler(&ends{&told})
	c.Write([]byte("x"))
	l.leave()
	require.NoError(t, told)
	l.Mail()
	require.True(t, errors.Is(told, syscall.EPIPE))
}

type ends struct{ err *error }

func (ends) Data([]byte)         {}
func (ends) Drained()            {}
func (ends) EOF()                {}
func (e *ends) Closed(err error) { *e.err = err }

// Loop.Unsent counts a buffer for many once, however many connections hold it, and
// other bytes for each, whatever the kernel takes and whoever ends.
func TestUnsentCountsWhatIsForManyOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var now time.Duration
	l, k := newFake(&now, tick)
	defer l.Close()
	for range 300 {
		forMany := []*pool.Buf{pool.New(2000), pool.New(smallWrite), pool.New(100_000)}
		for _, b := range forMany {
			b.Append(make([]byte, b.Room()))
		}
		conns := []*Conn{open(l, 3), open(l, 4), open(l, 5)}
		for range 100 {
			c := conns[random.IntN(len(conns))]
			k.room = random.IntN(3000)
			switch random.IntN(4) {
			case 0:
				c.Write(make([]byte, 1+random.IntN(3000)))
			case 1:
				c.WriteBuf(forMany[random.IntN(len(forMany))])
			case 2:
				if c.blocked {
					k.room *= 50
					l.flush(c)
				}
			case 3:
				now += tick
			}
			l.leave()
			want, bytes, held := 0, 0, 0
			places := map[*pool.Buf]int{}
			for _, c := range conns {
				if c.out == nil {
					continue
				}
				for i, b := range c.out.bufs.All() {
					switch {
					case b.ForMany():
						places[b]++
						held++
						want += placeSize
					case i == 0:
						want += b.Len() - c.out.offset
					default:
						want += b.Len()
					}
				}
			}
			for b := range places {
				want += b.Len()
			}
			require.EqualValues(t, want, l.Unsent())
			require.Len(t, l.places, len(places))
			for _, c := range conns {
				n, age := c.Holds()
				bytes += n
				require.LessOrEqual(t, age, now)
			}
			require.InDelta(t, want, bytes, float64(held), "except for what does not divide")
		}
		for _, c := range conns {
			c.Abort()
		}
		require.Zero(t, l.Unsent())
		require.Empty(t, l.places)
		l.Mail()
		l.Mail()
	}
}

// What a connection holds is as old as what the kernel has refused first, and becomes
// younger by the part that it takes.
func TestHoldsBecomesYoungerWithWhatIsTaken(t *testing.T) {
	now := time.Hour
	l, k := newFake(&now, tick)
	defer l.Close()
	c := open(l, 3)
	k.room = 0
	at := func(d time.Duration) (int, time.Duration) {
		now += d
		l.now = now
		return c.Holds()
	}
	n, age := c.Holds()
	require.Zero(t, n)
	require.Zero(t, age)
	l.now = now
	c.Write(make([]byte, 1000))
	l.leave()
	n, age = at(time.Minute)
	require.Equal(t, 1000, n)
	require.Equal(t, time.Minute, age)
	k.room = 750
	l.flush(c)
	n, age = c.Holds()
	require.Equal(t, 250, n)
	require.Equal(t, time.Minute/4, age)
	c.Write(make([]byte, 750))
	_, age = at(time.Minute)
	require.Equal(t, time.Minute+time.Minute/4, age)
	k.room = 1000
	l.flush(c)
	n, age = c.Holds()
	require.Zero(t, n)
	require.Zero(t, age)
}
