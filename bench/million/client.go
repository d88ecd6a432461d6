package million

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"turbine/bench/load"
)

// longest is the time after which a client that nobody ends does so itself.
const longest = 2 * time.Hour

// Hold is a client process: it opens its sessions, says so on out, answers
// their heartbeats until input ends, and says what became of them. locals are
// the addresses that it connects from: each is good for some thousands of
// connections to one server, since the kernel looks for a free port the longer
// the more of them are taken.
func Hold(ctx context.Context, addr string, locals []string, sessions int, input io.Reader, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, input)
		cancel()
	}()
	say := json.NewEncoder(out)
	o, err := load.Run(ctx, load.Plan{
		Kind: load.Idle, Addr: addr, Path: "/engine.io/", Sessions: sessions, InFlight: 100,
		LocalHosts: locals, Duration: longest,
		Ready: func() { _ = say.Encode(Status{Ready: true, Opened: sessions}) },
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("million: client: %w", err)
	}
	return say.Encode(Status{Opened: o.Opened, Lost: o.Lost, Heartbeats: o.Heartbeats, Faults: o.Faults})
}
