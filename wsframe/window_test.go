package wsframe

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// repeated is a block of that many random bytes, as often as it takes to be n
// bytes long: it compresses only for a coder that looks back that far.
func repeated(block, n int) []byte {
	return bytes.Repeat(randomBytes(block), n/block+1)[:n]
}

// No reference reaches further back than the client's window, and those that may
// be made are made.
func TestCompressForKeepsToWindow(t *testing.T) {
	var c Compressor
	var d Decompressor
	defer d.Done()
	for bits := minBits; bits <= maxBits; bits++ {
		to := DeflateParams{Accepted: true, serverBits: uint8(bits)}
		window := 1 << bits
		for _, n := range []int{window + 2, 3 * window, 200_000} {
			name := fmt.Sprintf("%d bits, %d bytes", bits, n)
			p := repeated(window+1, n)
			z := c.CompressFor(to, nil, p)
			require.GreaterOrEqual(t, len(z), n, name)
			got, err := d.Decompress(z, 0)
			require.NoError(t, err, name)
			require.True(t, bytes.Equal(p, got), name)

			p = repeated(window/2, n)
			z = c.CompressFor(to, nil, p)
			require.Less(t, len(z), window/2+n/4, name)
			require.True(t, bytes.Equal(p, new(stdReader).decompress(t, z, n)), name)
		}
	}
}

// What fits into the window is compressed once for all.
func TestCompressForSmallMessages(t *testing.T) {
	var c Compressor
	for bits := minBits; bits <= maxBits; bits++ {
		to := DeflateParams{Accepted: true, serverBits: uint8(bits)}
		p := jsonText(1 << bits)
		require.True(t, to.Fits(len(p)))
		require.Equal(t, bits == maxBits, to.Fits(len(p)+1))
		require.Equal(t, c.Compress(nil, p), c.CompressFor(to, nil, p))
	}
	require.Zero(t, c.narrow, "none was needed")
	require.True(t, DeflateParams{Accepted: true}.Fits(1<<30))
}

// Across messages, too: those that are out of the window are forgotten.
func TestTakeoverKeepsToWindow(t *testing.T) {
	for bits := minBits; bits <= maxBits; bits++ {
		params := DeflateParams{Accepted: true, ServerTakeover: true, serverBits: uint8(bits)}
		for range 2 { // the second with the compressor that the first has left
			window := 1 << bits
			w := NewTakeover(params)
			var client stdReader
			send := func(p []byte) int {
				z := w.Compress(nil, p)
				require.True(t, bytes.Equal(p, client.decompress(t, z, len(p))))
				return len(z)
			}
			near, between := randomBytes(window/2), randomBytes(window)
			require.GreaterOrEqual(t, send(near), len(near))
			require.Less(t, send(near), len(near)/2, "%d bits: still there", bits)
			send(between)
			require.GreaterOrEqual(t, send(near), len(near), "%d bits: forgotten", bits)
			w.Release()
		}
	}
}
