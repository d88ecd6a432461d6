package compare

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"turbine/bench/load"
	"turbine/bench/peer"
	"turbine/bench/report"
)

// field is the servers of one scenario while it runs.
type field struct {
	*comparison
	part     part
	settings peer.Settings
	running  map[Server]Running
	failed   map[Server]bool
}

// turn is one run on one server.
func (f *field) turn(ctx context.Context, round int, s Server) {
	id := f.part.scenario.id
	if f.failed[s] {
		return
	}
	plan := f.part.scenario.planFor(s, f.options)
	r, err := f.server(ctx, s, &plan)
	if err != nil {
		f.fail(s, err)
		return
	}
	before, unseen := f.look(r)
	outcome, err := f.once(ctx, s, r, plan)
	after, gone := f.look(r)
	if f.part.scenario.fresh || f.part.scenario.once {
		delete(f.running, s)
		if err := r.Stop(); err != nil {
			f.remark(fmt.Sprintf("%s: %v", s.Name(), err))
		}
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		f.fail(s, err)
		return
	}
	sample := sampleOf(outcome)
	sample.Offered = plan.Rate + outcome.Made // a plan has one of them
	if errors.Join(unseen, gone) == nil {
		disturb(&sample, before, after)
	}
	f.keep(s.Name(), sample)
	described, _ := report.ScenarioOf(id)
	f.progress.Done(id, round, s.Name(), described.Figure, sample, f.part.scenario.cost(s, f.options))
}

// server is the server, started and warm. It gives the plan its rate, where that
// depends on what the server can do.
func (f *field) server(ctx context.Context, s Server, plan *load.Plan) (Running, error) {
	share := f.part.scenario.share
	if share > 0 {
		plan.Rate = share * f.most[s.Name()]
	}
	if r := f.running[s]; r != nil {
		return r, nil
	}
	r, err := s.Start(ctx, f.settings)
	if err != nil {
		return nil, err
	}
	f.running[s] = r
	if f.part.scenario.fresh || f.part.scenario.once {
		return r, nil
	}
	if share > 0 && f.most[s.Name()] == 0 {
		if f.most[s.Name()], err = f.saturation(ctx, s, r); err != nil {
			return r, err
		}
		plan.Rate = share * f.most[s.Name()]
	}
	warming := *plan
	warming.WarmUp, warming.Duration = 0, f.options.Duration/2
	_, err = f.once(ctx, s, r, warming)
	return r, err
}

// saturations are the runs of which the median counts, as of all figures.
const saturations = 3

// saturation is how many messages a second the server echoes in a closed loop, of
// the same sessions and messages as in the scenario.
func (f *field) saturation(ctx context.Context, s Server, r Running) (float64, error) {
	plan := f.part.scenario.planFor(s, f.options)
	plan.Kind, plan.InFlight = load.Echo, 1
	var rates []float64
	for range saturations {
		o, err := f.once(ctx, s, r, plan)
		if err != nil {
			return 0, err
		}
		rates = append(rates, report.Wall.Of(sampleOf(o)))
	}
	slices.Sort(rates)
	return rates[saturations/2], nil
}

func (f *field) once(ctx context.Context, s Server, r Running, plan load.Plan) (load.Outcome, error) {
	s.Address(&plan, r)
	plan.Server = r.Usage
	if f.part.scenario.resume {
		plan.TLS = plan.TLS.Clone()
		plan.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return f.run(ctx, plan)
}

func (f *field) fail(s Server, err error) {
	f.failed[s] = true
	f.remark(fmt.Sprintf("%s, %s: %v.", f.part.scenario.id, s.Name(), err))
	f.progress.Say(fmt.Sprintf("%s failed at %s: %v", s.Name(), f.part.scenario.id, err))
}

func (f *field) keep(name string, sample report.Sample) {
	id := f.part.scenario.id
	c := f.report.Cell(id, name)
	if c == nil {
		f.report.Cells = append(f.report.Cells, report.Cell{Scenario: id, Peer: name})
		c = &f.report.Cells[len(f.report.Cells)-1]
	}
	c.Samples = append(c.Samples, sample)
}

func (f *field) stop() {
	for s, r := range f.running {
		if err := r.Stop(); err != nil {
			f.remark(fmt.Sprintf("%s: %v", s.Name(), err))
		}
	}
}

func sampleOf(o load.Outcome) report.Sample {
	s := report.Sample{
		Operations: o.Operations, Elapsed: o.Elapsed, ServerCPU: o.ServerCPU, ClientCPU: o.ClientCPU,
		Sessions: o.Opened, RSS: o.RSSAfter - o.RSSBefore, OpenCPU: o.OpenCPU,
		Resumed: o.Resumed, Starved: o.Starved, Lost: o.Lost, Wrong: o.Wrong, Faults: o.Faults, ClientBound: o.ClientBound(),
	}
	if o.Lag != nil {
		s.Lag = float64(o.Lag.ValueAtQuantile(99))
	}
	if o.Latency != nil {
		s.P50 = float64(o.Latency.ValueAtQuantile(50))
		s.P99 = float64(o.Latency.ValueAtQuantile(99))
		s.P999 = float64(o.Latency.ValueAtQuantile(99.9))
		s.Most = float64(o.Latency.Max())
	}
	if s.Elapsed <= 0 {
		s.Elapsed = time.Nanosecond
	}
	return s
}
