//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// settings are the flags of a run.
type settings struct {
	For    time.Duration `default:"15s" help:"How long the clients of an attack that end are replaced by others."`
	Scale  float64       `default:"1" help:"Factor for the number of misbehaving clients."`
	Phases []string      `placeholder:"NAME" help:"Phases to run: ${phases}. All by default."`
	Out    string        `default:"../docs/chaos.md" help:"File for the report; - for none."`
}

// choose returns the phases to run.
func (s *settings) choose() ([]phase, error) {
	var chosen []phase
	for _, p := range phases {
		if len(s.Phases) == 0 || slices.Contains(s.Phases, p.name) {
			chosen = append(chosen, p.scaled(s.Scale))
		}
	}
	for _, name := range s.Phases {
		if !slices.ContainsFunc(phases, func(p phase) bool { return p.name == name }) {
			return nil, fmt.Errorf("--phases: there is no %q; there are %s", name, names())
		}
	}
	if s.For < time.Second {
		return nil, fmt.Errorf("--for: %v is less than a second", s.For)
	}
	if s.Scale <= 0 {
		return nil, fmt.Errorf("--scale: %v is not above 0", s.Scale)
	}
	return chosen, nil
}

// runCommand builds the server, and goes into a namespace where it can.
type runCommand struct{ settings }

func (r *runCommand) Run(ctx context.Context) error {
	if _, err := r.choose(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "turbine-chaos-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	p := programs{Binary: filepath.Join(dir, "turbine"), Busy: filepath.Join(dir, "busy")}
	fmt.Fprintln(os.Stderr, "building the servers")
	if err := p.build(ctx); err != nil {
		return err
	}
	if err := canSeparate(); err != nil {
		fmt.Fprintf(os.Stderr, "no network namespaces (%v): nobody will vanish\n", err)
		inside := insideCommand{settings: r.settings, programs: p}
		return inside.Run(ctx)
	}
	args := []string{"inside", "--binary", p.Binary, "--busy", p.Busy, "--separate", "--for", r.For.String(), "--scale", fmt.Sprint(r.Scale), "--out", r.Out}
	for _, name := range r.Phases {
		args = append(args, "--phases", name)
	}
	cmd := separately(preferred(ctx, args...))
	cmd.Stdout = os.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("something is wrong: %w", err)
	}
	return nil
}

// insideCommand runs the phases where it is.
type insideCommand struct {
	settings
	programs
	Separate bool // it is in a namespace of its own
}

// Errors of a run.
var errFacts = errors.New("the report lists what is wrong")

func (i *insideCommand) Run(ctx context.Context) error {
	chosen, err := i.choose()
	if err != nil {
		return err
	}
	host := "127.0.0.1"
	if i.Separate {
		host = "0.0.0.0" // of this namespace
		prefer()
		if err := limitSendBuffers(); err != nil {
			return err
		}
		if err := ip("link", "set", "lo", "up"); err != nil {
			return err
		}
	}
	r := runner{programs: i.programs, host: host, settings: &i.settings, separate: i.Separate}
	defer r.stop()
	for _, p := range chosen {
		row, err := r.phase(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		r.rows = append(r.rows, row)
	}
	return r.finish()
}

// finish writes the report, and says whether a fact is wrong.
func (r *runner) finish() error {
	text := r.report()
	fmt.Print(text)
	if r.settings.Out != "-" {
		if err := os.WriteFile(r.settings.Out, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, row := range r.rows {
		if len(row.wrong) > 0 {
			return errFacts
		}
	}
	return nil
}

// machine is where the figures come from.
func machine() string {
	cpu := runtime.GOARCH
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		text, _ := io.ReadAll(f)
		_ = f.Close()
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores (%s), %s", runtime.NumCPU(), cpu, runtime.Version())
}
