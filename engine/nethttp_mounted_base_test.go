package engine_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A BaseContext that wants a listener of another kind does not end the process.
func TestMountedBaseContext(t *testing.T) {
	m := mount(t, engine.Options{}, echoEvents, under(""), func(h *httptest.Server) {
		h.Config.BaseContext = func(l net.Listener) context.Context {
			return context.WithValue(context.Background(), http.LocalAddrContextKey, l.Addr().(*net.TCPAddr).Port)
		}
		h.Start()
	})
	c := dialLine(t, m.address())
	require.Equal(t, "200 0{", c.get("/engine.io/?EIO=4&transport=polling")[:6])
	require.Equal(t, "200 a page", c.get("/page"))
	for s := range m.Sessions() {
		s.CloseNow()
	}
}
