//go:build !linux

// Chaos runs on Linux only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "chaos: it needs Linux")
	os.Exit(1)
}
