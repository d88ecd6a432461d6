package cluster

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var queryBodies = []queryBody{
	{node: 1, number: 1, what: askCount, group: "room:1"},
	{node: 1<<32 - 1, number: 1<<64 - 1, what: askSessions, limit: 100, group: strings.Repeat("g", 300)},
	{node: 7, number: 2, what: askOpaque, asked: []byte("anything\x00at all")},
}

var answerBodies = []answerBody{
	{node: 1, number: 1, what: askCount, value: 1 << 40},
	{node: 2, number: 3, what: askSessions},
	{node: 2, number: 3, what: askSessions, ids: []string{"0123456789abcdefABCDEF", "------________--------"}},
	{node: 2, number: 3, what: askOpaque, told: []byte{}},
	{node: 2, number: 3, what: askOpaque, told: []byte("1")},
	{node: 2, number: 3, what: askOpaque, refused: true},
}

func TestQueriesAndAnswersAreReadAsWritten(t *testing.T) {
	for _, q := range queryBodies {
		got, err := parseQuery(appendQuery(nil, &q))
		require.NoError(t, err)
		require.Equal(t, string(q.asked), string(got.asked))
		got.asked = q.asked
		require.Equal(t, q, got)
	}
	for _, a := range answerBodies {
		got, err := parseAnswer(appendAnswer(nil, &a))
		require.NoError(t, err)
		require.Equal(t, a, got)
	}
}

func TestQueriesThatAreCutOrWrongAreErrors(t *testing.T) {
	query := appendQuery(nil, &queryBody{node: 1, number: 1, what: askCount, group: "room"})
	for n := range query {
		_, err := parseQuery(query[:n])
		require.Error(t, err, "%d bytes", n)
	}
	answer := appendAnswer(nil, &answerBody{node: 1, number: 1, what: askCount, value: 9})
	for n := range answer {
		_, err := parseAnswer(answer[:n])
		require.Error(t, err, "%d bytes", n)
	}
	change := func(p []byte, at int, to byte) []byte {
		p = bytes.Clone(p)
		p[at] = to
		return p
	}
	for _, c := range []struct {
		name string
		p    []byte
	}{
		{"another version", change(query, 0, 2)},
		{"another kind", change(query, 1, byte(bodyAnswer))},
		{"node 0", change(query, 3, 0)},
		{"number 0", change(query, 7, 0)},
		{"a group longer than all", change(query, bodyHead+5, 200)},
	} {
		_, err := parseQuery(c.p)
		require.Error(t, err, c.name)
	}
	ids := appendAnswer(nil, &answerBody{node: 1, number: 1, what: askSessions, ids: []string{"0123456789abcdefABCDEF"}})
	for _, c := range []struct {
		name string
		p    []byte
	}{
		{"a byte too many", append(bytes.Clone(answer), 0)},
		{"neither refused nor not", change(answer, bodyHead+1, 2)},
		{"a refusal with a value", change(answer, bodyHead+1, 1)},
		{"an answer to an unknown question", change(answer, bodyHead, 77)},
		{"an id cut", ids[:len(ids)-1]},
		{"an id that is none", change(ids, len(ids)-1, '\n')},
		{"more ids than anybody lists", append(ids[:bodyHead+2:bodyHead+2], strings.Repeat("0123456789abcdefABCDEF", maxListed+1)...)},
	} {
		_, err := parseAnswer(c.p)
		require.Error(t, err, c.name)
	}
}

// Whatever comes is refused, or read as what is written again the same.
func FuzzQuery(f *testing.F) {
	for _, q := range queryBodies {
		f.Add(appendQuery(nil, &q))
	}
	for _, a := range answerBodies {
		f.Add(appendAnswer(nil, &a))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if q, err := parseQuery(p); err == nil {
			again, err := parseQuery(appendQuery(nil, &q))
			require.NoError(t, err)
			require.Equal(t, q, again)
		}
		if a, err := parseAnswer(p); err == nil {
			require.Equal(t, append(bytes.Clone(p[:2]), append([]byte{0}, p[3:]...)...), appendAnswer(nil, &a))
		}
	})
}
