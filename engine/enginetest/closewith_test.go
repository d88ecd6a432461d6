package enginetest_test

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"turbine/engine"
	"turbine/engine/enginetest"
)

// A test of an application sees the code and reason of CloseWith, in memory and over
// sockets; polling has no place for them.
func TestClosedSaysWhatCloseWithHasTold(t *testing.T) {
	events := engine.Events{Message: func(s *engine.Session, m engine.Message) {
		_ = s.Send(m)
		_ = s.CloseWith(4001, "logged out")
	}}
	for _, kind := range kinds() {
		t.Run(name(kind), func(t *testing.T) {
			nothingOnLoan(t)
			told := "close packet"
			if kind.Transport == engine.WebSocket {
				told = "close frame 4001: logged out"
			}
			ended := func(c *enginetest.Client) {
				c.Send(engine.Text("bye"))
				require.Equal(t, "bye", c.NextText())
				require.Equal(t, told, c.Closed())
			}
			ended(enginetest.New(t, engine.Options{}, events).Dial(kind))

			server, err := engine.New(engine.Options{}, events)
			require.NoError(t, err)
			web := httptest.NewServer(server)
			defer web.Close()
			ended(enginetest.Dial(t, web.URL, kind))
			require.NoError(t, server.Shutdown(t.Context()))
		})
	}
}
