package packet

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// Whatever is appended reads back, has the size that was announced, and no
// packet costs more than was said.
func TestRoundTrip(t *testing.T) {
	for _, r := range []Revision{Revision3, Revision4} {
		for _, base64 := range []bool{false, true} {
			random := rand.New(rand.NewPCG(uint64(r), 5))
			for range 500 {
				roundTrip(t, r, randomPackets(random, r), base64)
			}
		}
	}
}

func roundTrip(t *testing.T, r Revision, ps []Packet, base64 bool) {
	t.Helper()
	before := show(ps)
	cost := 0
	for _, p := range ps {
		cost += r.PayloadCost(p, base64)
		frame, binary := r.AppendFrame(nil, p, base64)
		require.Equal(t, p.Binary && !base64, binary)
		got, err := r.Decode(frame, binary)
		require.NoError(t, err, "rev %d: %q", r, frame)
		require.Equal(t, show([]Packet{p}), show([]Packet{got}))
	}
	payload := r.AppendPayload([]byte("before"), ps, base64)
	require.Equal(t, "before", string(payload[:6]))
	payload = payload[6:]
	require.Len(t, payload, r.PayloadSize(ps, base64), "rev %d: %q", r, payload)
	require.LessOrEqual(t, len(payload), cost)
	got, err := readAll(stepFor(r, ps, base64), payload)
	require.NoError(t, err, "rev %d: %q", r, payload)
	require.Equal(t, before, show(got), "rev %d: %q", r, payload)
	require.Equal(t, before, show(ps), "an encoder wrote to what it borrowed")
}

// A payload that is cut anywhere yields the packets in front of the cut, and
// never more than the whole.
func TestCut(t *testing.T) {
	for _, r := range []Revision{Revision3, Revision4} {
		for _, base64 := range []bool{false, true} {
			random := rand.New(rand.NewPCG(uint64(r), 6))
			for range 25 {
				ps := randomPackets(random, r)
				payload := r.AppendPayload(nil, ps, base64)
				whole := show(ps)
				for i := range payload {
					got, err := readAll(stepFor(r, ps, base64), payload[:i])
					shown := show(got)
					require.LessOrEqual(t, len(got), len(ps))
					switch torn := !r.BinaryPayload(ps, base64) && !utf8.Valid(payload[:i]); {
					case err != nil:
					case r == Revision4, torn:
						// No length tells that the last packet is shorter, and a
						// torn code point counts as the one it was.
						shown = shown[:len(shown)-1]
					default:
						require.Less(t, len(got), len(ps), "%q", payload[:i])
					}
					require.Equal(t, whole[:len(shown)], shown, "%q", payload[:i])
				}
			}
		}
	}
}

// A frame has no inner lengths: each prefix is refused or a shorter packet.
func TestCutFrame(t *testing.T) {
	for _, r := range []Revision{Revision3, Revision4} {
		for _, frame := range []string{"4€😀", "bAQIDBA==", "b4AQIDBA==", "2probe", "\x04\x01\x02"} {
			for i := range len(frame) {
				for _, binary := range []bool{false, true} {
					p, err := r.Decode([]byte(frame[:i]), binary)
					if err != nil {
						require.ErrorIs(t, err, ErrMalformed)
					}
					require.LessOrEqual(t, len(p.Data), i)
				}
			}
		}
	}
}

// naiveNext3 splits a revision 3 text payload the way the protocol describes
// it: in code units, without regard to cost. It is nil for a split pair.
func naiveNext3(payload string) (texts []string, ok bool) {
	units := utf16.Encode([]rune(payload))
	for len(units) > 0 {
		colon := 0
		for colon < len(units) && units[colon] != ':' {
			colon++
		}
		length := string(utf16.Decode(units[:colon]))
		n, err := strconv.ParseUint(length, 10, 31)
		if colon == len(units) || len(length) > maxDigits || err != nil || int(n) > len(units)-colon-1 {
			return texts, false
		}
		units = units[colon+1:]
		if n == 0 {
			continue
		}
		text := units[:n]
		if last := text[n-1]; utf16.IsSurrogate(rune(last)) && last < 0xdc00 {
			return texts, false
		}
		texts, units = append(texts, string(utf16.Decode(text))), units[n:]
	}
	return texts, len(payload) > 0
}

// checkNext3 holds Next against the naive splitter.
func checkNext3(t *testing.T, payload string) {
	t.Helper()
	texts, ok := naiveNext3(strings.ToValidUTF8(payload, ""))
	want := []Packet{}
	for _, text := range texts {
		p, err := Revision3.Decode([]byte(text), false)
		if err != nil {
			ok = false
			break
		}
		want = append(want, p)
	}
	if ok && len(want) == 0 {
		want = append(want, Packet{Type: Noop})
	}
	got, err := readAll(Revision3.Next, []byte(payload))
	require.Equal(t, show(want), show(got), "%q", payload)
	require.Equal(t, ok, err == nil, "%q", payload)
}

func TestNextAgainstNaive(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for range 4000 {
		payload := Revision3.AppendPayload(nil, randomPackets(random, Revision3), true)
		for range random.IntN(3) { // damage it, but keep it UTF-8
			i := random.IntN(len(payload))
			if payload[i] < 0x80 {
				payload[i] = "0123456789:b4x"[random.IntN(14)]
			}
		}
		checkNext3(t, string(payload))
	}
}

// The same for revision 4, whose splitter is in the standard library.
func checkNext4(t *testing.T, payload []byte) {
	t.Helper()
	want, ok := []Packet{}, true
	for _, text := range bytes.Split(payload, []byte{separator}) {
		p, err := Revision4.Decode(bytes.Clone(text), false)
		if err != nil {
			ok = false
			break
		}
		if !p.Binary {
			p.Data = appendReplaced(nil, p.Data)
		}
		want = append(want, p)
	}
	got, err := readAll(Revision4.Next, payload)
	require.Equal(t, show(want), show(got), "%q", payload)
	require.Equal(t, ok, err == nil, "%q", payload)
}

func TestNextAgainstSplit(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	for range 2000 {
		payload := Revision4.AppendPayload(nil, randomPackets(random, Revision4), false)
		for range random.IntN(3) {
			payload[random.IntN(len(payload))] = "\x1eb47\xff"[random.IntN(5)]
		}
		checkNext4(t, payload)
	}
}
