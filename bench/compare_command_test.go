package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The command that a report names works in the root of the repository.
func TestAgain(t *testing.T) {
	for args, want := range map[string]string{
		"compare":                             "make bench",
		"compare --quick --out results/quick": "make bench-quick",
		"compare --peers bun":                 "cd bench && go run . compare --peers bun",
	} {
		require.Equal(t, want, again(strings.Fields(args)))
	}
}
