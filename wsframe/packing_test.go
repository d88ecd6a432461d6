package wsframe

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// What steps make is what one call makes, also while another message is under way,
// and after one that was given up.
func TestPackingIsCompress(t *testing.T) {
	random := rand.New(rand.NewPCG(21, 22))
	corpus := append(append(jsonText(300_000), randomBytes(100_000)...), make([]byte, 300_000)...)
	for _, to := range []DeflateParams{
		{Accepted: true}, {Accepted: true, serverBits: 15}, {Accepted: true, serverBits: 9}, {Accepted: true, serverBits: 12},
		{Accepted: true, ServerTakeover: true}, {Accepted: true, ServerTakeover: true, serverBits: 10},
	} {
		t.Run(fmt.Sprint(to), func(t *testing.T) {
			var c Compressor
			var whole, steps *Takeover
			if to.ServerTakeover {
				whole, steps = NewTakeover(to), NewTakeover(to)
				defer whole.Release()
				defer steps.Release()
			}
			var other Packing
			other.Begin(DeflateParams{Accepted: true}, nil, corpus)
			defer other.End()
			var k Packing
			for i := range 12 {
				n := 1 + random.IntN([]int{10, packStep, 3 * packStep, 300_000}[i%4])
				at := random.IntN(len(corpus) - n)
				p := corpus[at : at+n]
				if i%3 == 0 && !to.ServerTakeover {
					k.Begin(to, nil, corpus[:packStep+1])
					_, _ = k.Step(nil)
					k.End()
				}
				want := []byte("x")
				if to.ServerTakeover {
					want = whole.Compress(want, p)
				} else {
					want = c.CompressFor(to, want, p)
				}
				got := []byte("x")
				k.Begin(to, steps, p)
				count := 0
				for done := false; !done; count++ {
					before := len(got)
					got, done = k.Step(got)
					require.LessOrEqual(t, len(got)-before, 66<<10, "bytes of a step")
					if i%2 == 0 && len(other.rest) > 0 {
						_, _ = other.Step(nil)
					}
				}
				require.Equal(t, (n+packStep-1)/packStep+1, count, "steps of %d bytes", n)
				require.True(t, bytes.Equal(want, got), "%d bytes", n)
			}
		})
	}
}
