package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"turbine/engine"

	"github.com/cloudflare/tableflip"
	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// A process is this one of a line of processes, each of which was started by the
// one before and has inherited its listening socket. SIGUSR2 starts the next.
//
// They share one socket, so they share one queue of connections that wait to be
// accepted: whoever closes it, none of these is lost. With a socket for each
// (SO_REUSEPORT) there is a queue for each, and the one who closes its socket
// resets what waits there.
type process struct {
	*tableflip.Upgrader
	listener net.Listener
	signals  chan os.Signal
}

// newProcess inherits the listener from the process before, or from systemd, or
// listens on addr.
func newProcess(addr, pidFile string) (*process, error) {
	upgrader, err := tableflip.New(tableflip.Options{PIDFile: pidFile})
	if err != nil {
		return nil, fmt.Errorf("cannot inherit from the process before: %w", err)
	}
	p := &process{Upgrader: upgrader, signals: make(chan os.Signal, 1)}
	if p.listener, err = p.listen(addr); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (p *process) listen(addr string) (net.Listener, error) {
	inherited, err := p.Listener("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot inherit the listener from the process before: %w", err)
	}
	if inherited != nil {
		return inherited, nil
	}
	l, err := activated()
	if err != nil {
		return nil, err
	}
	if l == nil {
		fresh, err := engine.Listen(addr)
		if err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", addr, errors.Unwrap(err))
		}
		l = fresh.(*net.TCPListener)
	}
	if err := p.AddListener("tcp", addr, l); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("cannot keep the listener for the next process: %w", err)
	}
	return l, nil
}

// activated is the one TCP listener that systemd has opened for us, nil without.
func activated() (*net.TCPListener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot take the sockets of systemd: %w", err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	l, ok := all[0].(*net.TCPListener)
	if !ok || len(all) > 1 {
		return nil, fmt.Errorf("systemd gave %d sockets; want one, of TCP (ListenStream= with a port)", len(all))
	}
	return l, nil
}

// ready tells the process before and systemd that this one serves, and begins to
// listen to SIGUSR2.
func (p *process) ready() {
	if err := p.Ready(); err != nil {
		slog.Error("cannot tell that the server is ready", "error", err)
	}
	// systemd has to know which of our processes it is to watch from now on.
	notify(fmt.Sprintf("%s\nMAINPID=%d", daemon.SdNotifyReady, os.Getpid()))
	signal.Notify(p.signals, syscall.SIGUSR2)
	go func() {
		for range p.signals {
			p.replace()
		}
	}()
}

// replace starts the next process and waits until that is ready. If it fails,
// this one goes on.
func (p *process) replace() {
	slog.Info("starting a process to take over")
	if err := p.Upgrade(); err != nil {
		slog.Error("no process has taken over; this one goes on", "error", err)
	}
}

// replaced is closed when the next process is ready.
func (p *process) replaced() <-chan struct{} { return p.Exit() }

// stop ends the line with this process. It may be called twice.
func (p *process) stop() {
	signal.Stop(p.signals)
	p.Stop()
}

// settling is how long a process that was replaced goes on as before: what it
// accepted last has sent its request by then.
const settling = time.Second

// handOver leaves new connections to the next process.
func handOver(server *engine.Server, signals <-chan os.Signal) {
	server.StopAccepting()
	slog.Info("another process has taken over")
	select {
	case <-time.After(settling):
	case <-signals:
	}
}

// notify tells systemd, if that is who started us.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		slog.Warn("systemd does not hear us", "error", err)
	}
}
