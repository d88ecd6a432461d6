//go:build linux

package load

import (
	"fmt"
	"time"
)

// start enters the first phase.
func (r *runner) start() {
	r.clock()
	r.progress = r.now
	if !r.kind.timing().opens {
		r.load()
		return
	}
	r.unopened = len(r.sessions)
	for _, s := range r.sessions {
		r.opening.add(s)
	}
	r.opening.fill(r)
}

// load begins the load: the sessions that it needs are open.
func (r *runner) load() {
	before := r.server.CPU
	u, err := r.usage()
	if err != nil {
		r.err = err
		return
	}
	r.out.OpenCPU = u.CPU - before
	if r.kind.timing().warms && r.plan.WarmUp > 0 {
		r.phase = warming
		r.until = r.now + int64(r.plan.WarmUp)
		r.kind.begin()
		return
	}
	if r.measure(); r.err == nil {
		r.kind.begin()
	}
}

// measure begins the measurement.
func (r *runner) measure() {
	if r.server, r.err = r.usage(); r.err != nil {
		return
	}
	if r.plan.Ready != nil {
		r.plan.Ready()
	}
	r.cpu = threadCPU()
	r.clock()
	r.phase = measuring
	r.progress = r.now
	r.from = r.now
	r.until = r.now + int64(r.plan.Duration)
	r.heartbeat = r.heartbeats
}

// conclude ends the measurement.
func (r *runner) conclude() {
	r.clock()
	r.out.Elapsed = time.Duration(r.now - r.from)
	r.out.ClientCPU = threadCPU() - r.cpu
	r.out.busy = r.spins()
	before := r.server
	if r.server, r.err = r.usage(); r.err != nil {
		return
	}
	r.out.ServerCPU = r.server.CPU - before.CPU
	r.out.RSSAfter = r.server.RSS
	r.until = r.now + r.grace
	r.phase = draining
	r.kind.end()
}

// advance goes to the next phase when it is time.
func (r *runner) advance() {
	if r.now-r.progress > r.patience {
		if r.phase != opening && r.kind.pending() == 0 {
			r.progress = r.now // there is nothing to wait for
		} else if !r.finished {
			r.finish("no progress for %v", time.Duration(r.patience))
		}
	}
	switch r.phase {
	case opening:
		if r.finished {
			r.abort()
		} else if r.unopened == 0 {
			r.load()
		}
	case warming:
		if r.finished {
			r.abort()
		} else if r.now >= r.until {
			r.measure()
		}
	case measuring:
		if r.finished || r.now >= r.until {
			r.conclude()
		}
	case draining:
		if n := r.kind.pending(); n == 0 || r.now >= r.until || r.kind.timing().ends {
			r.phase = over
			r.missing(n)
		}
	case over:
	}
}

// missing: n replies never came.
func (r *runner) missing(n int) {
	if n > 0 && !r.kind.timing().ends {
		// The first words: whatever else went wrong, this must be read.
		r.out.Wrong += int64(n)
		f := fmt.Sprintf(r.kind.timing().missing, n)
		r.out.Faults = append([]string{f}, r.out.Faults[:min(len(r.out.Faults), maxFaults-1)]...)
	}
}

// abort ends a run that did not come to measure anything.
func (r *runner) abort() {
	r.err = fmt.Errorf("%w: %d of %d sessions opened: %s; first: %s", errNothing,
		len(r.sessions)-r.unopened, len(r.sessions), r.reason, r.out.Faults[0])
}
