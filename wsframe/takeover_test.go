package wsframe

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"turbine/internal/invariants"
	"turbine/internal/race"

	"github.com/stretchr/testify/require"
)

var bothTakeover = DeflateParams{Accepted: true, ServerTakeover: true, ClientTakeover: true}

// 100 messages each way, of all sizes, with the standard library and with
// itself; two connections share the inflater of the loop.
func TestTakeover(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	corpus := append(jsonText(100_000), randomBytes(50_000)...)
	var d Decompressor
	defer d.Done()
	type connection struct {
		server, mirror *Takeover
		client         *std
		reader         stdReader
	}
	var connections [2]connection
	for i := range connections {
		connections[i] = connection{server: NewTakeover(bothTakeover), mirror: NewTakeover(bothTakeover), client: newStd(6)}
	}
	for i := range 100 {
		for j := range connections {
			k := &connections[j]
			n := random.IntN([]int{1, 40, 300, 5000, 70_000}[random.IntN(5)])
			at := random.IntN(len(corpus) - n)
			p := corpus[at : at+n]

			// To the client.
			z := k.server.Compress(nil, p)
			require.True(t, bytes.Equal(p, k.reader.decompress(t, z, n)), "message %d", i)
			got, err := k.mirror.Decompress(&d, z, 0)
			require.NoError(t, err, "message %d", i)
			require.True(t, bytes.Equal(p, got), "message %d", i)

			// From the client.
			z = k.client.compress(p)
			got, err = k.server.Decompress(&d, z, 0)
			require.NoError(t, err, "message %d", i)
			require.True(t, bytes.Equal(p, got), "message %d", i)
			require.LessOrEqual(t, cap(k.server.window.bytes), windowSize)
		}
	}
	for i := range connections {
		connections[i].server.Release()
		connections[i].server.Release()
		connections[i].mirror.Release()
	}
}

// RFC 7692, 7.2.3.2: the second Hello is a reference to the first.
func TestTakeoverSharesWindow(t *testing.T) {
	var d Decompressor
	defer d.Done()
	w := NewTakeover(bothTakeover)
	defer w.Release()
	for _, c := range []struct{ in, want string }{
		{"\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		{"\xf2\x00\x11\x00\x00", "Hello"},
		{"\xf3\x00\x11\x00\xf2\x00\x11\x00\x00", "HelloHello"}, // two streams
		{"\xf2\x00\x11\x00\x00", "Hello"},
	} {
		got, err := w.Decompress(&d, []byte(c.in), 0)
		require.NoError(t, err, "%x", c.in)
		require.Equal(t, c.want, string(got), "%x", c.in)
	}
	// Another connection of the loop does not see it.
	other := NewTakeover(bothTakeover)
	defer other.Release()
	got, err := other.Decompress(&d, []byte("\xf2\x00\x11\x00\x00"), 0)
	requireFault(t, errDeflate, got, err)
	// Nor one that came without takeover for this direction.
	server := NewTakeover(DeflateParams{Accepted: true, ServerTakeover: true})
	defer server.Release()
	_, err = server.Decompress(&d, []byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), 0)
	require.NoError(t, err)
	got, err = server.Decompress(&d, []byte("\xf2\x00\x11\x00\x00"), 0)
	requireFault(t, errDeflate, got, err)
	require.Nil(t, server.window.bytes)
}

// A compressor that came back from a connection knows nothing of it.
func TestTakeoverRelease(t *testing.T) {
	text := jsonText(3000)
	var first []byte
	for i := range 5 {
		w := NewTakeover(bothTakeover)
		z := w.Compress(nil, text)
		require.Less(t, 2*len(w.Compress(nil, text)), len(z), "the second refers to the first")
		w.Release()
		if i == 0 {
			first = z
		}
		require.Equal(t, first, z)
	}
}

// What the comments and the options promise.
func TestTakeoverPrice(t *testing.T) {
	if race.Enabled || invariants.Enabled {
		t.Skip("allocations differ")
	}
	var d Decompressor
	defer d.Done()
	z := stdCompress(jsonText(3000))
	d.Decompress(z, 0)
	var w *Takeover
	require.Less(t, allocated(func() { w = NewTakeover(bothTakeover) }), uint64(256), "until the first message")
	require.Less(t, allocated(func() { w.Decompress(&d, z, 0) }), uint64(33<<10))
	price := allocated(func() {
		f := newDeflater(maxBits)
		f.reset()
		f.append(nil, []byte("x"))
	})
	require.Greater(t, price, uint64(600<<10))
	require.Less(t, price, uint64(900<<10))
	price = allocated(func() {
		f := newDeflater(minBits)
		f.reset()
		f.append(nil, []byte("x"))
	})
	require.Greater(t, price, uint64(700<<10))
	require.Less(t, price, uint64(1200<<10))
}

func TestTakeoverMisuse(t *testing.T) {
	if !invariants.Enabled {
		t.Skip("needs the tag invariants")
	}
	require.Panics(t, func() { NewTakeover(DeflateParams{}) })
	require.Panics(t, func() { NewTakeover(DeflateParams{Accepted: true}) })
	w := NewTakeover(DeflateParams{Accepted: true, ClientTakeover: true})
	require.Panics(t, func() { w.Compress(nil, []byte("x")) })
}

func TestWindow(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	source := randomBytes(400_000)
	var w window
	w.slide(nil)
	require.Nil(t, w.bytes)
	for at := 0; at < len(source)-80_000; {
		n := random.IntN([]int{2, 1000, 32769, 80_000}[random.IntN(4)])
		w.slide(source[at : at+n])
		at += n
		require.True(t, bytes.Equal(source[max(0, at-windowSize):at], w.bytes), fmt.Sprint(at))
	}
	require.Equal(t, windowSize, cap(w.bytes))
}
