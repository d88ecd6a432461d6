package engine_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// gzipping compresses what is written, whatever it is, and says so with the first
// bytes, as some middlewares do.
func gzipping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z := &gzipper{ResponseWriter: w, gzip: gzip.NewWriter(w)}
		next.ServeHTTP(z, r)
		if z.status != 0 {
			_ = z.gzip.Close()
		}
	})
}

type gzipper struct {
	http.ResponseWriter
	gzip   *gzip.Writer
	status int
}

func (z *gzipper) Unwrap() http.ResponseWriter { return z.ResponseWriter }

func (z *gzipper) WriteHeader(status int) {
	z.status = status
	z.Header().Set("Content-Encoding", "gzip")
	z.Header().Del("Content-Length")
	z.ResponseWriter.WriteHeader(status)
}

func (z *gzipper) Write(p []byte) (int, error) {
	if z.status == 0 {
		z.WriteHeader(http.StatusOK)
	}
	return z.gzip.Write(p)
}

// A response that handlers of net/http carry is compressed once: by the server, or
// by a middleware that does so to all.
func TestMountedCompressesOnce(t *testing.T) {
	for _, around := range [][]middleware{nil, {gzipping}, {timing, gzipping}, {gzipping, unwrapping}} {
		for _, two := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d middlewares, HTTP/2: %v", len(around), two), func(t *testing.T) {
				m := mount(t, engine.Options{}, echoEvents, under("", around...), func(h *httptest.Server) {
					h.EnableHTTP2 = two
					h.StartTLS()
				})
				client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + "/engine.io/"}
				client.open()
				message := "4" + strings.Repeat("compress me ", 1000)
				_, body := client.do("POST", "", message)
				require.Equal(t, "ok", body)
				transport := client.http.Transport.(*http.Transport)
				transport.DisableCompression = true
				request, err := http.NewRequestWithContext(context.Background(), "GET", client.url+"?EIO=4&transport=polling&sid="+client.sid, nil)
				require.NoError(t, err)
				request.Header.Set("Accept-Encoding", "gzip")
				response, err := client.http.Do(request)
				require.NoError(t, err)
				require.Equal(t, []string{"gzip"}, response.Header["Content-Encoding"])
				z, err := gzip.NewReader(response.Body)
				require.NoError(t, err)
				got, err := io.ReadAll(z)
				require.NoError(t, err)
				require.Equal(t, message, string(got))
				require.NoError(t, response.Body.Close())
				transport.DisableCompression = false
				client.leave()
			})
		}
	}
}
