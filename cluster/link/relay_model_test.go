package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// relayModel is one relay, as both its ends know it.
type relayModel struct {
	id       uint32
	client   *looptest.Peer
	end      *relayEnd // nil until the home has it
	said     []byte    // by the client
	heard    int       // by the client, of answered
	answered []byte    // by the home
	read     int       // by the home, of said
	ended    bool      // the client has closed its direction
	closed   bool      // the home has closed
	broken   bool      // one of them has vanished
}

// Whatever a thousand steps bring, each end of a relay hears what the other one said, in
// order, and all of it where the other one ended well. Nothing is left behind.
func TestRelaysCarryEachByte(t *testing.T) {
	whole := 0
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { whole += relaySoak(t, seed, 1500) })
	}
	require.Greater(t, whole, 100, "else it shows little")
}

func relaySoak(t *testing.T, seed uint64, steps int) (whole int) {
	random := rand.New(rand.NewPCG(seed, 2)) // #nosec G404 -- a test that runs the same each time
	c := newRelayCellOn(t, loop.Options{HighWater: relayHighWater, Linger: time.Hour}, nil)
	c.stays = true
	var all []*relayModel
	meet := func() {
		for _, e := range c.homes {
			if len(e.got) < 4 {
				continue
			}
			if m := all[binary.LittleEndian.Uint32(e.got)]; m.end == nil {
				m.end = e
			}
		}
		c.homes = nil
	}
	check := func(m *relayModel) {
		p := m.client.Read()
		require.True(t, bytes.HasPrefix(m.answered[m.heard:], p), "relay %d: the client hears what nobody said", m.id)
		m.heard += len(p)
		if m.end != nil {
			require.True(t, bytes.HasPrefix(m.said[m.read:], m.end.got), "relay %d: the home hears what nobody said", m.id)
			m.read, m.end.got = m.read+len(m.end.got), m.end.got[:0]
		}
	}
	noise := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(noise)
	piece := func() []byte {
		n := 1 + random.IntN(2000)
		if random.IntN(10) == 0 {
			n = 1 + random.IntN(300_000)
		}
		at := random.IntN(len(noise) - n)
		return noise[at : at+n]
	}
	onHome := func(f func()) {
		require.NoError(t, c.world.Loops()[1].Post(loop.Func(f)))
		c.rest()
	}
	for range steps {
		if len(all) < 5 || random.IntN(30) == 0 {
			m := &relayModel{id: uint32(len(all))} // #nosec G115 -- few
			m.said = binary.LittleEndian.AppendUint32(nil, m.id)
			all = append(all, m)
			c.connect(string(m.said))
			m.client = c.client
			meet()
			continue
		}
		m := all[max(0, len(all)-1-random.IntN(8))]
		switch k := random.IntN(100); {
		case k < 30 && !m.ended && !m.broken:
			p := piece()
			m.said = append(m.said, p...)
			m.client.Write(p)
			c.rest()
		case k < 60 && m.end != nil && !m.closed && !m.broken && m.end.conn.Ready():
			p := piece()
			m.answered = append(m.answered, p...)
			onHome(func() { m.end.conn.Write(p) })
		case k < 66:
			m.client.SetWindow([]int{0, 1000, 100_000, 4 << 20}[random.IntN(4)])
		case k < 70 && m.end != nil:
			onHome(m.end.conn.Pause)
		case k < 74 && m.end != nil:
			onHome(m.end.conn.Resume)
		case k < 77 && !m.broken:
			m.ended = true
			m.client.CloseWrite()
		case k < 79 && m.end != nil && !m.broken:
			m.closed = true
			onHome(m.end.conn.Close)
		case k < 80:
			m.broken = true
			m.client.Reset()
		case k < 81 && m.end != nil:
			m.broken = true
			onHome(m.end.conn.Abort)
		case k < 90:
			c.run()
		default:
			c.advance(200 * time.Millisecond)
		}
		check(m)
	}
	// Everybody reads, and ends well.
	for range 50 {
		for _, m := range all {
			m.client.SetWindow(4 << 20)
			if m.end != nil {
				onHome(m.end.conn.Resume)
			}
			check(m)
		}
		c.run()
	}
	for _, m := range all {
		check(m)
		if m.broken { // a home ends behind its client, also where that has vanished since
			if m.end != nil {
				onHome(m.end.conn.Close)
			}
			continue
		}
		require.NotNil(t, m.end)
		require.Equal(t, len(m.answered), m.heard, "relay %d: the client has not heard all", m.id)
		if !m.closed {
			require.Equal(t, len(m.said), m.read, "relay %d: the home has not heard all", m.id)
			require.Equal(t, m.ended, m.end.ended)
		}
		whole++
		m.client.CloseWrite()
		onHome(m.end.conn.Close)
	}
	c.advance(10 * time.Second)
	require.Zero(t, c.edge.Stats().Now)
	require.Zero(t, c.edge.Conns())
	require.Zero(t, c.world.Loops()[0].Conns())
	return whole
}
