package httpparse

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func mustParse(t testing.TB, in string) *Request {
	var r Request
	n, err := Parse([]byte(in), &r, Limits{})
	require.NoError(t, err, "%q", in)
	require.Equal(t, len(in), n, "%q", in)
	return &r
}

func TestHeader(t *testing.T) {
	r := mustParse(t, "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\nEmpty:\r\nBlank: \t \r\n\r\n")
	require.Equal(t, "1", string(r.Header("x-oNE")))
	require.Equal(t, "a", string(r.Header("HOST")))
	require.NotNil(t, r.Header("Empty"))
	require.Empty(t, r.Header("Empty"))
	require.NotNil(t, r.Header("Blank"))
	require.Empty(t, r.Header("Blank"))
	require.Nil(t, r.Header("X-On"))
	require.Nil(t, r.Header(""))
}

func TestHasBody(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: a\r\n"
	require.False(t, mustParse(t, head+"\r\n").HasBody())
	require.False(t, mustParse(t, head+"Content-Length: 0\r\n\r\n").HasBody())
	require.True(t, mustParse(t, head+"Content-Length: 1\r\n\r\n").HasBody())
	require.True(t, mustParse(t, head+"Transfer-Encoding: chunked\r\n\r\n").HasBody())
}

func TestHeadersRoomIsUsedAgain(t *testing.T) {
	r := mustParse(t, "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n")
	first := &r.Headers[0]
	_, err := Parse([]byte("POST /x?y HTTP/1.0\r\nContent-Length: 7\r\n\r\n"), r, Limits{})
	require.NoError(t, err)
	require.Same(t, first, &r.Headers[0])
	require.Len(t, r.Headers, 1)
	_, err = Parse([]byte("GET / HTTP/1.1\r\nHost: b\r\n\r\n"), r, Limits{})
	require.NoError(t, err)
	require.Equal(t, int64(-1), r.ContentLength)
	require.Nil(t, r.Query)
	require.Equal(t, 1, r.Minor)
}
