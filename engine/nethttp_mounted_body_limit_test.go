package engine_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A body that is too large for a middleware is told so, whoever has the connection.
func TestMountedBodyOverLimitOfMiddleware(t *testing.T) {
	const limit = 100
	limiting := func(next http.Handler) http.Handler { return http.MaxBytesHandler(next, limit) }
	m := mount(t, engine.Options{}, echoEvents, under("", limiting), plain)
	client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + "/engine.io/"}
	client.open()
	for _, c := range []struct {
		name, fields, around string
		size                 int
		status               string
	}{
		{"at the limit", "Content-Length: 100\r\n", "%s", limit, "200 ok"},
		{"over it", "Content-Length: 101\r\n", "%s", limit + 1, "413 Request Entity Too Large\n"},
		{"chunked at the limit", "Transfer-Encoding: chunked\r\n", "64\r\n%s\r\n0\r\n\r\n", limit, "200 ok"},
		{"chunked over it", "Transfer-Encoding: chunked\r\n", "65\r\n%s\r\n0\r\n\r\n", limit + 1, "413 Request Entity Too Large\n"},
	} {
		for _, taken := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, taken: %v", c.name, taken), func(t *testing.T) {
				conn := dialLine(t, m.address())
				path := "/engine.io/?EIO=4&transport=polling&sid=" + client.sid
				origin := ""
				if taken { // a foreign Origin has the loop ask the handlers again
					require.Equal(t, "400", conn.get("/engine.io/?transport=polling")[:3])
					origin = "Origin: http://elsewhere.example\r\n"
				}
				body := fmt.Sprintf(c.around, "4"+strings.Repeat("x", c.size-1))
				conn.say("POST %s HTTP/1.1\r\nHost: x\r\n%s%s\r\n%s", path, origin, c.fields, body)
				response, text := conn.hear("POST")
				got := strconv.Itoa(response.StatusCode) + " " + text
				if taken && c.size <= limit {
					require.Equal(t, http.StatusForbidden, response.StatusCode, got)
					return
				}
				require.Equal(t, c.status, got)
			})
		}
	}
	require.Zero(t, m.Stats().Limits[engine.LimitPayload], "it was no limit of ours")
	client.leave()
}
