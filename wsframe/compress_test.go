package wsframe

import (
	"bytes"
	stdflate "compress/flate"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"turbine/internal/invariants"
	"turbine/pool"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/stretchr/testify/require"
)

// jsonText is about n bytes of JSON, as a chat or a ticker sends it.
func jsonText(n int) []byte {
	random := rand.New(rand.NewPCG(3, 4))
	p := []byte("[")
	for len(p) < n {
		p = fmt.Appendf(p, `{"id":%d,"user":"user-%d","price":%.2f,"note":"the quick brown fox"},`, random.IntN(1e6), random.IntN(99), random.Float64()*100)
	}
	return append(p[:n-1], ']')
}

func randomBytes(n int) []byte {
	random := rand.New(rand.NewPCG(5, uint64(n)))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(random.Uint32())
	}
	return p
}

// messages are payloads around the borders of the compressor and the window.
func messages() (all [][]byte) {
	for _, n := range []int{0, 1, 2, 12, 13, 32, 33, 127, 128, 1023, 1024, 10_000, 32767, 32768, 32769, 65535, 65536, 200_000, 900_000} {
		all = append(all, jsonText(max(n, 1))[:n], randomBytes(n), make([]byte, n))
	}
	return all
}

// std deflates with the standard library, as one message of a connection that
// keeps its context.
type std struct {
	buf bytes.Buffer
	w   *stdflate.Writer
}

func newStd(level int) *std {
	s := new(std)
	s.w, _ = stdflate.NewWriter(&s.buf, level)
	return s
}

func (s *std) compress(p []byte) []byte {
	s.buf.Reset()
	s.w.Write(p)
	s.w.Flush()
	return bytes.Clone(bytes.TrimSuffix(s.buf.Bytes(), []byte(syncMarker)))
}

func stdCompress(p []byte) []byte { return newStd(6).compress(p) }

// stdDecompress inflates messages one behind the other, with a kept context.
type stdReader struct {
	in bytes.Buffer
	r  io.Reader
}

func (s *stdReader) decompress(t *testing.T, p []byte, length int) []byte {
	s.in.Write(p)
	s.in.WriteString(syncMarker)
	if s.r == nil {
		s.r = stdflate.NewReader(&s.in)
	}
	out := make([]byte, length)
	_, err := io.ReadFull(s.r, out)
	require.NoError(t, err)
	return out
}

func requireFault(t *testing.T, want *CloseError, p []byte, err error) {
	t.Helper()
	require.Equal(t, error(want), err)
	require.Nil(t, p)
}

func TestCompressRoundTrip(t *testing.T) {
	var c Compressor
	var d Decompressor
	defer d.Done()
	for i, p := range messages() {
		z := c.Compress([]byte("before"), p)
		require.Equal(t, "before", string(z[:6]))
		z = z[6:]
		require.LessOrEqual(t, len(z), len(p)+5*(2+len(p)>>16), "message %d", i)

		got, err := d.Decompress(z, 0)
		require.NoError(t, err, "message %d", i)
		require.True(t, bytes.Equal(p, got), "message %d", i)

		// Ours to others.
		require.True(t, bytes.Equal(p, new(stdReader).decompress(t, z, len(p))), "message %d", i)
		f := ws.NewFrame(ws.OpBinary, true, z)
		f.Header.Rsv = ws.Rsv(true, false, false)
		f, err = wsflate.DecompressFrame(f)
		require.NoError(t, err)
		require.True(t, bytes.Equal(p, f.Payload), "message %d", i)

		// Theirs to us.
		for _, level := range []int{stdflate.HuffmanOnly, 0, 1, 9} {
			got, err = d.Decompress(newStd(level).compress(p), 0)
			require.NoError(t, err, "message %d", i)
			require.True(t, bytes.Equal(p, got), "message %d", i)
		}
		f, err = wsflate.CompressFrame(ws.NewFrame(ws.OpBinary, true, p))
		require.NoError(t, err)
		got, err = d.Decompress(f.Payload, 0)
		require.NoError(t, err, "message %d", i)
		require.True(t, bytes.Equal(p, got), "message %d", i)
	}
	require.Equal(t, "\x00", string(c.Compress(nil, nil)), "RFC 7692, 7.2.3.6")
}

// The examples of RFC 7692, 7.2.3, and what else a message may look like.
func TestDecompressForms(t *testing.T) {
	hello := "f348cdc9c90700" // with BFINAL
	for _, c := range []struct {
		name, in string
		want     string
		err      *CloseError
	}{
		{"one block", "f248cdc9c90700", "Hello", nil},
		{"stored", "000500faff48656c6c6f00", "Hello", nil},
		{"BFINAL", "f348cdc9c9070000", "Hello", nil},
		{"two blocks", "f248050000 00ffffcac9c90700", "Hello", nil},
		{"empty", "00", "", nil},
		{"empty fixed block", "0200", "", nil},
		{"BFINAL and nothing behind", hello, "Hello", nil},
		{"BFINAL stored, its lengths are the marker", "01", "", nil},
		{"BFINAL, another stream", hello + "f248cdc9c90700", "HelloHello", nil},
		{"BFINAL, it goes on with the window", hello + "f200110000", "HelloHello", nil},
		{"BFINAL 100 times", strings.Repeat(hello, 100) + "00", strings.Repeat("Hello", 100), nil},
		{"BFINAL and empty, 1000 times", strings.Repeat("0300", 1000) + "00", "", nil},
		{"BFINAL and empty, 1100 times", strings.Repeat("0300", 1100) + "00", "", ErrManyBlocks},

		{"no bytes", "", "", errDeflate},
		{"reserved block", "07", "", errDeflate},
		{"stored with wrong lengths", "000500faee48656c6c6f00", "", errDeflate},
		{"stored cut off", "000500faff4865", "", errDeflate},
		{"refers to before the message", "f200110000", "", errDeflate},
		{"all ones", "ffffffffffffffff", "", errDeflate},
		{"the marker left on", "f248cdc9c907000000ffff", "", errDeflate},
	} {
		in, err := hex.DecodeString(strings.ReplaceAll(c.in, " ", ""))
		require.NoError(t, err)
		var d Decompressor
		defer d.Done()
		// What another connection sent is out of reach.
		_, err = d.Decompress(stdCompress(randomBytes(40_000)), 0)
		require.NoError(t, err)
		got, err := d.Decompress(in, 0)
		if c.err != nil {
			requireFault(t, c.err, got, err)
			continue
		}
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, string(got), c.name)
	}
	require.Equal(t, ws.StatusInvalidFramePayloadData, errDeflate.Code)
}

func TestDecompressLimit(t *testing.T) {
	var d Decompressor
	defer d.Done()
	for _, n := range []int{1, 100, 32768, 32769, 100_000} {
		for _, p := range [][]byte{make([]byte, n), jsonText(n), randomBytes(n)} {
			z := stdCompress(p)
			got, err := d.Decompress(z, n)
			require.NoError(t, err)
			require.True(t, bytes.Equal(p, got))
			require.LessOrEqual(t, cap(got), n)
			if n > 1 {
				got, err = d.Decompress(z, n-1)
				requireFault(t, ErrTooBig, got, err)
			}
		}
	}
	z := stdCompress(make([]byte, DefaultMessage+1))
	got, err := d.Decompress(z, 0)
	requireFault(t, ErrTooBig, got, err)
	_, err = d.Decompress(z, DefaultMessage+1)
	require.NoError(t, err)
}

// allocated is the number of bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// 10 MB in 10 KB cost no more than the limit allows.
func TestDecompressBomb(t *testing.T) {
	const limit = 1 << 20
	var d Decompressor
	defer d.Done()
	_, err := d.Decompress([]byte{0}, limit)
	require.NoError(t, err)
	z := stdCompress(make([]byte, 10<<20))
	require.Less(t, len(z), 11<<10)
	w := NewTakeover(DeflateParams{Accepted: true, ClientTakeover: true})
	defer w.Release()
	for name, decompress := range map[string]func() ([]byte, error){
		"no takeover": func() ([]byte, error) { return d.Decompress(z, limit) },
		"takeover":    func() ([]byte, error) { return w.Decompress(&d, z, limit) },
	} {
		var got []byte
		var err error
		// All of the doubling together, of which one step is alive at a time.
		require.Less(t, allocated(func() { got, err = decompress() }), uint64(2*limit+64<<10), name)
		requireFault(t, ErrTooBig, got, err)
		require.LessOrEqual(t, cap(d.inflater.out), maxInflated, "kept")
	}
	require.Less(t, allocated(func() { d.Decompress(z, 4<<10) }), uint64(16<<10), "a small limit")
}

func TestDecompressorKeepsLittle(t *testing.T) {
	var d Decompressor
	defer d.Done()
	d.Done()
	got, err := d.Decompress(stdCompress(make([]byte, 500_000)), 0)
	require.NoError(t, err)
	require.Len(t, got, 500_000)
	d.Done()
	d.Done()
	require.LessOrEqual(t, cap(d.inflater.out), maxInflated)
	require.Nil(t, d.inflater.in)
	got, err = d.Decompress(stdCompress([]byte("again")), 0)
	require.NoError(t, err)
	require.Equal(t, "again", string(got))
	if invariants.Enabled {
		d.Done()
		require.Equal(t, "\xdb\xdb\xdb\xdb\xdb", string(got), "a late reader sees poison")
	}
}

// Whatever is cut off or turned around: an error or an answer within the limit.
func TestDecompressDamaged(t *testing.T) {
	var c Compressor
	var d Decompressor
	defer d.Done()
	text := jsonText(2000)
	for _, z := range [][]byte{c.Compress(nil, text), stdCompress(text), stdCompress(randomBytes(300)), newStd(stdflate.HuffmanOnly).compress(text)} {
		faults := 0
		try := func(p []byte) {
			got, err := d.Decompress(p, 3000)
			if err != nil {
				faults++
				require.IsType(t, &CloseError{}, err)
				require.Nil(t, got)
			}
			require.LessOrEqual(t, len(got), 3000)
		}
		for i := range z[:len(z)-1] {
			try(z[:i])
		}
		require.GreaterOrEqual(t, faults, len(z)*9/10, "cut off")
		for i := range z {
			for bit := range 8 {
				damaged := bytes.Clone(z)
				damaged[i] ^= 1 << bit
				try(damaged)
			}
		}
		got, err := d.Decompress(z, 0)
		require.NoError(t, err, "the inflater recovers")
		require.NotEmpty(t, got)
	}
	for n := range 300 {
		if got, err := d.Decompress(randomBytes(n), 3000); err != nil {
			require.IsType(t, &CloseError{}, err)
			require.Nil(t, got)
		}
	}
}

func TestCheckText(t *testing.T) {
	require.NoError(t, CheckText([]byte("κόσμε")))
	require.NoError(t, CheckText(nil))
	require.Equal(t, error(errText), CheckText([]byte("\xce")))
}

// A compressed message on its way: in fragments, cut anywhere, with a ping
// between, then inflated.
func TestReaderCompressed(t *testing.T) {
	givesBack(t)
	limits := Limits{Compressed: true}
	text := jsonText(700)
	z := string(stdCompress(text))
	const cont = ws.OpContinuation
	fault := func(reason string) error { return &CloseError{ws.StatusProtocolError, reason} }
	rsvFault := fault("RSV bit without extension")
	rsv := func(bits byte, in string) string { return string([]byte{in[0] | bits}) + in[1:] }
	for _, c := range []struct {
		name, in string
		want     []string
		err      error
	}{
		{"whole", marked(ws.OpText, true, z), []string{"1 z " + z}, ErrIncomplete},
		{"binary", marked(ws.OpBinary, true, z), []string{"2 z " + z}, ErrIncomplete},
		{"without", frame(ws.OpText, true, "x") + marked(ws.OpText, true, z) + frame(ws.OpBinary, true, "y"), []string{"1 x", "1 z " + z, "2 y"}, ErrIncomplete},
		{"two fragments", marked(ws.OpText, false, z[:99]) + frame(cont, true, z[99:]), []string{"1 z " + z}, ErrIncomplete},
		{"empty first fragment", marked(ws.OpText, false, "") + frame(cont, true, z), []string{"1 z " + z}, ErrIncomplete},
		{"the next is not", marked(ws.OpText, false, "\xff") + frame(cont, true, "\xfe") + frame(ws.OpText, false, "a") + frame(cont, true, "b"), []string{"1 z \xff\xfe", "1 ab"}, ErrIncomplete},
		{"ping between", marked(ws.OpText, false, z[:9]) + frame(ws.OpPing, true, "p") + frame(cont, false, "") + frame(ws.OpPong, true, "q") + frame(cont, true, z[9:]), []string{"9 p", "10 q", "1 z " + z}, ErrIncomplete},
		{"text is still checked", marked(ws.OpText, true, "\xff") + frame(ws.OpText, true, "\xff"), []string{"1 z \xff"}, errText},
		{"text is still checked in fragments", marked(ws.OpText, false, "\xff") + frame(cont, true, "") + frame(ws.OpText, false, "\xff"), []string{"1 z \xff"}, errText},

		{"on a continuation", marked(ws.OpText, false, "x") + marked(cont, true, "y"), nil, rsvFault},
		{"only on a continuation", frame(ws.OpText, false, "x") + marked(cont, true, "y"), nil, rsvFault},
		{"on a ping", marked(ws.OpPing, true, "x"), nil, rsvFault},
		{"on a pong in a message", marked(ws.OpText, false, "x") + marked(ws.OpPong, true, ""), nil, rsvFault},
		{"on a close", marked(ws.OpClose, true, ""), nil, rsvFault},
		{"rsv2", rsv(0x20, frame(ws.OpText, true, "x")), nil, rsvFault},
		{"rsv3", rsv(0x10, frame(ws.OpText, true, "x")), nil, rsvFault},
		{"rsv1 and rsv2", rsv(0x20, marked(ws.OpText, true, "x")), nil, rsvFault},
		{"all three", rsv(0x30, marked(ws.OpBinary, true, "x")), nil, rsvFault},
		{"reserved opcode", marked(3, true, "x"), nil, fault("reserved opcode")},
		{"in a message", marked(ws.OpText, false, "x") + marked(ws.OpText, true, "x"), nil, fault("continuation expected")},
		{"unmasked", "\xc1\x00", nil, fault("frame not masked")},
	} {
		for i := range len(c.in) + 1 {
			got, err := feed([][]byte{[]byte(c.in[:i]), []byte(c.in[i:])}, limits)
			require.Equal(t, c.want, got, "%s cut at %d", c.name, i)
			require.Equal(t, c.err, err, "%s cut at %d", c.name, i)
		}
		got, err := feed(bytewise(c.in), limits)
		require.Equal(t, c.want, got, "%s byte by byte", c.name)
		require.Equal(t, c.err, err, "%s byte by byte", c.name)

		if strings.Contains(c.in[:1], "\xc1") { // not negotiated
			got, err = feed([][]byte{[]byte(c.in)}, Limits{})
			require.Empty(t, got, c.name)
			require.Equal(t, rsvFault, err, c.name)
		}
	}

	var r Reader
	var d Decompressor
	defer d.Done()
	defer r.Release()
	for i := range len(z) + 1 {
		stream := []byte(marked(ws.OpText, false, z[:i]) + frame(ws.OpPing, true, "") + frame(cont, true, z[i:]))
		m, rest, err := r.Next(stream, limits)
		require.NoError(t, err)
		require.Equal(t, ws.OpPing, m.OpCode)
		m, _, err = r.Next(rest, limits)
		require.NoError(t, err)
		require.True(t, m.Compressed)
		got, err := d.Decompress(m.Payload, 0)
		require.NoError(t, err)
		require.NoError(t, CheckText(got))
		require.Equal(t, string(text), string(got))
	}

	p := []byte(marked(ws.OpText, true, z))
	m, _, err := r.Next(p, limits)
	require.NoError(t, err)
	require.Same(t, &p[len(p)-len(z)], &m.Payload[0], "a whole message is a slice of p")
	_, err = feed([][]byte{[]byte(marked(ws.OpText, true, z))}, Limits{Message: len(z) - 1, Compressed: true})
	require.Equal(t, ErrTooBig, err)
}

// A whole frame, as the engine makes it.
func TestCompressIntoBuf(t *testing.T) {
	givesBack(t)
	var c Compressor
	text := jsonText(5000)
	b := pool.Frames.Get(2000)
	defer b.Release()
	b.SetTail(c.Compress(b.Tail(), text))
	PutCompressedHeader(b, ws.OpText)
	whole := bytes.NewReader(b.Bytes())
	header, err := ws.ReadHeader(whole)
	require.NoError(t, err)
	require.EqualValues(t, whole.Len(), header.Length)
	f := ws.Frame{Header: header, Payload: b.Bytes()[len(b.Bytes())-whole.Len():]}
	require.True(t, f.Header.Rsv1())
	f, err = wsflate.DecompressFrame(f)
	require.NoError(t, err)
	require.Equal(t, string(text), string(f.Payload))
}

func TestCompressionDoesNotAllocate(t *testing.T) {
	text := jsonText(10_000)
	var c Compressor
	var d Decompressor
	defer d.Done()
	z := c.Compress(nil, text)
	dst := make([]byte, 0, len(text))
	noAllocs(t, "Compress", false, func() { c.Compress(dst, text) })
	noAllocs(t, "Decompress", invariants.Enabled, func() {
		if _, err := d.Decompress(z, 0); err != nil {
			panic(err)
		}
	})
	w := NewTakeover(DeflateParams{Accepted: true, ServerTakeover: true, ClientTakeover: true})
	defer w.Release()
	noAllocs(t, "Takeover.Compress", false, func() { w.Compress(dst, text) })
	noAllocs(t, "Takeover.Decompress", invariants.Enabled, func() {
		if _, err := w.Decompress(&d, z, 0); err != nil {
			panic(err)
		}
	})
}

func FuzzDecompress(f *testing.F) {
	for _, p := range [][]byte{nil, []byte("Hello"), jsonText(500), make([]byte, 5000), randomBytes(100)} {
		f.Add(stdCompress(p), uint16(400))
		f.Add(new(Compressor).Compress(nil, p), uint16(10_000))
	}
	f.Add([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00"), uint16(10))
	f.Fuzz(func(t *testing.T, in []byte, limit uint16) {
		limit = max(limit, 1)
		before := string(in)
		var d Decompressor
		defer d.Done()
		got, err := d.Decompress(in, int(limit))
		require.Equal(t, before, string(in), "written to")
		if err != nil {
			require.IsType(t, &CloseError{}, err)
			require.Nil(t, got)
		}
		require.LessOrEqual(t, cap(got), int(limit))
		got = bytes.Clone(got)

		// The same with an empty window, and the same again with the window kept.
		w := NewTakeover(DeflateParams{Accepted: true, ClientTakeover: true})
		defer w.Release()
		again, err2 := w.Decompress(&d, in, int(limit))
		require.Equal(t, err, err2)
		require.True(t, bytes.Equal(got, again))
		if err != nil {
			return
		}
		// What is valid without a window is so with one.
		again, err = w.Decompress(&d, in, int(limit))
		require.NoError(t, err)
		require.True(t, bytes.Equal(got, again))

		// The standard library reads it the same, when no stream ends within.
		r := stdflate.NewReader(strings.NewReader(before + messageEnd))
		theirs, err := io.ReadAll(io.LimitReader(r, 1<<16))
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(got, theirs))
		// And back.
		var c Compressor
		back, err := d.Decompress(c.Compress(nil, got), int(limit))
		require.NoError(t, err)
		require.True(t, bytes.Equal(got, back))
	})
}

func BenchmarkDeflate(b *testing.B) {
	for _, n := range []int{1 << 10, 10 << 10} {
		// Different messages, more than the window holds: or takeover would
		// only find its own message again.
		corpus := jsonText(100 * n)
		var c Compressor
		var d Decompressor
		defer d.Done()
		w := NewTakeover(DeflateParams{Accepted: true, ServerTakeover: true, ClientTakeover: true})
		dst := make([]byte, 0, n+100)
		var texts, packed [][]byte
		for i := range 100 {
			texts = append(texts, corpus[i*n:(i+1)*n])
			packed = append(packed, c.Compress(nil, texts[i]))
		}
		for _, bench := range []struct {
			name string
			f    func(i int) int
		}{
			{"Compress", func(i int) int { return len(c.Compress(dst, texts[i])) }},
			{"Decompress", func(i int) int { d.Decompress(packed[i], 0); return len(packed[i]) }},
			{"Takeover.Compress", func(i int) int { return len(w.Compress(dst, texts[i])) }},
			{"Takeover.Decompress", func(i int) int { w.Decompress(&d, packed[i], 0); return len(packed[i]) }},
		} {
			b.Run(fmt.Sprintf("%s/%dKB", bench.name, n>>10), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n))
				i, size := 0, 0
				for b.Loop() {
					size += bench.f(i % 100)
					i++
				}
				b.ReportMetric(float64(n)*float64(i)/float64(size), "ratio")
			})
		}
		w.Release()
	}
}
