// Feeder is a server for the end-to-end test of a drain. It sends each session
// messages numbered from 0, "0 ballast", one every -every and five more when
// SIGTERM comes, and continues until the session takes no more. When it has shut
// down it writes a line of JSON for each session to -report: its id, how many
// messages Send accepted, how many of these since SIGTERM, and the reason of its
// end.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"turbine/engine"
)

var (
	period  = flag.Duration("period", time.Second, "over which sessions are closed")
	timeout = flag.Duration("timeout", 30*time.Second, "of the drain")
	every   = flag.Duration("every", time.Second, "between two messages to a session")
	report  = flag.String("report", "", "file to write")
)

// farewells is how many messages each session gets when SIGTERM comes.
const farewells = 5

// ballast is long enough for some messages to fill a socket's buffer.
var ballast = strings.Repeat("ballast ", 40)

// A fed session. Its counts belong to whoever holds feeder.mu.
type fed struct {
	session *engine.Session
	sid     string

	accepted int
	drained  int // of these since SIGTERM
	refused  int

	reason atomic.Pointer[string]
}

type feeder struct {
	mu       sync.Mutex
	all      []*fed
	draining bool
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	f := &feeder{}
	server, err := engine.New(engine.Options{Drain: engine.Drain{Period: *period}}, engine.Events{
		Open: f.open,
		Close: func(s *engine.Session, r engine.Reason, err error) {
			why := r.String()
			if err != nil {
				why += ": " + err.Error()
			}
			s.Value().(*fed).reason.Store(&why)
		},
	})
	if err != nil {
		return err
	}
	listener, err := engine.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println("feeder: listening on", listener.Addr())

	down := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() { f.feed(down) })
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	f.farewell()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	err = server.Shutdown(ctx)
	close(down)
	feeding.Wait()
	if err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	if err := <-served; !errors.Is(err, engine.ErrServerClosed) {
		return err
	}
	return f.write()
}

func (f *feeder) open(s *engine.Session, _ *engine.Request) {
	one := &fed{session: s, sid: s.ID()}
	s.SetValue(one)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, one)
}

// feed sends to all sessions in turn, in steps, until down.
func (f *feeder) feed(down <-chan struct{}) {
	const steps = 50
	ticker := time.NewTicker(*every / steps)
	defer ticker.Stop()
	for step := 0; ; step++ {
		select {
		case <-down:
			return
		case <-ticker.C:
		}
		f.mu.Lock()
		for i := step % steps; i < len(f.all); i += steps {
			f.send(f.all[i])
		}
		f.mu.Unlock()
	}
}

// farewell sends the last messages before the drain.
func (f *feeder) farewell() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.draining = true
	for _, one := range f.all {
		for range farewells {
			f.send(one)
		}
	}
}

// send is called with f.mu held.
func (f *feeder) send(one *fed) {
	switch err := one.session.Send(engine.Message{Data: fmt.Appendf(nil, "%d %s", one.accepted, ballast)}); {
	case err == nil:
		one.accepted++
		if f.draining {
			one.drained++
		}
	case !errors.Is(err, engine.ErrClosed):
		one.refused++
	}
}

func (f *feeder) write() error {
	file, err := os.Create(*report)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	for _, one := range f.all {
		reason := "none"
		if r := one.reason.Load(); r != nil {
			reason = *r
		}
		line, err := json.Marshal(map[string]any{
			"sid": one.sid, "accepted": one.accepted, "drained": one.drained, "refused": one.refused, "reason": reason,
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", line)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return file.Close()
}
