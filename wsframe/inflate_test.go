package wsframe

import (
	"bytes"
	stdflate "compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"turbine/internal/race"

	"github.com/klauspost/compress/flate"
	"github.com/stretchr/testify/require"
)

// bitString writes bits, the lowest of each byte first (RFC 1951, 3.1.1).
type bitString struct {
	bytes []byte
	count int
}

func (b *bitString) add(value, count int) {
	for i := range count {
		if b.count%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.count/8] |= byte(value>>i&1) << (b.count % 8)
		b.count++
	}
}

// stored adds a block that is not compressed.
func (b *bitString) stored(p string) {
	b.add(0, 3)
	b.count = 8 * len(b.bytes)
	b.add(len(p), 16)
	b.add(len(p)^0xffff, 16)
	for _, c := range []byte(p) {
		b.add(int(c), 8)
	}
}

// fixed adds a block with codes that need no tables, and nothing in it.
func (b *bitString) fixed() { b.add(2, 3+7) }

// dynamic adds a block with tables for two codes, of the letter a and of the
// end, that has the letter n times.
func (b *bitString) dynamic(n int) {
	b.add(4, 3)
	b.add(0, 5)  // 257 literals
	b.add(0, 5)  // 1 distance
	b.add(14, 4) // 18 lengths of codes: one bit for 18, two for 0 and 1
	for _, symbol := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1} {
		b.add(map[int]int{18: 1, 0: 2, 1: 2}[symbol], 3)
	}
	zeros := func(n int) { b.add((n-11)<<1, 8) }
	zeros('a')
	b.add(0b11, 2) // 1, the letter
	zeros(138)
	zeros(256 - 138 - 'a' - 1)
	b.add(0b11, 2) // 1, the end
	b.add(0b01, 2) // 0, the distance
	b.add(0, n)
	b.add(1, 1)
}

// encoders make messages as senders do, at all levels, with a flush in the middle
// every so many bytes.
func encoders(t *testing.T) map[string]func(p []byte, flushEvery int) []byte {
	all := map[string]func(p []byte, flushEvery int) []byte{}
	type writer interface {
		io.Writer
		Flush() error
	}
	add := func(name string, create func(io.Writer) (writer, error)) {
		all[name] = func(p []byte, flushEvery int) []byte {
			var b bytes.Buffer
			w, err := create(&b)
			require.NoError(t, err)
			for len(p) > flushEvery {
				w.Write(p[:flushEvery])
				require.NoError(t, w.Flush())
				p = p[flushEvery:]
			}
			w.Write(p)
			require.NoError(t, w.Flush())
			return bytes.TrimSuffix(b.Bytes(), []byte(syncMarker))
		}
	}
	for level := stdflate.HuffmanOnly; level <= 9; level++ {
		if race.Enabled && level > 1 { // each has 0.8 MB to clear
			break
		}
		add(fmt.Sprint("compress/flate ", level), func(b io.Writer) (writer, error) { return stdflate.NewWriter(b, level) })
	}
	for level := -2; level <= 9; level++ {
		if race.Enabled && level > 1 {
			break
		}
		add(fmt.Sprint("klauspost ", level), func(b io.Writer) (writer, error) { return flate.NewWriter(b, level) })
	}
	return all
}

// What legitimate senders make is taken, at all levels, however often they flush.
func TestInflateTakesSenders(t *testing.T) {
	var d Decompressor
	defer d.Done()
	contents := map[string][]byte{
		"JSON":   jsonText(40_000),
		"random": randomBytes(40_000),
		"zeros":  make([]byte, 40_000),
		"two":    bytes.Repeat([]byte("ab"), 10_000),
		"empty":  {},
	}
	random := rand.New(rand.NewPCG(11, 12))
	few := make([]byte, 40_000)
	for i := range few {
		few[i] = "ab "[random.IntN(3)]
	}
	contents["few symbols"] = few
	for name, encode := range encoders(t) {
		for kind, p := range contents {
			for _, every := range []int{1, 15, 100, 1000, 1 << 30} {
				p := p[:min(len(p), 1000*min(every, len(p)))]
				got, err := d.Decompress(encode(p, every), 0)
				require.NoError(t, err, "%s, %s, a flush every %d", name, kind, every)
				require.True(t, bytes.Equal(p, got), "%s, %s, a flush every %d", name, kind, every)
			}
		}
	}
}

// Blocks that hold little or nothing are refused after a small part of the
// message, so no message costs out of proportion to what it has or yields.
func TestInflateRefusesIdleBlocks(t *testing.T) {
	const size = 1_000_000 // bytes of each message
	for _, c := range []struct {
		name string
		add  func(b *bitString)
		read int // bytes at most
		err  *CloseError
	}{
		{"tables and nothing", func(b *bitString) { b.dynamic(0) }, 850, ErrManyBlocks},
		{"tables and one letter", func(b *bitString) { b.dynamic(1) }, 1_000, ErrManyBlocks},
		{"tables and 7 letters", func(b *bitString) { b.dynamic(7) }, 7_000, ErrManyBlocks},
		{"tables and 8 letters", func(b *bitString) { b.dynamic(8) }, size, nil},
		{"nothing stored", func(b *bitString) { b.stored("") }, 6_000, ErrManyBlocks},
		{"fixed codes and nothing", func(b *bitString) { b.fixed() }, 2_000, ErrManyBlocks},
		{"one letter, three times nothing", func(b *bitString) { b.stored("a"); b.stored(""); b.fixed(); b.stored("") }, 14_000, ErrManyBlocks},
		{"one letter and a flush", func(b *bitString) { b.stored("a"); b.stored("") }, size, nil},
		{"stored letters", func(b *bitString) { b.stored("ab") }, size, nil},
	} {
		var b bitString
		for len(b.bytes) < size {
			c.add(&b)
		}
		b.stored("b")
		b.add(0, 8)
		f := inflater{limit: 16 << 20}
		defer f.drop()
		err := f.message(b.bytes, nil)
		if c.err == nil {
			require.NoError(t, err, c.name)
			continue
		}
		require.Equal(t, error(c.err), err, c.name)
		require.LessOrEqual(t, f.at, c.read, c.name)
		f.out = f.out[:0]
		require.NoError(t, f.message(stdCompress([]byte("a")), nil), "%s: the next message begins anew", c.name)
	}
}

// byLibrary inflates p with the standard library, stream by stream.
func byLibrary(p []byte, limit int) (out []byte, ok bool) {
	in := bytes.NewReader(append(bytes.Clone(p), messageEnd...))
	for {
		r := stdflate.NewReaderDict(in, out[max(0, len(out)-windowSize):])
		more, err := io.ReadAll(io.LimitReader(r, int64(limit+1-len(out))))
		out = append(out, more...)
		if err != nil || len(out) > limit {
			return nil, false
		}
		if in.Len() <= len(messageEnd) {
			return out, true
		}
	}
}

func requireAsLibrary(t *testing.T, d *Decompressor, in []byte, limit int) (ok bool) {
	t.Helper()
	got, err := d.Decompress(in, limit)
	if err == error(ErrManyBlocks) {
		return false
	}
	want, ok := byLibrary(in, limit)
	require.Equal(t, ok, err == nil, "%x: %v", in, err)
	require.True(t, bytes.Equal(want, got), "%x", in)
	return ok
}

// What is inflated or refused is what the standard library inflates or refuses.
func FuzzInflateAgainstLibrary(f *testing.F) {
	for _, p := range [][]byte{nil, []byte("Hello"), jsonText(500), make([]byte, 5000), randomBytes(100)} {
		for _, level := range []int{stdflate.HuffmanOnly, 0, 1, 9} {
			f.Add(newStd(level).compress(p))
		}
	}
	f.Add([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00"))
	var b bitString
	b.dynamic(3)
	b.fixed()
	b.stored("xyz")
	b.dynamic(0)
	f.Add(b.bytes)
	var d Decompressor
	defer d.Done()
	f.Fuzz(func(t *testing.T, in []byte) { requireAsLibrary(t, &d, in, 100_000) })
}

// The same for messages that were damaged, of which most are refused, and some
// are not.
func TestInflateDamagedAsLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 14))
	var d Decompressor
	defer d.Done()
	var seeds [][]byte
	for _, n := range []int{0, 40, 1000} {
		for _, encode := range encoders(t) {
			seeds = append(seeds, encode(jsonText(n+1), 1<<30), encode(randomBytes(n), 1<<30), encode(jsonText(n+1), n/3+1))
		}
	}
	taken, tries := 0, 0
	for _, seed := range seeds {
		require.True(t, requireAsLibrary(t, &d, seed, 100_000))
		for range 30 {
			in := bytes.Clone(seed)
			for range 1 + random.IntN(3) {
				in[random.IntN(min(len(in), 1+random.IntN(100)))] ^= 1 << random.IntN(8)
			}
			in = in[:len(in)-random.IntN(2)*random.IntN(len(in))]
			tries++
			if requireAsLibrary(t, &d, in, 100_000) {
				taken++
			}
		}
	}
	require.Greater(t, taken, tries/50)
	require.Less(t, taken, tries*9/10)
}

func BenchmarkInflate(b *testing.B) {
	var idle bitString
	for len(idle.bytes) < 10_000 {
		idle.dynamic(0)
	}
	idle.stored("a")
	paid := bitString{}
	for len(paid.bytes) < 100_000 {
		paid.dynamic(33)
	}
	paid.add(0, 8)
	for _, c := range []struct {
		name string
		in   []byte
	}{
		{"small", stdCompress([]byte("4abc"))},
		{"JSON 1 KB", stdCompress(jsonText(1 << 10))},
		{"JSON 10 KB", stdCompress(jsonText(10 << 10))},
		{"JSON 500 KB", stdCompress(jsonText(500 << 10))},
		{"random", stdCompress(randomBytes(10 << 10))},
		{"bomb", stdCompress(make([]byte, 500_000))},
		{"idle blocks", idle.bytes},
		{"blocks of 33", paid.bytes},
	} {
		b.Run(c.name, func(b *testing.B) {
			var d Decompressor
			defer d.Done()
			b.ReportAllocs()
			for b.Loop() {
				d.Decompress(c.in, 0)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(c.in)), "ns/B-in")
		})
	}
}

// A step does a bounded piece of the work, whatever the message consists of, and
// all steps together make the message.
func TestInflateInSteps(t *testing.T) {
	const size = 900_000
	blocks := func(add func(b *bitString)) []byte {
		var b bitString
		for len(b.bytes) < size {
			add(&b)
		}
		b.add(2, 3+7)
		return b.bytes
	}
	for _, c := range []struct {
		name  string
		in    []byte
		steps int // at least
	}{
		{"zeros", stdCompress(make([]byte, size)), size / (16 << 10)},
		{"JSON", stdCompress(jsonText(size)), size / (16 << 10)},
		{"one Huffman code", newStd(stdflate.HuffmanOnly).compress(jsonText(size)), size / (16 << 10)},
		{"stored", newStd(stdflate.NoCompression).compress(randomBytes(size)), size / (80 << 10)},
		{"tables and 8 letters", blocks(func(b *bitString) { b.dynamic(8) }), 900},
		{"a letter and a flush", blocks(func(b *bitString) { b.stored("a"); b.stored("") }), 300},
		{"a few bytes", stdCompress([]byte("4abc")), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, ok := byLibrary(c.in, 16<<20)
			require.True(t, ok)
			f := inflater{limit: 16 << 20}
			defer f.drop()
			f.begin(c.in, nil)
			steps := 0
			for done := false; !done; steps++ {
				length, debt := len(f.out), f.debt
				var err error
				done, err = f.step()
				require.NoError(t, err)
				require.LessOrEqual(t, len(f.out)-length, stepWork+1<<16, "bytes of a step")
				require.LessOrEqual(t, f.debt-debt, tableDebt*(stepWork/tableWork+1), "blocks of a step")
			}
			require.GreaterOrEqual(t, steps, c.steps)
			require.True(t, bytes.Equal(want, f.out))
		})
	}
}

// A message that was begun waits while another is inflated by another
// Decompressor, and both clients keep their context.
func TestInflateTakesTurns(t *testing.T) {
	var a, b Decompressor
	defer a.Done()
	defer b.Done()
	var clients [2]*std
	var takeovers [2]*Takeover
	for i := range clients {
		clients[i] = newStd(6)
		takeovers[i] = NewTakeover(DeflateParams{Accepted: true, ClientTakeover: true})
		defer takeovers[i].Release()
	}
	for round := range 5 {
		var texts, packed [2][]byte
		for i := range clients {
			texts[i] = append(jsonText(40_000), byte('0'+round), byte('a'+i))
			packed[i] = clients[i].compress(texts[i])
		}
		takeovers[0].Begin(&a, packed[0], 0)
		takeovers[1].Begin(&b, packed[1], 0)
		var got [2][]byte
		for done := [2]bool{}; !done[0] || !done[1]; {
			for i, d := range []*Decompressor{&a, &b} {
				if done[i] {
					continue
				}
				var err error
				got[i], done[i], err = d.Step()
				require.NoError(t, err)
				if !done[i] {
					moved := bytes.Clone(packed[i])
					clear(packed[i])
					packed[i] = moved
					d.Moved(moved)
				}
			}
		}
		for i := range texts {
			require.True(t, bytes.Equal(texts[i], got[i]), "client %d, message %d", i, round)
		}
	}
}
