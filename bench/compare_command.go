package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"turbine/bench/compare"
	"turbine/bench/peer"
	"turbine/bench/report"
)

type compareCommand struct {
	Peers     []string      `placeholder:"NAME" help:"Peers to measure; a wrong name shows all. All by default, with --quick turbine, gnet, bun and node."`
	Scenarios []string      `placeholder:"ID" help:"Scenarios to run; a wrong name shows all. All by default, with --quick nine of them."`
	Rounds    int           `default:"0" help:"Rounds of each scenario; 0 means 5, or 3 with --quick."`
	Duration  time.Duration `default:"800ms" help:"Measured time of one run."`
	Limit     time.Duration `default:"0" help:"Time for the whole; what has not run then is left out. 0 means 24 minutes, or 170 seconds with --quick."`
	Quick     bool          `help:"Fewer peers, scenarios and rounds."`
	Out       string        `default:"results" placeholder:"DIR" help:"Where the report goes, in the place of the last one; results by default."`
}

// Run measures and writes the report. What was measured before an interrupt goes into
// DIR-partial, next to the report.
func (c *compareCommand) Run(ctx context.Context) error {
	root, err := peer.Root(ctx)
	if err != nil {
		return err
	}
	o := compare.Options{Peers: c.Peers, Scenarios: c.Scenarios, Rounds: c.Rounds, Duration: c.Duration, Limit: c.Limit, Quick: c.Quick}
	servers := compare.Peers(root)
	if err := o.Check(servers); err != nil {
		return err
	}
	built := commit(root) // now: what is changed meanwhile is not measured
	r, ended := compare.Run(ctx, o, servers, &compare.Progress{W: os.Stderr, Terminal: terminal(os.Stderr)})
	r.Commit, r.Command = built, again(os.Args[1:])
	dir := c.Out
	if ended != nil {
		dir += "-partial"
	} else if err := keepOthers(dir, r); err != nil {
		return err
	}
	if err := report.Write(dir, r); err != nil {
		return err
	}
	fmt.Println("the report is in", page(dir), "and report.md next to it")
	return ended
}

// page is the report in dir by its whole path: make calls this program in bench, and
// whoever called make is elsewhere.
func page(dir string) string {
	path := filepath.Join(dir, "report.html")
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

// again is the command that measures the same, in the root of the repository.
func again(args []string) string {
	switch command := strings.Join(args, " "); command {
	case "compare":
		return "make bench"
	case "compare --quick --out results/quick":
		return "make bench-quick"
	default:
		return "cd bench && go run . " + command
	}
}

// keepOthers takes over from the last report what this run does not measure.
func keepOthers(dir string, r *report.Report) error {
	last, err := report.Load(filepath.Join(dir, "report.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r.Sim, r.Million = last.Sim, last.Million
	return nil
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

type peersCommand struct {
	Verbose bool `short:"v" help:"Show what the installers say."`
}

func (c *peersCommand) Run(ctx context.Context) error {
	root, err := peer.Root(ctx)
	if err != nil {
		return err
	}
	log := io.Discard
	if c.Verbose {
		log = os.Stderr
	}
	for _, p := range compare.Peers(root) {
		version, err := p.Install(ctx, log)
		if err != nil {
			version = "cannot be installed: " + err.Error()
		}
		fmt.Printf("%-14s %s\n", p.Name(), version)
	}
	return nil
}

type reportCommand struct {
	File string `arg:"" type:"existingfile" help:"A report.json."`
}

func (c *reportCommand) Run() error {
	r, err := report.Load(c.File)
	if err != nil {
		return err
	}
	return report.Write(filepath.Dir(c.File), r)
}
