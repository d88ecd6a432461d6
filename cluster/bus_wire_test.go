package cluster

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"turbine/engine"
)

var bodies = []body{
	{kind: bodyMessages, node: 1, seq: 1, messages: []engine.Message{{Data: []byte("to all")}}},
	{kind: bodyMessages, node: 1<<32 - 1, seq: 1<<64 - 1, noCompress: true, groups: []string{"a", "", "ö" + strings.Repeat("x", 300)}, except: []string{"b"},
		messages: []engine.Message{{Data: []byte("one")}, {Data: []byte{0, 0xff}, Binary: true}, {Data: []byte{}}}},
	{kind: bodyTold, node: 7, seq: 2, told: []byte("anything\x00")},
	{kind: bodyTold, node: 7, seq: 2, groups: []string{"g"}, told: []byte{}},
}

func TestBodiesAreReadAsWritten(t *testing.T) {
	for _, b := range bodies {
		got, err := parseBody(appendBody(nil, &b))
		require.NoError(t, err)
		require.Equal(t, b, got)
	}
}

func TestBodiesThatAreCutOrWrongAreErrors(t *testing.T) {
	whole := appendBody(nil, &bodies[1])
	for n := range whole {
		_, err := parseBody(whole[:n])
		require.Error(t, err, "%d bytes", n)
	}
	change := func(at int, to byte) []byte {
		p := bytes.Clone(whole)
		p[at] = to
		return p
	}
	plain := appendBody(nil, &bodies[0])
	for _, c := range []struct {
		name string
		p    []byte
		err  error
	}{
		{"a record", []byte(`{"kind":"beat"}`), errVersion},
		{"another version", change(0, 2), errVersion},
		{"a kind of a later version", change(1, 99), errVersion},
		{"a query", change(1, byte(bodyQuery)), errVersion},
		{"node 0", append([]byte{1, 1, 0, 0, 0, 0, 0}, plain[7:]...), errBody},
		{"number 0", append(bytes.Clone(plain[:7]), append(make([]byte, 8), plain[15:]...)...), errBody},
		{"more groups than bytes", change(bodyHead, 0x7f), errBody},
		{"a byte too many", append(bytes.Clone(whole), 0), errBody},
		{"no message", append(bytes.Clone(plain[:bodyHead]), 0, 0, 0), errBody},
		{"neither text nor binary", append(bytes.Clone(plain[:bodyHead]), 0, 0, 1, 2, 0), errBody},
		{"a count without an end", append(bytes.Clone(plain[:bodyHead]), bytes.Repeat([]byte{0xff}, 11)...), errBody},
	} {
		_, err := parseBody(c.p)
		require.ErrorIs(t, err, c.err, c.name)
	}
}

// Whatever comes is refused, or read as what is read again the same.
func FuzzBody(f *testing.F) {
	for _, b := range bodies {
		f.Add(appendBody(nil, &b))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := parseBody(p)
		if err != nil {
			return
		}
		again, err := parseBody(appendBody(nil, &b))
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}
