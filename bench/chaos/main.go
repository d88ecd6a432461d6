//go:build linux

// Chaos starts the server and sets clients on it that are slow, deaf, vanished or
// broken, thousands at once, while well-behaved sessions echo. It measures what the
// well-behaved notice, and checks that every session ends for the right reason and
// that memory and descriptors come back: make chaos.
//
// As root it does so in a network namespace of its own, where a link can be
// taken down; without, that part is not run.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands is the command line. The hidden ones are the processes that it
// consists of.
type commands struct {
	Run    runCommand    `cmd:"" default:"withargs" help:"Build the server, run all phases, and write the report."`
	Inside insideCommand `cmd:"" hidden:""`
	Attack attackCommand `cmd:"" hidden:""`
	Vanish vanishCommand `cmd:"" hidden:""`
}

func main() {
	var c commands
	parsed := kong.Parse(&c, kong.Name("chaos"), kong.Vars{"phases": names()},
		kong.Description("Slow, deaf, vanished and broken clients against the server, next to well-behaved ones."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}
