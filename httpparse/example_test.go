package httpparse_test

import (
	"errors"
	"fmt"
	"math"

	"turbine/httpparse"
)

func ExampleParse() {
	p := []byte("POST /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost:3000\r\nContent-Length: 6\r\n\r\n4hello")
	var r httpparse.Request
	_, err := httpparse.Parse(p[:40], &r, httpparse.Limits{})
	fmt.Println(err)

	n, err := httpparse.Parse(p, &r, httpparse.Limits{})
	fmt.Println(n, err)
	fmt.Printf("%s %s %s, then %q\n", r.Method, r.Path, r.Header("host"), p[n:n+int(r.ContentLength)])

	var key, value []byte
	for query := r.Query; len(query) > 0; {
		key, value, query = httpparse.NextParam(query)
		fmt.Printf("%s is %s\n", key, httpparse.Unescape(value))
	}
	// Output:
	// httpparse: incomplete head
	// 94 <nil>
	// POST /engine.io/ localhost:3000, then "4hello"
	// EIO is 4
	// transport is polling
}

func ExampleError() {
	p := []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n")
	_, err := httpparse.Parse(p, new(httpparse.Request), httpparse.Limits{})
	var fault *httpparse.Error
	if errors.As(err, &fault) {
		answer := httpparse.AppendResponse(nil, fault.Status)
		answer = httpparse.AppendHeader(answer, "Connection", "close")
		answer = httpparse.AppendHeaderInt(answer, "Content-Length", int64(len(fault.Reason)))
		answer = append(httpparse.AppendEnd(answer), fault.Reason...)
		fmt.Printf("%q\n", answer)
	}
	// Output:
	// "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 46\r\n\r\nTransfer-Encoding together with Content-Length"
}

func ExampleChunked() {
	var c httpparse.Chunked
	var body []byte
	for _, p := range [][]byte{[]byte("6\r\n4he"), []byte("llo\r"), []byte("\n0\r\n\r\nGET /")} {
		for len(p) > 0 {
			piece, rest, done, err := c.Decode(p, math.MaxUint64)
			if err != nil {
				return
			}
			body = append(body, piece...)
			if p = rest; done {
				fmt.Printf("%s, then %q\n", body, p)
				break
			}
		}
	}
	// Output:
	// 4hello, then "GET /"
}
