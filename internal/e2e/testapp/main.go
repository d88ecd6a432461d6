// Testapp is an echo server for the end-to-end tests: it does what an
// application does and the turbine binary has no flag for. It admits clients by
// the token in their query:
//
//	| token  | answer
//	| secret | admitted at once
//	| later  | admitted by another goroutine
//	| never  | refused by another goroutine: "not you"
//	| other  | refused at once: "wrong token"
//
// For the message "close CODE REASON" a session gets "last words", and is closed with
// these by Session.CloseWith.
//
// It prints the address that it listens on, and ends with code 0 after SIGTERM.
// Sessions then have as long as its first argument says, 200ms without. Its last
// line is how many messages Send has accepted for sessions that began on
// WebSocket.
//
// With a second argument, "blocking", callbacks run on goroutines, a session with
// anything waiting for its callback is paused, and heartbeats are short. The callback
// for the message "block" returns when another session sends "release".
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"turbine/engine"
)

// drainTimeout is short: tests leave sessions without a poll.
const drainTimeout = 200 * time.Millisecond

func main() {
	drain := drainTimeout
	if len(os.Args) > 1 {
		var err error
		if drain, err = time.ParseDuration(os.Args[1]); err != nil {
			log.Fatal(err)
		}
	}
	blocking := len(os.Args) > 2 && os.Args[2] == "blocking"
	if err := run(drain, blocking); err != nil {
		log.Fatal(err)
	}
}

// goroutines is an engine.Executor with a goroutine for each task.
type goroutines struct{}

func (goroutines) Submit(task func()) error {
	go task()
	return nil
}

func run(drain time.Duration, blocking bool) error {
	var accepted atomic.Int64
	var options engine.Options
	if blocking {
		options = engine.Options{Executor: goroutines{}, Limits: engine.Limits{MaxPending: 1}, PingInterval: 500 * time.Millisecond, PingTimeout: 2 * time.Second}
	}
	released := make(chan struct{})
	server, err := engine.New(options, engine.Events{
		Admit: admit,
		Message: func(s *engine.Session, m engine.Message) {
			if words, ok := strings.CutPrefix(string(m.Data), "close "); ok {
				closeWith(s, words)
				return
			}
			switch {
			case !blocking:
			case string(m.Data) == "block":
				<-released
			case string(m.Data) == "release":
				close(released)
			}
			if err := s.Send(m); err == nil && s.Transport() == engine.WebSocket && !s.Upgraded() {
				accepted.Add(1)
			}
		},
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println("testapp: listening on", listener.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	_ = server.Shutdown(ctx) // an error says that it had to cut sessions off
	if err := <-served; !errors.Is(err, engine.ErrServerClosed) {
		return err
	}
	fmt.Println("testapp: accepted", accepted.Load())
	return nil
}

func closeWith(s *engine.Session, words string) {
	_ = s.Send(engine.Text("last words")) // an error says that the session has ended already
	number, reason, _ := strings.Cut(words, " ")
	code, _ := strconv.Atoi(number) // CloseWith refuses 0
	if err := s.CloseWith(code, reason); err != nil {
		log.Print(err)
	}
}

func admit(a *engine.Admission) error {
	switch a.Query("token") {
	case "secret":
		return nil
	case "later":
		go a.Later().Accept()
		return nil
	case "never":
		go a.Later().Refuse(engine.Refuse("not you"))
		return nil
	}
	return engine.Refuse("wrong token")
}
