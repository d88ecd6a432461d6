package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"turbine/bench/million"
	"turbine/bench/peer"
	"turbine/bench/watching"
)

type watchingCommand struct {
	Sessions int           `default:"18000" help:"Sessions of each server, of which 100 are busy."`
	Rounds   int           `default:"6" help:"Rounds, each with servers of its own."`
	Turns    int           `default:"10" help:"Turns of a round, in each of which each server has load for a slice."`
	Slice    time.Duration `default:"1s" help:"How long a slice is."`
	Settle   time.Duration `default:"30s" help:"How long sessions are idle before memory is looked at."`
	Before   string        `placeholder:"FILE" help:"The program of an earlier build, to be measured next to this one."`
}

// Run measures what it costs to watch the server, and prints it.
func (c *watchingCommand) Run(ctx context.Context) error {
	root, err := peer.Root(ctx)
	if err != nil {
		return err
	}
	ours := peer.All(root)[0]
	if _, err := ours.Install(ctx, io.Discard); err != nil {
		return err
	}
	result, err := watching.Run(ctx, watching.Options{
		Sessions: c.Sessions, Rounds: c.Rounds, Turns: c.Turns, Slice: c.Slice, Settle: c.Settle, Before: c.Before != "",
		Start: func(ctx context.Context, k watching.Kind, ops string) (*peer.Process, error) {
			s := peer.Settings{App: peer.Echo}
			if k == watching.Before {
				s.Program = c.Before
			} else {
				s.Args = []string{"--ops-addr", ops}
			}
			return ours.Start(ctx, s)
		},
		Hold:     hold,
		Progress: func(text string) { fmt.Fprintln(os.Stderr, text) },
	})
	fmt.Print(result)
	return err
}

// hold starts a client process of millionCommand's, and waits until it has its sessions.
func hold(ctx context.Context, addr string, sessions int) (io.Closer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := []string{"million-client", "--addr", addr, "--sessions", strconv.Itoa(sessions)}
	for k := range 4 {
		argv = append(argv, "--local", fmt.Sprintf("127.0.0.%d", 1+k))
	}
	cmd := exec.CommandContext(ctx, program, argv...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	h := &held{cmd: cmd, input: input, said: json.NewDecoder(bufio.NewReader(out)), sessions: sessions}
	var status million.Status
	if err := h.said.Decode(&status); err != nil || !status.Ready {
		_ = h.Close()
		return nil, fmt.Errorf("%d idle sessions did not open: %v", sessions, status.Faults)
	}
	return h, nil
}

// held is a process that holds idle sessions.
type held struct {
	cmd      *exec.Cmd
	input    io.Closer
	said     *json.Decoder
	sessions int
}

// Close ends them. The error says if some were lost.
func (h *held) Close() error {
	_ = h.input.Close()
	var status million.Status
	err := h.said.Decode(&status)
	if err == nil && (status.Opened < h.sessions || status.Lost > 0) {
		err = fmt.Errorf("of %d idle sessions %d opened and %d were lost: %v", h.sessions, status.Opened, status.Lost, status.Faults)
	}
	return errors.Join(err, h.cmd.Wait())
}
