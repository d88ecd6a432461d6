// Package invariants holds the project's internal rules to account in builds
// with the tag `invariants`, and costs nothing in all others:
//
//	go test -tags invariants ./...
//
// A broken rule is a bug of ours, never the doing of a peer, so it panics.
package invariants

import "fmt"

// Check panics with the formatted message when ok is false and the build has
// the tag invariants. Arguments are evaluated in every build: keep them cheap.
func Check(ok bool, format string, args ...any) {
	if Enabled && !ok {
		panic("invariant broken: " + fmt.Sprintf(format, args...))
	}
}
