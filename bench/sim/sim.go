// Package sim holds a large number of sessions in one process: the engine on
// its own loops, real requests and frames, heartbeats in real time. Only the
// operating system is simulated, which keeps no memory for a connection and
// takes no time: what is left is what the server itself costs.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"turbine/bench/report"
	"turbine/bench/usage"
	"turbine/engine"
	"turbine/loop"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Options of a simulation. The zero value of each field is its default.
type Options struct {
	Sessions     int           // 0 means 1,000,000
	Loops        int           // 0 means one a CPU
	Opening      time.Duration // over which the sessions come; 0 means PingInterval
	For          time.Duration // held after that; 0 means 3 minutes
	PingInterval time.Duration // 0 means 25 seconds
	PingTimeout  time.Duration // 0 means 20 seconds
	Messages     int           // a second in all, of 128 bytes, echoed; 0 means 20,000, below 0 none
	Garbage      int           // bytes a second that the application allocates; 0 means 10 MB, below 0 none
	GOGC         int           // 0 means 50, as the program sets it
	Mute         int           // clients that do not answer pings, to see that it is noticed
	Progress     func(text string)
}

func (o Options) withDefaults() Options {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	set(&o.Sessions, 1_000_000)
	set(&o.Loops, runtime.NumCPU())
	set(&o.Messages, 20_000)
	set(&o.Garbage, 10_000_000)
	set(&o.GOGC, 50)
	if o.PingInterval == 0 {
		o.PingInterval = 25 * time.Second
	}
	if o.PingTimeout == 0 {
		o.PingTimeout = 20 * time.Second
	}
	if o.Opening == 0 {
		o.Opening = o.PingInterval
	}
	if o.For == 0 {
		o.For = 3 * time.Minute
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// ErrOpening is returned when not all sessions open in ten times the time.
var ErrOpening = errors.New("sim: the sessions do not open")

// world is a simulation under way.
type world struct {
	options Options
	server  *engine.Server
	drivers []*driver
	clock   func() time.Duration
	watch   bool // to see how long loops are held; before start
	stop    atomic.Bool
	wait    sync.WaitGroup
}

// Run opens the sessions, holds them and tells what they cost. The process
// should do nothing else meanwhile: its memory and CPU are what is measured.
func Run(ctx context.Context, o Options) (report.Sim, error) {
	o = o.withDefaults()
	defer debug.SetGCPercent(debug.SetGCPercent(o.GOGC))
	w, err := newWorld(o)
	if err != nil {
		return report.Sim{}, err
	}
	empty := heap()
	emptyRSS := rss()
	w.start()
	defer w.end()

	if err := w.open(ctx); err != nil {
		return report.Sim{}, err
	}
	full := heap()
	n := float64(o.Sessions)
	result := report.Sim{
		Sessions: o.Sessions, GOGC: o.GOGC,
		HeapBytes:   float64(full.HeapAlloc-empty.HeapAlloc) / n,
		HeapObjects: float64(full.HeapObjects-empty.HeapObjects) / n,
		RSSBytes:    float64(rss()-emptyRSS) / n,
	}
	if err := w.hold(ctx, &result); err != nil {
		return report.Sim{}, err
	}
	return result, nil
}

func newWorld(o Options) (*world, error) {
	garbage := newGarbage(o.Garbage)
	server, err := engine.New(engine.Options{
		PingInterval: o.PingInterval, PingTimeout: o.PingTimeout,
		Limits: engine.Limits{Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, // all clients' one address
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}, engine.Events{Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }})
	if err != nil {
		return nil, err
	}
	began := time.Now()
	w := &world{options: o, server: server, clock: func() time.Duration { return time.Since(began) }}
	table := new(loop.Table)
	share := (o.Sessions + o.Loops - 1) / o.Loops
	loops := make([]*loop.Loop, o.Loops)
	for i := range o.Loops {
		d := newDriver(w, firstDescriptor+i*share, min(share, o.Sessions-i*share))
		if i == 0 {
			d.garbage = garbage
		}
		d.loop = loop.New(i, d, w.clock, table, server.Driver().LoopOptions(), server.Driver().Accept)
		loops[i] = d.loop
		w.drivers = append(w.drivers, d)
	}
	server.Driver().UseLoops(loops)
	return w, nil
}

// start runs a goroutine for each loop.
func (w *world) start() {
	for _, d := range w.drivers {
		w.wait.Go(d.drive)
	}
}

func (w *world) end() {
	w.stop.Store(true)
	for _, d := range w.drivers {
		d.Wake()
	}
	w.wait.Wait()
	for _, d := range w.drivers {
		d.over = true // what closes now is not lost
		d.loop.Close()
	}
}

func (w *world) opened() (n int) {
	for _, d := range w.drivers {
		n += int(d.opened.Load())
	}
	return n
}

func (w *world) open(ctx context.Context) error {
	for _, d := range w.drivers {
		d.openBy.Store(int64(w.clock() + w.options.Opening))
		d.Wake()
	}
	for end := time.Now().Add(10*w.options.Opening + 10*time.Second); w.opened() < w.options.Sessions; {
		if time.Now().After(end) {
			return fmt.Errorf("%w: %d of %d did", ErrOpening, w.opened(), w.options.Sessions)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		w.options.Progress(fmt.Sprintf("%d sessions open", w.opened()))
	}
	return nil
}

// hold lets time pass and fills in what it cost.
func (w *world) hold(ctx context.Context, result *report.Sim) error {
	for _, d := range w.drivers {
		d.messages.Store(int64(max(0, w.options.Messages)) / int64(len(w.drivers)))
	}
	beats, cpu, gc, began := w.heartbeats(), processCPU(), gcSeconds(), time.Now()
	for end := began.Add(w.options.For); time.Now().Before(end); {
		if err := pause(ctx, min(time.Second, time.Until(end))); err != nil {
			return err
		}
		w.options.Progress(fmt.Sprintf("%d heartbeats answered, %s left", w.heartbeats()-beats, time.Until(end).Round(time.Second)))
	}
	result.Elapsed = time.Since(began)
	result.Heartbeats = w.heartbeats() - beats
	result.CPU = (processCPU() - cpu).Seconds() / result.Elapsed.Seconds()
	result.GC = (gcSeconds() - gc) / result.Elapsed.Seconds()
	late := hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
	for _, d := range w.drivers {
		result.Lost += int(d.lost.Load())
		late.Merge(d.lateness())
	}
	result.LatestPing = time.Duration(late.Max()) * time.Microsecond
	result.P99Ping = time.Duration(late.ValueAtQuantile(99)) * time.Microsecond
	w.priceBeats(result)
	return nil
}

// priceBeats divides the CPU time by the heartbeats, where nothing else is done.
func (w *world) priceBeats(result *report.Sim) {
	if w.options.Messages < 0 && w.options.Garbage < 0 && result.Heartbeats > 0 {
		result.HeartbeatCPU = time.Duration(result.CPU * float64(result.Elapsed) / float64(result.Heartbeats))
	}
}

func (w *world) heartbeats() (n int64) {
	for _, d := range w.drivers {
		n += d.beats.Load()
	}
	return n
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// heap is what is alive.
func heap() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC() // the first one leaves what pools had kept
	runtime.ReadMemStats(&m)
	return m
}

func rss() int64 {
	u, err := usage.Of(os.Getpid())
	if err != nil {
		return 0
	}
	return u.RSS
}

func processCPU() time.Duration {
	u, err := usage.Of(os.Getpid())
	if err != nil {
		return 0
	}
	return u.CPU
}

// gcSeconds is the collector's CPU time, as of the end of its last cycle.
func gcSeconds() float64 {
	s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64()
}
