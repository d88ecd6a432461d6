package engine_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

type loginKey struct{}

// What a middleware knows of a client, Admit and Open know, however the server is
// mounted and wherever callbacks run.
func TestMountedContext(t *testing.T) {
	for _, c := range mountings {
		for name, executor := range map[string]engine.Executor{"": nil, " on an executor": engine.NewExecutor(2)} {
			t.Run(c.name+name, func(t *testing.T) {
				var logins atomic.Int64
				seen := make(chan [2]any, 1)
				events := echoEvents
				events.Admit = func(a *engine.Admission) error {
					require.NoError(t, a.Context().Err())
					a.SetValue(a.Context().Value(loginKey{}))
					return nil
				}
				events.Open = func(s *engine.Session, r *engine.Request) {
					seen <- [2]any{s.Value(), r.Clone().Context().Value(loginKey{})}
				}
				m := mount(t, engine.Options{Executor: executor}, events, func(s *engine.Server) http.Handler {
					next := c.wrap(s)
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), loginKey{}, logins.Add(1))))
					})
				}, c.start)
				client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + c.prefix + "/engine.io/"}
				for range 2 { // the second one by a connection that was taken
					client.sid = ""
					client.open()
					require.Equal(t, [2]any{logins.Load(), logins.Load()}, <-seen)
					client.leave()
				}
				if !c.websocket {
					return
				}
				_, r, status := m.webSocket(c.prefix+"/engine.io/?EIO=4&transport=websocket", "")
				require.Equal(t, http.StatusSwitchingProtocols, status)
				require.NoError(t, expectText(r, "0{"))
				require.Equal(t, [2]any{logins.Load(), logins.Load()}, <-seen)
			})
		}
	}
}

// A server with a listener of its own has nobody to tell it anything.
func TestContextOfRequest(t *testing.T) {
	require.Equal(t, context.Background(), new(engine.Request).Context())
}
