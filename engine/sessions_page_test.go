package engine

import (
	"net/netip"
	"testing"

	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// A client that fetches page by page meets each session that lasts once, however many
// others come, in places that others had, and go.
func TestSessionsFromMeetsLastingSessionsOnce(t *testing.T) {
	for _, loops := range []int{1, 3} {
		const lasting, page = 10_000, 97
		c := newCrowd(t, loops)
		c.open(2 * lasting)
		met, lasts := map[*Session]int{}, map[*Session]bool{}
		var leaving []*Session
		for i, s := range c.sessions {
			if i%2 == 0 {
				lasts[s] = true
			} else {
				leaving = append(leaving, s)
			}
		}
		for cursor, more := (Cursor{}), true; more; {
			n := 0
			more = false
			for s, behind := range c.server.SessionsFrom(cursor) {
				require.NotEqual(t, StateClosed, s.State())
				met[s]++
				cursor = behind
				if n++; n == page {
					more = true
					break
				}
			}
			if leave := min(page, len(leaving)); leave > 0 { // and one comes for each two
				for _, s := range leaving[len(leaving)-leave:] {
					s.CloseNow()
				}
				leaving = leaving[:len(leaving)-leave]
				c.open(leave / 2)
			}
			var err error
			cursor, err = ParseCursor(cursor.String())
			require.NoError(t, err)
		}
		for s, n := range met {
			require.Equal(t, 1, n)
			delete(lasts, s)
		}
		require.Empty(t, lasts)
		require.Greater(t, len(met), lasting+lasting/4, "others, too")
		c.world.Close()
	}
}

// A crowd is a server in memory with many sessions, whose clients do nothing.
type crowd struct {
	t        *testing.T
	world    *looptest.World
	server   *Server
	peers    []*looptest.Peer // one for each loop
	sessions []*Session       // all that have ever opened
}

func newCrowd(t *testing.T, loops int) *crowd {
	c := &crowd{t: t}
	var err error
	c.server, err = New(Options{Limits: Limits{Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}, Events{
		Open: func(s *Session, _ *Request) { c.sessions = append(c.sessions, s) },
	})
	require.NoError(t, err)
	c.world = looptest.NewWorld(loops, c.server.Driver().LoopOptions(), c.server.Driver().Accept)
	c.server.Driver().UseLoops(c.world.Loops())
	for i := range loops {
		c.peers = append(c.peers, c.world.DialLoop(i))
	}
	return c
}

// open opens n sessions, in turn on all loops.
func (c *crowd) open(n int) {
	before := len(c.sessions)
	for i := range n {
		c.peers[i%len(c.peers)].Write([]byte("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"))
		if i%100 == 99 || i == n-1 {
			c.world.Run()
			for _, peer := range c.peers {
				peer.Read()
			}
		}
	}
	require.Equal(c.t, before+n, len(c.sessions))
}

func TestParseCursor(t *testing.T) {
	for _, c := range []Cursor{{}, {0, 1}, {255, 0}, {255, maxSlot}, {7, 1<<32 - 1}} {
		parsed, err := ParseCursor(c.String())
		require.NoError(t, err)
		require.Equal(t, c, parsed)
	}
	for _, text := range []string{"", "-1", "+1", "00", "A", " 1", "1 ", "_", "zzzzzzzz", "zzzzzzzzzzzzzzzzzzzzzzzzzzz", "1\x00"} {
		c, err := ParseCursor(text)
		require.ErrorIs(t, err, errCursor, text)
		require.Zero(t, c)
	}
}

// A cursor of another server, or behind all sessions, meets nobody.
func TestSessionsFromElsewhere(t *testing.T) {
	b := newBench(t, 2, Options{})
	b.play(hsPolling)
	for _, c := range []Cursor{{1, maxSlot}, {2, 0}, {255, 1}} {
		for range b.server.SessionsFrom(c) {
			t.Fatal("a session")
		}
	}
	b.finish()
}
