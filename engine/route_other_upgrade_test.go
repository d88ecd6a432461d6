package engine_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// Upgrades to protocols that nobody knows here are ignored (RFC 9110, 7.8): as
// curl and Java's HttpClient ask for HTTP/2 with each first request. On every
// path, alone, behind a Fallback and mounted in net/http, over one connection.
func TestOtherUpgradesAreIgnored(t *testing.T) {
	elsewhere := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("page " + r.URL.Path)) })
	mux := func(s *engine.Server) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/engine.io/", s)
		mux.Handle("/", elsewhere)
		return mux
	}
	for _, mounting := range []struct {
		name, foreign string
		address       func(t *testing.T) string
	}{
		{"alone", "501 Not Implemented", func(t *testing.T) string { return run(t, engine.Options{}, echoEvents).address }},
		{"with a fallback", "200 page /other", func(t *testing.T) string {
			return run(t, engine.Options{Fallback: elsewhere}, echoEvents).address
		}},
		{"mounted", "200 page /other", func(t *testing.T) string {
			m := mount(t, engine.Options{}, echoEvents, mux, plain)
			return m.address()
		}},
	} {
		for _, upgrade := range []string{
			"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
			"Connection: upgrade\r\nUpgrade: TLS/1.2, IRC/6.9\r\n",
		} {
			t.Run(mounting.name, func(t *testing.T) {
				c := dialLine(t, mounting.address(t))
				ask := func(method, path, body string) string {
					c.say("%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", method, path, upgrade, len(body), body)
					response, text := c.hear(method)
					require.False(t, response.Close, "the connection ends")
					return fmt.Sprint(response.StatusCode, " ", text)
				}
				require.Equal(t, mounting.foreign, ask("GET", "/other", ""))
				open := ask("GET", "/engine.io/?EIO=4&transport=polling", "")
				_, rest, _ := strings.Cut(open, `"sid":"`)
				sid, _, found := strings.Cut(rest, `"`)
				require.True(t, found, open)
				session := "/engine.io/?EIO=4&transport=polling&sid=" + sid
				require.Equal(t, "200 ok", ask("POST", session, "4hello"))
				require.Equal(t, "200 4hello", ask("GET", session, ""))
				require.Equal(t, "200 ok", ask("POST", session, "1"))
				require.Equal(t, mounting.foreign, ask("GET", "/other", ""))
			})
		}
	}
}
