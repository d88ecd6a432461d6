// Package million holds a large number of real TCP sessions on one machine: as
// many server and client processes as the descriptor limit asks for.
package million

import (
	"context"
	"errors"
	"fmt"
	"time"

	"turbine/bench/peer"
	"turbine/bench/report"
	"turbine/bench/usage"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Options of a run. The zero value of each field is its default.
type Options struct {
	Sessions   int           // 0 means 1,000,000
	Hold       time.Duration // 0 means 5 minutes
	PerProcess int           // sessions of a server and of its client; 0 means what the descriptor limit allows
	Opening    int           // clients that open their sessions at the same time; 0 means 4
	// Client starts the client process with number i: the bench program itself.
	Client func(i int, addr string, sessions int) (argv []string)
	// Server starts a server.
	Server   func(ctx context.Context) (*peer.Process, error)
	Progress func(text string)
	Memory   func() (available, slab int64, err error) // of the machine, bytes; nil asks it
}

// What a session takes about, in bytes: both ends in the kernel, and the
// processes' own.
const (
	kernelBytes  = 2 * 4_600
	userBytes    = 600 + 1_200
	processBytes = 16 << 20
	// spare are descriptors of a process that are no sessions.
	spare = 500
)

// Errors that refuse a run.
var (
	ErrMemory      = errors.New("million: not enough memory")
	ErrDescriptors = errors.New("million: too few descriptors")
)

func (o Options) withDefaults() (Options, error) {
	if o.Sessions == 0 {
		o.Sessions = 1_000_000
	}
	if o.Hold == 0 {
		o.Hold = 5 * time.Minute
	}
	if o.Opening == 0 {
		o.Opening = 4
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Memory == nil {
		o.Memory = memory
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return o, err
	}
	most := int(min(limit.Max, 1<<20)) - spare
	if o.PerProcess == 0 {
		o.PerProcess = most
	}
	if o.PerProcess > most || most < 1 {
		return o, fmt.Errorf("%w: %d sessions in a process, with a limit of %d (ulimit -Hn)", ErrDescriptors, o.PerProcess, limit.Max)
	}
	return o, nil
}

// need is what a run takes.
type need struct {
	processes int // of servers, and as many of clients
	bytes     int64
}

func (o Options) need() need {
	n := (o.Sessions + o.PerProcess - 1) / o.PerProcess
	return need{n, int64(o.Sessions)*(kernelBytes+userBytes) + int64(2*n)*processBytes}
}

// check says what the run takes and refuses one that there is no memory for.
func (o Options) check() (need, error) {
	n := o.need()
	available, _, err := o.Memory()
	if err != nil {
		return n, err
	}
	o.Progress(fmt.Sprintf("%d sessions take %d server and %d client processes of at most %d sessions, about %.1f GiB of memory (%.1f are available), and some %s",
		o.Sessions, n.processes, n.processes, o.PerProcess, gib(n.bytes), gib(available),
		(o.Hold + time.Duration(o.Sessions)*120*time.Microsecond).Round(time.Second)))
	if n.bytes > available*9/10 {
		return n, fmt.Errorf("%w: %.1f GiB are needed, with a tenth to spare, and %.1f are available", ErrMemory, gib(n.bytes), gib(available))
	}
	return n, nil
}

func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }

// Run opens the sessions, holds them, and tells what they cost. All processes
// that it started have ended when it returns.
func Run(ctx context.Context, o Options) (report.Million, error) {
	o, err := o.withDefaults()
	if err != nil {
		return report.Million{}, err
	}
	n, err := o.check()
	if err != nil {
		return report.Million{}, err
	}
	c := &crowd{options: o}
	defer c.stop()
	if err := c.serve(ctx, n.processes); err != nil {
		return report.Million{}, err
	}
	result := report.Million{Processes: n.processes, Clients: n.processes}
	_, slabBefore, err := o.Memory()
	if err != nil {
		return result, err
	}
	before := c.serverUsage()
	began := time.Now()
	if err := c.open(ctx); err != nil {
		return result, err
	}
	result.Opening = time.Since(began)
	if err := c.hold(ctx, &result); err != nil {
		return result, err
	}
	_, slabAfter, err := o.Memory()
	if err != nil {
		return result, err
	}
	c.conclude(&result)
	sessions := float64(max(1, result.Sessions))
	result.UserBytes = float64(c.rssHeld-before.RSS) / sessions
	result.KernelBytes = float64(slabAfter-slabBefore) / sessions
	return result, nil
}

// memory reads what is available and what the kernel's own objects take.
func memory() (available, slab int64, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, err
	}
	m, err := fs.Meminfo()
	if err != nil {
		return 0, 0, err
	}
	if m.MemAvailableBytes == nil || m.SlabBytes == nil {
		return 0, 0, errors.New("million: /proc/meminfo does not tell what is available")
	}
	return int64(*m.MemAvailableBytes), int64(*m.SlabBytes), nil
}

func sum(pids []int) (total usage.Usage) {
	for _, pid := range pids {
		if u, err := usage.Of(pid); err == nil { // one that has ended is counted as lost sessions
			total.CPU += u.CPU
			total.RSS += u.RSS
		}
	}
	return total
}

// Status is what a client process prints, a line of JSON each.
type Status struct {
	Ready      bool     `json:"ready"` // its sessions are open
	Opened     int      `json:"opened"`
	Lost       int      `json:"lost"`
	Heartbeats int64    `json:"heartbeats"`
	Faults     []string `json:"faults,omitempty"`
}
