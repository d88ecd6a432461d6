package httpparse

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAppendResponse(t *testing.T) {
	cases := []struct {
		status int
		want   string
	}{
		{101, "HTTP/1.1 101 Switching Protocols\r\n"},
		{200, "HTTP/1.1 200 OK\r\n"},
		{431, "HTTP/1.1 431 Request Header Fields Too Large\r\n"},
		{299, "HTTP/1.1 299 \r\n"},
		{999, "HTTP/1.1 999 \r\n"},
		{0, "HTTP/1.1 500 Internal Server Error\r\n"},
		{-200, "HTTP/1.1 500 Internal Server Error\r\n"},
		{1000, "HTTP/1.1 500 Internal Server Error\r\n"},
	}
	for _, c := range cases {
		require.Equal(t, c.want, string(AppendResponse(nil, c.status)))
	}
	require.Equal(t, "xHTTP/1.1 200 OK\r\n", string(AppendResponse([]byte("x"), 200)))
}

// The phrases are those the standard library knows, except two that RFC 9110
// renamed.
func TestReasons(t *testing.T) {
	renamed := map[int]string{413: "Content Too Large", 414: "URI Too Long"}
	known := 0
	for status := 100; status < 1000; status++ {
		phrase := reason(status)
		if phrase == "" {
			continue
		}
		known++
		want := http.StatusText(status)
		if name, ok := renamed[status]; ok {
			want = name
		}
		require.Equal(t, want, phrase)
	}
	require.Equal(t, 28, known)
	for _, c := range malformedHeads {
		require.NotEmpty(t, reason(c.want.Status), "an error without a phrase: %v", c.want)
	}
}

func TestAppendHeader(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"plain", "b", "A: b\r\n"},
		{"empty", "", "A: \r\n"},
		{"tab and non-ASCII stay", "b\tc\xff", "A: b\tc\xff\r\n"},
		{"no second field", "b\r\nSet-Cookie: x", "A: b  Set-Cookie: x\r\n"},
		{"no body", "b\r\n\r\n<html>", "A: b    <html>\r\n"},
		{"LF", "b\nc", "A: b c\r\n"},
		{"NUL and DEL", "\x00b\x7f", "A:  b \r\n"},
		{"far behind", "0123456789\n0123456789", "A: 0123456789 0123456789\r\n"},
	}
	for _, c := range cases {
		require.Equal(t, "x"+c.want, string(AppendHeader([]byte("x"), "A", c.in)), c.name)
		value := []byte(c.in)
		require.Equal(t, "x"+c.want, string(AppendHeaderBytes([]byte("x"), "A", value)), c.name)
		require.Equal(t, c.in, string(value), "the value is borrowed")
	}
	// Only what is appended is cleaned.
	require.Equal(t, "a\x00b\r\nA: c\r\n", string(AppendHeader([]byte("a\x00b\r\n"), "A", "c")))
	for _, n := range []int64{0, 7, -1, 1 << 62} {
		require.Equal(t, fmt.Sprintf("N: %d\r\n", n), string(AppendHeaderInt(nil, "N", n)))
	}
}

func TestAppendDate(t *testing.T) {
	at := time.Date(1994, time.November, 6, 9, 49, 37, 999, time.FixedZone("", 3600))
	require.Equal(t, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", string(AppendDate(nil, at)))
	for _, seconds := range []int64{0, 951782399, 951782400, 4102444799} {
		at := time.Unix(seconds, 0)
		require.Equal(t, "Date: "+at.UTC().Format(http.TimeFormat)+"\r\n", string(AppendDate(nil, at)))
	}
}

// What we write is what the standard library reads.
func TestResponseRoundTrip(t *testing.T) {
	at := time.Date(2025, time.March, 4, 5, 6, 7, 0, time.UTC)
	for status := 200; status < 600; status++ {
		body := []byte("0{}")
		if status == 204 || status == 304 {
			body = nil
		}
		p := AppendResponse(nil, status)
		p = AppendDate(p, at)
		p = AppendHeader(p, "Content-Type", "text/plain; charset=UTF-8")
		p = AppendHeaderBytes(p, "Access-Control-Allow-Origin", []byte("https://a.b"))
		p = AppendHeaderInt(p, "Content-Length", int64(len(body)))
		p = AppendEnd(p)
		head := len(p)
		p = append(p, body...)
		require.Equal(t, head, HeadEnd(p, 0))

		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(p)), nil)
		require.NoError(t, err, "%q", p)
		require.Equal(t, status, res.StatusCode)
		require.Equal(t, fmt.Sprintf("%d %s", status, reason(status)), res.Status)
		require.Equal(t, "HTTP/1.1", res.Proto)
		require.Equal(t, "text/plain; charset=UTF-8", res.Header.Get("Content-Type"))
		require.Equal(t, "https://a.b", res.Header.Get("Access-Control-Allow-Origin"))
		date, err := http.ParseTime(res.Header.Get("Date"))
		require.NoError(t, err)
		require.True(t, at.Equal(date))
		require.Len(t, res.Header, 4)
		got, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, string(body), string(got))
	}
}
