package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"turbine/engine"
)

// A server among the routes of a program that has its own http.Server, behind
// its middlewares.
func ExampleServer_ServeHTTP() {
	server, err := engine.New(engine.Options{}, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/engine.io/", server)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") })
	authenticated := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("token") != "secret" {
				http.Error(w, "no token", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	program := &http.Server{Handler: authenticated(mux)}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- program.Serve(listener) }()

	url := "http://" + listener.Addr().String()
	fmt.Println(fetch(http.Get(url + "/?token=secret")))
	fmt.Print(fetch(http.Get(url + "/engine.io/?EIO=4&transport=polling")))
	_, sid, _ := strings.Cut(fetch(http.Get(url+"/engine.io/?EIO=4&transport=polling&token=secret")), `"sid":"`)
	session := url + "/engine.io/?EIO=4&transport=polling&sid=" + sid[:27]
	fmt.Println(fetch(http.Post(session, "text/plain", strings.NewReader("4hello"))))
	fmt.Println(fetch(http.Get(session)))
	fmt.Println(fetch(http.Post(session, "text/plain", strings.NewReader("1"))))

	http.DefaultClient.CloseIdleConnections()
	ctx := context.Background()
	fmt.Println(errors.Join(server.Shutdown(ctx), program.Shutdown(ctx)))
	fmt.Println(<-served)
	// Output:
	// a page
	// no token
	// ok
	// 4hello
	// ok
	// <nil>
	// http: Server closed
}

// Pages and API of an application on the port of its sessions.
func ExampleOptions_fallback() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") })
	mux.HandleFunc("POST /api/shout", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body) // may block: it runs on a goroutine of its own
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, strings.ToUpper(string(text)))
	})
	engineIO, stop := serve(engine.New(engine.Options{Fallback: mux}, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
	}))
	defer stop()

	url, _, _ := strings.Cut(engineIO, "/engine.io/")
	fmt.Println(fetch(http.Get(url + "/")))
	fmt.Println(fetch(http.Post(url+"/api/shout", "text/plain", strings.NewReader("hello"))))
	fmt.Println(fetch(http.Get(engineIO))[:2])
	// Output:
	// a page
	// HELLO
	// 0{
}
