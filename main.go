// Turbine is an Engine.IO server: the transport under Socket.IO, on an event
// loop. Run it with --help for its flags; package turbine/engine is the same
// server as a library.
package main

import (
	"os"

	"turbine/internal/program"
)

// These are set by the linker for releases: -ldflags "-X main.version=1.2.3 -X main.commit=...".
var (
	version = "development"
	commit  = ""
)

func main() {
	os.Exit(program.Run(os.Args[1:], os.Stdout, os.Stderr, program.Extra{Version: version, Commit: commit}))
}
