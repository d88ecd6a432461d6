package packet

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func openExample() OpenData {
	return OpenData{
		SID:          "AjxCl0Vo0Iw2NKLoAAAA",
		Upgrades:     []string{"websocket"},
		PingInterval: 25 * time.Second,
		PingTimeout:  20 * time.Second,
		MaxPayload:   1000000,
	}
}

func TestAppendOpen(t *testing.T) {
	const want = `{"sid":"AjxCl0Vo0Iw2NKLoAAAA","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	o := openExample()
	p := Packet{Type: Open, Data: AppendOpen(nil, o)}
	require.Equal(t, want, string(p.Data))
	// The sizes in the protocol text.
	require.Len(t, Revision4.AppendPayload(nil, []Packet{p}, false), 118)
	require.Equal(t, "118:0"+want, string(Revision3.AppendPayload(nil, []Packet{p}, false)))

	o.Upgrades = nil
	data := AppendOpen([]byte("0"), o)
	require.Len(t, data, 107)
	require.Equal(t, `0{"sid":"AjxCl0Vo0Iw2NKLoAAAA","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`, string(data))

	o.Upgrades = []string{"websocket", "webtransport"}
	o.PingInterval, o.PingTimeout = 300*time.Millisecond+999*time.Microsecond, 0
	require.Equal(t, `{"sid":"AjxCl0Vo0Iw2NKLoAAAA","upgrades":["websocket","webtransport"],"pingInterval":300,"pingTimeout":0,"maxPayload":1000000}`,
		string(AppendOpen(nil, o)))
}

func TestOpenEscapes(t *testing.T) {
	for _, c := range []struct{ sid, want string }{
		{`a"b\c`, `"a\"b\\c"`},
		{"\b\f\n\r\t", `"\b\f\n\r\t"`},
		{"\x00\x01\x1f", `"\u0000\u0001\u001f"`},
		{"\x7f<>&/'", "\"\x7f<>&/'\""},
		{"é€😀\u2028", "\"é€😀\u2028\""},
		{"a\xffb", "\"a\ufffdb\""},
		{"", `""`},
	} {
		got := appendJSONString(nil, c.sid)
		require.Equal(t, c.want, string(got))
		require.True(t, json.Valid(got))
	}
}

func TestOpenRoundTrip(t *testing.T) {
	for _, sid := range []string{"x", `quo"te`, "\\\n\x01", "€😀", "__proto__"} {
		o := openExample()
		o.SID = sid
		for _, upgrades := range [][]string{{}, {"websocket"}, {"websocket", "webtransport"}} {
			o.Upgrades = upgrades
			got, err := ParseOpen(AppendOpen(nil, o))
			require.NoError(t, err)
			require.Equal(t, o, got)
		}
	}
}

func TestParseOpen(t *testing.T) {
	// As servers of the first generations wrote it.
	o, err := ParseOpen([]byte(`{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":5000}`))
	require.NoError(t, err)
	require.Equal(t, OpenData{SID: "a", Upgrades: []string{}, PingInterval: 25 * time.Second, PingTimeout: 5 * time.Second}, o)

	_, err = ParseOpen([]byte(` { "future": [1], "sid" : "a" } `))
	require.NoError(t, err)

	for _, in := range []string{
		``, `{`, `[]`, `"a"`, `{}`, `{"sid":""}`, `{"sid":1}`, `{"sid":"a"}x`,
		`{"sid":"a","upgrades":"websocket"}`,
		`{"sid":"a","pingInterval":-1}`,
		`{"sid":"a","pingInterval":1.5}`,
		`{"sid":"a","pingInterval":9223372036855}`,
		`{"sid":"a","pingInterval":99999999999999999999}`,
		`{"sid":"a","pingTimeout":-1}`,
		`{"sid":"a","pingTimeout":9223372036855}`,
		`{"sid":"a","maxPayload":-1}`,
	} {
		got, err := ParseOpen([]byte(in))
		require.ErrorIs(t, err, ErrMalformed, in)
		require.Equal(t, OpenData{}, got)
	}
}
