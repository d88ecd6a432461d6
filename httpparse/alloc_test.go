package httpparse

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNothingIsAllocated(t *testing.T) {
	var r Request
	dst := make([]byte, 0, 1024)
	at := time.Unix(1700000000, 0)
	query := []byte("EIO=4&transport=polling&t=%41+b")
	body := []byte("5;a=b\r\nhello\r\n5\r\nworld\r\n0\r\nA: b\r\n\r\n")
	p := []byte(browserUpgrade)
	bad := []byte("GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n")
	_, err := Parse([]byte(browserPost), &r, Limits{}) // warms r
	require.NoError(t, err)
	cases := []struct {
		name string
		do   func()
	}{
		{"Parse", func() {
			if _, err := Parse(p, &r, Limits{}); err != nil {
				t.Fatal(err)
			}
		}},
		{"Parse of a part", func() { _, _ = Parse(p[:len(p)-9], &r, Limits{}) }},
		{"Parse of a malformed head", func() { _, _ = Parse(bad, &r, Limits{}) }},
		{"Header", func() { _ = r.Header("x-none") }},
		{"HeadEnd", func() { HeadEnd(p, 0) }},
		{"NextParam and Unescape", func() {
			var key, value []byte
			for q := query; len(q) > 0; {
				key, value, q = NextParam(q)
				_, _ = key, Unescape(value)
			}
		}},
		{"Decode", func() {
			var c Chunked
			for p, done := body, false; !done; {
				_, p, done, _ = c.Decode(p, math.MaxUint64)
			}
		}},
		{"Append", func() {
			p := AppendDate(AppendResponse(dst, 200), at)
			p = AppendHeader(p, "Content-Type", "text/plain; charset=UTF-8")
			p = AppendHeaderBytes(p, "Access-Control-Allow-Origin", query)
			_ = AppendEnd(AppendHeaderInt(p, "Content-Length", 42))
		}},
	}
	for _, c := range cases {
		require.Zero(t, testing.AllocsPerRun(100, c.do), c.name)
	}
}
