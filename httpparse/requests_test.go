package httpparse_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	"turbine/httpparse"
	"turbine/internal/requests"

	"github.com/stretchr/testify/require"
)

const (
	refused = "refused"
	partial = "incomplete"
)

// TestRequestsAgainstNetHTTP reads each row of internal/requests with this
// package and with net/http. Both understand the same, down to where the next
// request begins, or both refuse; the rows that say otherwise do so with ~ or ^.
func TestRequestsAgainstNetHTTP(t *testing.T) {
	cases, err := requests.Load()
	require.NoError(t, err)
	for _, c := range cases {
		t.Run(c.Topic+"/"+c.Name, func(t *testing.T) {
			in := c.Request("AAAAAAAAAAAAAAAAAAAA")
			if c.Fate != requests.Wait {
				in = append(in, "GET / HTTP/1.1"...)
			}
			ours, theirs := understand(in), theirUnderstanding(in)
			switch {
			case c.Lenient:
				require.Equal(t, refused, ours, "%.300q", in)
				require.NotEqual(t, refused, theirs, "%.300q", in)
			case c.Strict:
				require.NotEqual(t, refused, ours, "%.300q", in)
				require.Equal(t, refused, theirs, "%.300q", in)
			default:
				require.Equal(t, theirs, ours, "%.300q", in)
			}
		})
	}
}

// understand is what this package takes in for.
func understand(in []byte) string {
	var r httpparse.Request
	n, err := httpparse.Parse(in, &r, httpparse.Limits{})
	if errors.Is(err, httpparse.ErrIncomplete) {
		return partial
	} else if err != nil {
		return refused
	}
	body, rest := []byte(nil), in[n:]
	switch {
	case r.Chunked:
		var chunks httpparse.Chunked
		for done := false; !done; {
			var piece []byte
			if piece, rest, done, err = chunks.Decode(rest, math.MaxUint64); err != nil {
				return refused
			}
			body = append(body, piece...)
			if len(rest) == 0 && !done {
				return partial
			}
		}
	case r.ContentLength > int64(len(rest)):
		return partial
	case r.ContentLength > 0:
		body, rest = rest[:r.ContentLength], rest[r.ContentLength:]
	}
	return fmt.Sprintf("%s %s keep %v body %q rest %q", r.Method, r.Target, r.KeepAlive, body, rest)
}

// theirUnderstanding is what net/http takes in for.
func theirUnderstanding(in []byte) string {
	br := bufio.NewReaderSize(bytes.NewReader(in), 1<<20)
	r, err := http.ReadRequest(br)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return partial
	} else if err != nil {
		return refused
	}
	body, err := io.ReadAll(r.Body)
	if err != nil && strings.Contains(err.Error(), "unexpected EOF") { // it has more than one of them
		return partial
	} else if err != nil {
		return refused
	}
	rest, err := io.ReadAll(br)
	if err != nil {
		return refused
	}
	return fmt.Sprintf("%s %s keep %v body %q rest %q", r.Method, r.RequestURI, !r.Close, body, rest)
}
