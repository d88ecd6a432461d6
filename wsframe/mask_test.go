package wsframe

import (
	"fmt"
	"testing"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

func TestMask(t *testing.T) {
	for length := range 150 {
		for pos := range 9 {
			got, want := make([]byte, length), make([]byte, length)
			for i := range got {
				got[i], want[i] = byte(i*7), byte(i*7)
			}
			Mask(got, key, pos)
			ws.Cipher(want, key, pos)
			require.Equal(t, want, got, "length %d, pos %d", length, pos)
			Mask(got, key, pos)
			for i := range got {
				require.Equal(t, byte(i*7), got[i], "masked twice: length %d, pos %d", length, pos)
			}
		}
	}
}

// A payload masked in two parts, cut anywhere and aligned to nothing, comes out
// as in one.
func TestMaskInParts(t *testing.T) {
	const length = 70
	for offset := range 8 {
		for cut := range length + 1 {
			whole, room := make([]byte, length), make([]byte, offset+length)
			parts := room[offset:]
			ws.Cipher(whole, key, 0)
			Mask(parts[:cut], key, 0)
			Mask(parts[cut:], key, cut)
			require.Equal(t, whole, parts, "offset %d, cut at %d", offset, cut)
		}
	}
}

func TestMaskDoesNotAllocate(t *testing.T) {
	p := make([]byte, 1000)
	noAllocs(t, "Mask", false, func() { Mask(p, key, 3) })
}

func FuzzMask(f *testing.F) {
	f.Add([]byte("hello, world: more than one word"), uint32(0xdeadbeef), 3)
	f.Fuzz(func(t *testing.T, p []byte, k uint32, pos int) {
		pos &= 1<<20 - 1
		key := [4]byte{byte(k), byte(k >> 8), byte(k >> 16), byte(k >> 24)}
		want := append([]byte(nil), p...)
		ws.Cipher(want, key, pos)
		Mask(p, key, pos)
		require.Equal(t, want, append([]byte(nil), p...))
	})
}

func BenchmarkMask(b *testing.B) {
	for _, size := range []int{16, 128, 1 << 10, 16 << 10} {
		p := make([]byte, size)
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				Mask(p, key, 1)
			}
		})
		b.Run(fmt.Sprintf("%dB/ws.Cipher", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				ws.Cipher(p, key, 1)
			}
		})
	}
}
