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
// their heartbeats until input ends, and says what became of them. local is
// the address that it connects from.
func Hold(ctx context.Context, addr, local string, sessions int, input io.Reader, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, input)
		cancel()
	}()
	say := json.NewEncoder(out)
	o, err := load.Run(ctx, load.Plan{
		Kind: load.Idle, Addr: addr, Path: "/engine.io/", Sessions: sessions, InFlight: 100,
		LocalHosts: []string{local}, Duration: longest,
		Ready: func() { _ = say.Encode(Status{Ready: true, Opened: sessions}) },
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("million: client: %w", err)
	}
	return say.Encode(Status{Opened: o.Opened, Lost: o.Lost, Heartbeats: o.Heartbeats, Faults: o.Faults})
}
