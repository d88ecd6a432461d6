package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"turbine/engine"
)

// accounts is a database, for an example: it takes its time, unless nobody waits
// for its answer any more.
type accounts struct{}

func (accounts) name(ctx context.Context, token string) (string, error) {
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if token != "secret" {
		return "", engine.Refuse("unknown token")
	}
	return "Ada", nil
}

// With an Executor callbacks may block: to admit a client, and to answer a
// message. A query ends when the client has gone.
func ExampleOptions_executor() {
	var db accounts
	url, stop := serve(engine.New(engine.Options{Executor: engine.NewExecutor(100)}, engine.Events{
		Admit: func(a *engine.Admission) error {
			_, err := db.name(context.Background(), a.Query("token")) // Options.Timeouts.Admit bounds it for the client
			return err
		},
		Message: func(s *engine.Session, m engine.Message) {
			name, err := db.name(s.Context(), string(m.Data))
			if err != nil {
				name = "nobody" // what else err says is not for the client
			}
			_ = s.Send(engine.Message{Data: []byte(name)})
		},
	}))
	defer stop()

	fmt.Println(fetch(http.Get(url)))
	client := join(url + "&token=secret")
	say(client, "4secret")
	fmt.Println(fetch(http.Get(client)))
	// Output:
	// {"code":4,"message":"unknown token"}
	// 4Ada
}

// What a session does for its client ends with it, and knows why.
func ExampleSession_Context() {
	ended := make(chan error)
	url, stop := serve(engine.New(engine.Options{}, engine.Events{
		Open: func(s *engine.Session, _ *engine.Request) {
			ctx := s.Context()
			go func() {
				<-ctx.Done()
				ended <- context.Cause(ctx)
			}()
		},
	}))
	defer stop()

	say(join(url), "1") // the client closes
	err := <-ended
	var closed *engine.ClosedError
	fmt.Println(errors.Is(err, engine.ErrClosed), errors.As(err, &closed), closed.Reason)
	// Output:
	// true true transport close
}

// All sessions, from any goroutine, while the loops keep running.
func ExampleServer_Sessions() {
	var server *engine.Server
	server, err := engine.New(engine.Options{}, engine.Events{
		Open: func(s *engine.Session, r *engine.Request) { s.SetValue(r.Query("name")) },
	})
	url, stop := serve(server, err)
	defer stop()

	for _, name := range []string{"Ada", "Bob", "Eve"} {
		join(url + "&name=" + name)
	}
	for s := range server.Sessions() {
		if s.Value() == "Bob" {
			fmt.Println(s.Transport(), s.State())
		}
	}
	// Output:
	// polling open
}
