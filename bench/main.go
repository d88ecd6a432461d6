// Bench compares this server with its peers, and shows what a million sessions
// cost: cd bench && go run . --help. It is a module of its own, so that a program
// that embeds the engine does not inherit what draws its charts.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands is the command line.
type commands struct {
	Compare       compareCommand  `cmd:"" default:"withargs" help:"Measure this server and its peers side by side and write a report."`
	Peers         peersCommand    `cmd:"" help:"Install the peers and show their versions."`
	Report        reportCommand   `cmd:"" help:"Write the report again from its JSON."`
	Sim           simCommand      `cmd:"" help:"Hold simulated sessions in one process: the engine and real frames, no sockets."`
	Million       millionCommand  `cmd:"" help:"Hold real TCP sessions on this machine, over many processes."`
	Watching      watchingCommand `cmd:"" help:"Measure what the operations listener costs, off and scraped, at 18,000 sessions."`
	MillionClient millionClient   `cmd:"" hidden:""`
}

func main() {
	var c commands
	parsed := kong.Parse(&c, kong.Name("bench"),
		kong.Description("Load generator, comparison with peers, and large numbers of sessions. All traffic stays on loopback."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// commit is the repository's, with "+dirty" where the tree differs from it.
func commit(root string) string {
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	id := git("rev-parse", "--short=10", "HEAD")
	if id != "" && git("status", "--porcelain", "--", ".", ":!"+filepath.Join("bench", "results")) != "" {
		id += "+dirty"
	}
	return id
}
