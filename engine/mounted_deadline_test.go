package engine_test

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A poll may wait for longer than an http.Server gives a response, also where its
// connection cannot be taken: how long is its session's affair.
func TestMountedPollOutlivesWriteTimeout(t *testing.T) {
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprint("HTTP/2: ", two), func(t *testing.T) {
			m := mount(t, engine.Options{PingInterval: time.Second}, echoEvents, itself, func(h *httptest.Server) {
				h.Config.WriteTimeout = 500 * time.Millisecond
				h.EnableHTTP2 = two
				h.StartTLS()
			})
			client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + "/engine.io/"}
			client.open()
			_, body := client.do("GET", "", "")
			require.Equal(t, "2", body)
			_, body = client.do("POST", "", "3")
			require.Equal(t, "ok", body)
			client.leave()
		})
	}
}
