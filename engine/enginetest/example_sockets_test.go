package enginetest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"
)

// A server that is mounted in net/http is tested over sockets, with all that is
// around it.
func TestBehindALogin(t *testing.T) {
	server, err := engine.New(engine.Options{}, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ada" || password != "secret" {
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)

	if _, err := enginetest.TryDial(t, web.URL, enginetest.Options{}); err == nil {
		t.Error("a client came in without a login")
	}
	c := enginetest.Dial(t, web.URL, enginetest.Options{
		Header: http.Header{"Authorization": {"Basic YWRhOnNlY3JldA=="}},
	})
	c.Send(engine.Message{Data: []byte("hello")})
	c.Upgrade()
	if got := c.NextText(); got != "hello" {
		t.Errorf("got %q", got)
	}
}

// A test over sockets. "go test" runs the one that stands beside this example.
func Example_sockets() {}
