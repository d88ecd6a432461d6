package cluster

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRecordsAreSmall(t *testing.T) {
	r := saying(sayBeat, 0xffffffff)
	r.Version = "v1.22.333"
	require.Less(t, len(appendRecord(nil, r)), 400, "one a second, a node")
	r.Name, r.Path, r.Address, r.Version = strings.Repeat("n", maxName), strings.Repeat("\\", maxName), strings.Repeat("a", maxName-6)+":65535", strings.Repeat("<", maxName)
	got, err := parseRecord(appendRecord(nil, r))
	require.NoError(t, err)
	require.Equal(t, r, got)
}

func TestRecordsOfOtherVersions(t *testing.T) {
	text := string(appendRecord(nil, saying(sayBeat, 0xa)))
	got, err := parseRecord([]byte(strings.Replace(text, "{", `{"future":{"x":[1]},`, 1)))
	require.NoError(t, err)
	require.Equal(t, saying(sayBeat, 0xa), got)
}

func TestBrokenRecords(t *testing.T) {
	good := string(appendRecord(nil, saying(sayBeat, 0xa)))
	_, err := parseRecord([]byte(good))
	require.NoError(t, err)
	for _, text := range []string{"", "null", "[]", "{", `{"node":1}`, "{}", good[:len(good)-1], good + "x", "\x01", strings.Repeat("{", 5000), good + strings.Repeat(" ", maxRecord)} {
		_, err := parseRecord([]byte(text))
		require.ErrorIs(t, err, errRecord, text)
	}
	for field, values := range map[string][]any{
		"kind":    {strings.Repeat("k", 256)},
		"node":    {"", "a", "0000000A", "00000000", "0000000g", "00000000a", "+000000a"},
		"boot":    {"", strings.Repeat("0", 31), strings.Repeat("0", 34), strings.Repeat("x", 32)},
		"name":    {"a\nb", "a\x1b[0m", "a\x7f", strings.Repeat("n", 256)},
		"address": {"", "a", ":1", "a:0", "a:65536", "a:b", "a\n:1", strings.Repeat("a", 255) + ":1"},
		"state":   {"a\x00"},
		"oldest":  {-1, 256, 3},
		"options": {"", "0", strings.Repeat("z", 16)},
		"path":    {"/\r\n"},
		"loops":   {-1, 1.5, "1"},
		"version": {strings.Repeat("v", 256)},
	} {
		for _, value := range values {
			var fields map[string]any
			require.NoError(t, json.Unmarshal([]byte(good), &fields))
			fields[field] = value
			text, err := json.Marshal(fields)
			require.NoError(t, err)
			_, err = parseRecord(text)
			require.ErrorIs(t, err, errRecord, "%s: %q", field, value)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(appendRecord(nil, saying(sayHello, 0xa)))
	f.Add([]byte(`{"node":"0000000a","boot":"`))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := parseRecord(p)
		if err != nil {
			return
		}
		again, err := parseRecord(appendRecord(nil, r))
		require.NoError(t, err)
		require.Equal(t, r, again)
		v := newView(t) // and no record can do harm
		v.heard(v.at, r)
		v.done()
		v.passes(suspectAfter)
	})
}
