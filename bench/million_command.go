package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"turbine/bench/million"
	"turbine/bench/peer"
	"turbine/bench/report"
)

type millionCommand struct {
	Sessions int           `default:"1000000" help:"Sessions in all."`
	Hold     time.Duration `default:"5m" help:"How long they are held."`
	Out      string        `default:"results" placeholder:"DIR" help:"The report that the figures go into."`
}

// Run holds real sessions, after saying what that takes.
func (c *millionCommand) Run(ctx context.Context) error {
	root, err := peer.Root(ctx)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ours := peer.All(root)[0]
	if _, err := ours.Install(ctx, io.Discard); err != nil {
		return err
	}
	started := 0
	result, err := million.Run(ctx, million.Options{
		Sessions: c.Sessions, Hold: c.Hold,
		Server: func(ctx context.Context) (*peer.Process, error) {
			// One loop and one CPU each: there are many more servers than CPUs.
			started++
			return ours.Start(ctx, peer.Settings{App: peer.Echo, Core: started % runtime.NumCPU()})
		},
		Client: func(i int, addr string, sessions int) []string {
			argv := []string{program, "million-client", "--addr", addr, "--sessions", fmt.Sprint(sessions)}
			for k := range 8 {
				argv = append(argv, "--local", fmt.Sprintf("127.0.%d.%d", 1+k, 1+i%250))
			}
			return argv
		},
		Progress: func(text string) { fmt.Fprintln(os.Stderr, text) },
	})
	if err != nil {
		return err
	}
	fmt.Printf("%+v\n", result)
	if err := report.Update(c.Out, func(r *report.Report) { r.Million = &result }); err != nil {
		return err
	}
	fmt.Println("added to", page(c.Out))
	return nil
}

// millionClient is a process of millionCommand's.
type millionClient struct {
	Addr     string   `required:""`
	Local    []string `required:""`
	Sessions int      `required:""`
}

func (c *millionClient) Run(ctx context.Context) error {
	return million.Hold(ctx, c.Addr, c.Local, c.Sessions, os.Stdin, os.Stdout)
}
