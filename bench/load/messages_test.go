package load

import (
	"testing"

	"turbine/engine/packet"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

func TestLetters(t *testing.T) {
	for _, n := range []uint32{0, 1, 15, 16, 0x12345678, 1<<32 - 1} {
		got, ok := number(letters(n))
		require.True(t, ok)
		require.Equal(t, n, got)
	}
	_, ok := number(letters(7) + 0x20<<56)
	require.False(t, ok)
}

// What is sent is, unmasked, what is expected back; and nothing else is.
func TestMessages(t *testing.T) {
	for _, size := range []int{1, 8, 15, 16, 17, 125, 126, 70_000} {
		for _, d := range []Dialect{EngineIO, Raw} {
			for _, binary := range []bool{false, true} {
				m := newMessages(size, 5, binary, d)
				frames, count := m.batch(7, 1000, 3)
				require.Equal(t, 3, count)
				for seq := uint32(1000); seq < 1003; seq++ {
					h, n, err := wsframe.ParseHeader(frames)
					require.NoError(t, err)
					require.NoError(t, wsframe.CheckHeader(h, false))
					require.NotZero(t, h.Mask)
					require.Equal(t, binary, h.OpCode == ws.OpBinary)
					p := append([]byte(nil), frames[n:n+int(h.Length)]...)
					frames = frames[n+int(h.Length):]
					wsframe.Mask(p, h.Mask, 0)
					if d == EngineIO {
						pk, err := packet.Revision4.Decode(p, binary)
						require.NoError(t, err)
						require.Equal(t, packet.Message, pk.Type)
						p = pk.Data
					}
					require.Len(t, p, size)
					require.True(t, m.is(p, binary, 7, seq))
					require.False(t, m.is(p, !binary, 7, seq))
					require.False(t, m.is(p, binary, 7, seq+1))
					require.False(t, m.is(p[:size-1], binary, 7, seq))
					if size >= stampSize {
						require.False(t, m.is(p, binary, 8, seq))
						got, ok := m.find(p, binary, 7)
						require.True(t, ok)
						require.Equal(t, seq, got)
					}
					p[size-1] ^= 1
					require.False(t, m.is(p, binary, 7, seq))
				}
				require.Empty(t, frames)
			}
		}
	}
}
