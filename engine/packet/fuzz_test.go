package packet

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func fuzzRevision(b byte) Revision {
	if b%2 == 0 {
		return Revision4
	}
	return Revision3
}

// FuzzDecode: what decodes is appended as the same packet, whatever the form.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "4", "4hi", "2probe", "b", "bAQID", "b4AQIDBA==", "b4A-_ Q\n=x", "\x04\x01\x02", "7", "4€😀\xff"} {
		for i := range byte(4) {
			f.Add(i, []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, flags byte, frame []byte) {
		r, binary := fuzzRevision(flags), flags&2 != 0
		original := bytes.Clone(frame)
		p, err := r.Decode(frame, binary)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			require.Equal(t, original, frame)
			return
		}
		require.LessOrEqual(t, len(p.Data), len(frame))
		require.LessOrEqual(t, p.Type, Noop)
		if !p.Binary {
			require.Equal(t, original, frame)
		}
		for _, base64 := range []bool{false, true} {
			again, form := r.AppendFrame(nil, p, base64)
			if !p.Binary {
				require.Equal(t, original, again)
			}
			q, err := r.Decode(again, form)
			require.NoError(t, err)
			require.Equal(t, show([]Packet{p}), show([]Packet{q}))
		}
	})
}

// FuzzNext: both splitters agree with naive ones; all text that comes out is
// valid; what comes out goes round.
func FuzzNext(f *testing.F) {
	for _, s := range []string{
		"", "0:", "4hi", "3:4hi", "4a\x1e", "\x1e4a", "4€\x1ebAQIDBA==", "2:4€10:b4AQIDBA==", "4:4€😀", "2:4😀",
		"1:01:11:21:31:41:51:6", "0:03:4hi0:", "9999999999:4", "4\xe2\x82\x1e4\xff", "3:4\xe2\x82\xff1:4",
	} {
		f.Add(byte(0), []byte(s))
		f.Add(byte(1), []byte(s))
	}
	f.Fuzz(func(t *testing.T, flags byte, payload []byte) {
		r := fuzzRevision(flags)
		if r == Revision4 {
			checkNext4(t, payload)
		} else if utf8.Valid(payload) {
			checkNext3(t, string(payload))
		} else {
			// Invalid text is cut where its replacement would be.
			checkNext3Replaced(t, payload)
		}
		got, err := readAll(r.Next, payload)
		total := 0
		for _, p := range got {
			require.True(t, p.Binary || utf8.Valid(p.Data))
			total += len(p.Data)
		}
		require.LessOrEqual(t, total, 3*len(payload))
		if err == nil {
			again, err := readAll(r.Next, r.AppendPayload(nil, got, true))
			require.NoError(t, err)
			require.Equal(t, show(got), show(again))
		}
	})
}

func checkNext3Replaced(t *testing.T, payload []byte) {
	t.Helper()
	want, wantErr := readAll(Revision3.Next, appendReplaced(nil, payload))
	got, err := readAll(Revision3.Next, payload)
	require.Equal(t, show(want), show(got), "%q", payload)
	require.Equal(t, wantErr, err, "%q", payload)
}

// FuzzNextBinary: text that comes out is valid, and what comes out goes round.
func FuzzNextBinary(f *testing.F) {
	for _, s := range []string{
		"", "00 04 ff 34 e2 82 ac 01 05 ff 04 01 02 03 04", "01 01 ff 04", "01 01 01 ff 04 00 00 00 00 00 00 00 00 00 00",
		"00 00 ff", "00 04 ff 34 e2 82 ff", "01 09 09 09 09 09 09 09 09 09 09 ff", "00 06 ff 62 34 41 51 49 44", "02 01 ff 34",
	} {
		f.Add(unhex(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := readAll(Revision3.NextBinary, payload)
		total := 0
		for _, p := range got {
			require.True(t, p.Binary || utf8.Valid(p.Data))
			total += len(p.Data) + 4 // lead, a digit, terminator, type
		}
		require.LessOrEqual(t, total, len(payload))
		if err == nil {
			again, err := readAll(stepFor(Revision3, got, false), Revision3.AppendPayload(nil, got, false))
			require.NoError(t, err)
			require.Equal(t, show(got), show(again))
		}
	})
}

// FuzzRoundTrip: data becomes packets, each from a head byte and up to 15
// bytes; they go through every form.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("\x42hi\x04"))
	f.Add([]byte("\x3c\xe2\x82\xac\x8c\x01\x02\x03\x04"))
	f.Add([]byte("\x80\x04\xf4😀é12345678901"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, r := range []Revision{Revision3, Revision4} {
			var ps []Packet
			for in := data; len(in) > 0; {
				head := in[0]
				n := min(int(head>>4), len(in)-1)
				p := Packet{Type: Type(head % 7), Binary: head&8 != 0, Data: bytes.Clone(in[1 : 1+n])}
				if p.Binary && r == Revision4 {
					p.Type = Message
				}
				if !p.Binary { // what an application has to keep to
					p.Data = bytes.ReplaceAll(appendReplaced(nil, p.Data), []byte{separator}, nil)
				}
				ps, in = append(ps, p), in[1+n:]
			}
			if len(ps) > 0 {
				roundTrip(t, r, ps, false)
				roundTrip(t, r, ps, true)
			}
		}
	})
}
