package engine

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"turbine/internal/race"

	"github.com/stretchr/testify/require"
)

func TestEncodingNegotiation(t *testing.T) {
	for _, c := range []struct {
		in   string
		want contentEncoding
	}{
		{"gzip, deflate", encodingGzip},
		{"gzip, deflate, br, zstd", encodingGzip},
		{"deflate", encodingDeflate},
		{"deflate, gzip", encodingDeflate},
		{"br, deflate, gzip", encodingDeflate},
		{"GZIP", encodingGzip},
		{"Deflate", encodingDeflate},
		{"*", encodingGzip},
		{"br, *", encodingGzip},
		{"identity, gzip;q=0.1", encodingGzip},

		{"", encodingNone},
		{"br", encodingNone},
		{"identity", encodingNone},
		{"identity;q=1, *;q=0", encodingNone},
		{"gzip;q=0, deflate;q=0", encodingNone},
		{"x-gzip, gzipp, gzi, gzip deflate", encodingNone},
		{",;,=,;q=,;;", encodingNone},

		{"gzip;q=0.5, deflate;q=0.6", encodingDeflate},
		{"deflate;q=0.5, gzip;q=0.501", encodingGzip},
		{"gzip;q=0.5, deflate", encodingDeflate},
		{"gzip;q=0, deflate;q=0.001", encodingDeflate},
		{"gzip;q=0, *", encodingDeflate},
		{"gzip;q=0.000, *;q=0.1", encodingDeflate},
		{"*;q=0, deflate", encodingDeflate},
		{"*;q=0.5, deflate;q=0.4", encodingGzip},
		{"*, deflate", encodingDeflate}, // the named one goes first
		{"deflate;q=0.9, *", encodingGzip},
		{"*;q=0.1, *;q=0", encodingGzip},
		{"gzip;q=0.1, deflate;q=0.2, gzip;q=0.3", encodingGzip},
		{"gzip;q=0.3, deflate;q=0.2, gzip;q=0.1", encodingGzip},
		{"gzip, deflate, gzip", encodingDeflate}, // of equal ones the last counts

		{"  deflate\t;  q = 1.000 ,gzip ; q=0.999 ", encodingDeflate},
		{`gzip;q="0.2", deflate;q="0.3"`, encodingDeflate},
		{"gzip;level=9;q=0.2, deflate;Q=0.3;x", encodingDeflate},
		{"gzip;level=9", encodingGzip},
		{"gzip;", encodingGzip},
		{"gzip;q=0.12345, deflate;q=0.12399999999999999999999", encodingGzip}, // three digits count
		{"gzip;q=1.9, deflate", encodingGzip},
		{"gzip;q=1.", encodingGzip},

		{"gzip;q", encodingNone},
		{"gzip;q=", encodingNone},
		{"gzip;q=x", encodingNone},
		{"gzip;q=2", encodingNone},
		{"gzip;q=-1", encodingNone},
		{"gzip;q=0.5x", encodingNone},
		{"gzip;q=.5", encodingNone},
		{"gzip;q=nan", encodingNone},
		{"gzip;q=1e9", encodingNone},
		{"\x00gzip\xff, \"gzip\"", encodingNone},
	} {
		require.Equal(t, c.want, negotiateEncoding([]byte(c.in)), "%q", c.in)
		for cut := range len(c.in) {
			negotiateEncoding([]byte(c.in[:cut]))
		}
	}
}

func TestEncodingNegotiationAllocs(t *testing.T) {
	field := []byte("gzip;q=0.5, deflate; q=\"0.501\", br, *;q=0")
	require.Zero(t, testing.AllocsPerRun(100, func() { negotiateEncoding(field) }))
}

func TestEncodingString(t *testing.T) {
	for enc, want := range map[contentEncoding]string{encodingNone: "identity", encodingGzip: "gzip", encodingDeflate: "deflate"} {
		require.Equal(t, want, enc.String())
	}
}

func decode(t *testing.T, enc contentEncoding, p []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(p)
	var err error
	switch enc {
	case encodingGzip:
		r, err = gzip.NewReader(r)
	case encodingDeflate:
		r, err = zlib.NewReader(r)
	default:
	}
	require.NoError(t, err)
	out, err := io.ReadAll(r)
	require.NoError(t, err)
	return out
}

// What is encoded is read by the standard library, in any order, at any level,
// and depends on nothing before.
func TestEncodingRoundTrip(t *testing.T) {
	noise := make([]byte, 200_000)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	bodies := [][]byte{nil, []byte("6"), []byte(strings.Repeat("4hello\x1e", 200)), noise, make([]byte, 1<<18)}
	for _, level := range []int{-1, 0, 1, 2, 6, 7, 9, 10} {
		if race.Enabled && level > 1 { // one goroutine, and much to compress
			continue
		}
		e := &encoder{level: level}
		for range 2 {
			for _, enc := range []contentEncoding{encodingGzip, encodingDeflate, encodingNone} {
				for _, body := range bodies {
					out := e.encode(enc, []byte("head"), body)
					require.Equal(t, "head", string(out[:4]))
					require.True(t, bytes.Equal(body, decode(t, enc, out[4:])), "%v of %d bytes", enc, len(body))
					require.LessOrEqual(t, len(out)-4, len(body)+64+len(body)/1000)
					require.Equal(t, out, (&encoder{level: level}).encode(enc, []byte("head"), body))
					require.Nil(t, e.out.p)
				}
			}
		}
	}
}

func TestEncodingAllocs(t *testing.T) {
	e, body, dst := &encoder{}, []byte(strings.Repeat("4hello\x1e", 200)), make([]byte, 0, 4096)
	for _, enc := range []contentEncoding{encodingGzip, encodingDeflate} {
		require.Zero(t, testing.AllocsPerRun(100, func() { dst = e.encode(enc, dst[:0], body) }))
	}
}

func BenchmarkEncoding(b *testing.B) {
	body := []byte(strings.Repeat(`42["message",{"id":1234567,"text":"hello there"}]`+"\x1e", 41))
	for _, level := range []int{1, 6} {
		b.Run(string(rune('0'+level)), func(b *testing.B) {
			e, dst := &encoder{level: level}, make([]byte, 0, 4096)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				dst = e.encode(encodingGzip, dst[:0], body)
			}
		})
	}
}
