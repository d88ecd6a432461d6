package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"turbine/bench/report"
	"turbine/bench/sim"
)

type simCommand struct {
	Sessions     []int         `default:"100000,1000000" help:"Numbers of sessions, each in a process of its own."`
	For          time.Duration `default:"3m" help:"How long they are held."`
	PingInterval time.Duration `default:"25s" help:"Heartbeat; the sessions open over as long."`
	Messages     int           `default:"20000" help:"Messages of 128 B a second in all, to sessions at random and back; -1 for none."`
	Garbage      int           `default:"10000000" help:"Bytes a second that the application allocates; -1 for none."`
	GOGC         int           `name:"gogc" default:"50" help:"GOGC of the process."`
	Out          string        `default:"results" placeholder:"DIR" help:"The report that the figures go into."`
	Child        bool          `hidden:"" help:"Run one simulation and print its result."`
}

// Run simulates each number of sessions and puts the results into the report.
func (c *simCommand) Run(ctx context.Context) error {
	if c.Child {
		return c.child(ctx)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	var results []report.Sim
	for _, n := range c.Sessions {
		fmt.Fprintf(os.Stderr, "%d sessions: opened over %s, held for %s\n", n, c.PingInterval, c.For)
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, program, "sim", "--child", fmt.Sprintf("--sessions=%d", n), "--for="+c.For.String(),
			"--ping-interval="+c.PingInterval.String(), fmt.Sprintf("--messages=%d", c.Messages),
			fmt.Sprintf("--garbage=%d", c.Garbage), fmt.Sprintf("--gogc=%d", c.GOGC))
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
		var one report.Sim
		if err := json.Unmarshal(out.Bytes(), &one); err != nil {
			return err
		}
		fmt.Println(out.String())
		results = append(results, one)
	}
	if err := report.Update(c.Out, func(r *report.Report) { r.Sim = results }); err != nil {
		return err
	}
	fmt.Println("added to", page(c.Out))
	return nil
}

func (c *simCommand) child(ctx context.Context) error {
	last := time.Now()
	result, err := sim.Run(ctx, sim.Options{
		Sessions: c.Sessions[0], For: c.For, PingInterval: c.PingInterval, Messages: c.Messages, Garbage: c.Garbage, GOGC: c.GOGC,
		Progress: func(text string) {
			if time.Since(last) > 5*time.Second {
				last = time.Now()
				fmt.Fprintln(os.Stderr, text)
			}
		},
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
