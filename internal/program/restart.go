package program

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"turbine/engine"

	"github.com/cloudflare/tableflip"
	"github.com/coreos/go-systemd/v22/daemon"
)

// A process is this one of a line of processes, each of which was started by the
// one before and has inherited its listening sockets. SIGUSR2 starts the next.
//
// They share the sockets, so they share one queue of connections that wait to be
// accepted on each: whoever closes it, none of these is lost. With sockets of its
// own for each (SO_REUSEPORT) there is a queue for each, and the process that closes
// its socket resets what waits there.
type process struct {
	*tableflip.Upgrader
	pid pidFile

	// free frees what a next process needs and cannot inherit. It is called before each
	// that is started.
	free func()

	mu    sync.Mutex // held while a next process starts
	taken bool       // it has taken over; guarded by mu
}

// newProcess is this process in its line, which has not listened yet.
func newProcess(pid pidFile) (*process, error) {
	upgrader, err := tableflip.New(tableflip.Options{})
	if err != nil {
		return nil, fmt.Errorf("cannot inherit from the process before: %w", err)
	}
	return &process{Upgrader: upgrader, pid: pid}, nil
}

// ready tells the process before and systemd that this one serves, and begins to
// start a next one for each signal.
func (p *process) ready(signals <-chan os.Signal) {
	if err := p.Ready(); err != nil {
		slog.Error("cannot tell that the server is ready", "error", err)
	}
	// systemd has to know which of our processes it is to watch from now on.
	notify(fmt.Sprintf("%s\nMAINPID=%d", daemon.SdNotifyReady, os.Getpid()))
	go func() {
		for range signals {
			p.replace()
		}
	}()
}

// replace starts the next process and waits until that is ready. If it fails,
// this one continues.
func (p *process) replace() {
	p.mu.Lock()
	defer p.mu.Unlock()
	slog.Info("starting a process to take over")
	if p.free != nil {
		p.free()
	}
	err := p.Upgrade()
	if err == nil {
		p.taken = true
		return
	}
	slog.Error("no process has taken over; this one continues", "error", err)
	if !p.taken {
		if err := p.pid.restore(); err != nil {
			slog.Error("another process is in the pid file", "error", err)
		}
	}
}

// replaced is closed when the next process is ready.
func (p *process) replaced() <-chan struct{} { return p.Exit() }

// stop ends the line with this process. It may be called twice.
func (p *process) stop() { p.Stop() }

// end is the last thing that a process does in its line.
func (p *process) end() {
	p.stop()
	p.mu.Lock() // one that was about to take over is gone
	defer p.mu.Unlock()
	p.pid.remove()
}

// settling is how long a process that was replaced keeps serving: what it
// accepted last has sent its request by then.
const settling = time.Second

// handOver leaves new connections to the next process.
func handOver(server *engine.Server, places []*place, signals <-chan os.Signal) {
	for _, p := range places {
		p.own(false)
	}
	server.StopAccepting()
	slog.Info("another process has taken over")
	select {
	case <-time.After(settling):
	case <-signals:
	}
}

// notify tells systemd, if it has started us.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		slog.Warn("systemd does not hear us", "error", err)
	}
}
