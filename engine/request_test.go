package engine

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a request says is there by name, and as a request of net/http, also after the
// callback, in a Clone.
func TestRequestSaysWhatTheClientSent(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		var kept *Request
		asked := 0
		b := newSpec(t, loops, Options{Access: Access{AnyOrigin: true}}, func(_ *bench, e *Events) {
			e.Open = func(s *Session, r *Request) {
				asked++
				require.NotNil(t, s.Server().Find(s.ID()), "the session's server")
				kept = r.Clone()
			}
		})
		b.play(hsPolling + "&room=a%20b header=Origin:https://a.example header=Cookie:first=1;login=x;login=y header=X-A:b")
		require.Equal(t, 1, asked)
		require.Equal(t, "turbine", kept.Host())
		require.Equal(t, "https://a.example", kept.Origin())
		require.Equal(t, "1", kept.Cookie("first"))
		require.Equal(t, "x", kept.Cookie("login"), "the first one counts")
		require.Empty(t, kept.Cookie("none"))

		r := kept.HTTP()
		require.Equal(t, "GET", r.Method)
		require.Equal(t, kept.Target(), r.RequestURI)
		require.Equal(t, "a b", r.URL.Query().Get("room"))
		require.Equal(t, "turbine", r.Host)
		require.Equal(t, "b", r.Header.Get("X-A"))
		require.Equal(t, kept.RemoteAddr().String(), r.RemoteAddr)
		require.Nil(t, r.TLS)
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Empty(t, body)
		b.finish()
	})
}
