package load

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseResponse(t *testing.T) {
	for _, c := range []struct {
		in, body string
		status   int
		close    bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", 200, false},
		{"HTTP/1.1 200 OK\r\ncontent-length:2\r\nCONNECTION: Close\r\n\r\nok", "ok", 200, true},
		{"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", 200, true},
		{"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", "ok", 200, false},
		{"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "", 400, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", "ok", 200, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", "0123456789", 200, false},
		{"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "", 204, false},
		{"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n", "", 101, false},
	} {
		for cut := range len(c.in) {
			_, _, err := parseResponse([]byte(c.in[:cut]), false)
			require.Equal(t, errIncomplete, err, "%q cut at %d", c.in, cut)
		}
		res, n, err := parseResponse([]byte(c.in+"HTTP/1.1 "), false)
		require.NoError(t, err, c.in)
		require.Equal(t, len(c.in), n, c.in)
		require.Equal(t, c.body, string(res.body), c.in)
		require.Equal(t, c.status, res.status, c.in)
		require.Equal(t, c.close, res.close, c.in)
	}
}

func TestParseResponseUntilEOF(t *testing.T) {
	const in = "HTTP/1.1 200 OK\r\n\r\nok"
	_, _, err := parseResponse([]byte(in), false)
	require.Equal(t, errIncomplete, err)
	res, n, err := parseResponse([]byte(in), true)
	require.NoError(t, err)
	require.Equal(t, len(in), n)
	require.Equal(t, "ok", string(res.body))
	require.True(t, res.close)
}

func TestParseResponseFaults(t *testing.T) {
	for _, in := range []string{
		"HELO\r\n\r\n",
		"HTTP/1.1 20x OK\r\n\r\n",
		"HTTP/1.1 099 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 12345678901\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
		string(bytes.Repeat([]byte("x"), maxHead+1)),
	} {
		_, _, err := parseResponse([]byte(in), false)
		require.Error(t, err, in)
		require.NotEqual(t, errIncomplete, err, in)
	}
}
