// Crossvet runs the analyzers of go vet on a module for other systems:
//
//	go run . ../../.. freebsd/amd64 linux/386,invariants
//
// Behind a comma is a build tag. It reads what a package imports from source, the
// standard library as well, where go vet has it compiled first: about 10 seconds of
// CPU a system, instead of minutes. It is a module of its own, so that a program that
// imports turbine does not have the analyzers among its modules.
package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/analysis/suite/vet"
	"golang.org/x/tools/go/packages"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: crossvet FOLDER GOOS/GOARCH[,TAG]...")
		os.Exit(2)
	}
	clean := true
	for _, target := range os.Args[2:] {
		fmt.Println("vet for", target)
		if err := check(os.Args[1], target); err != nil {
			fmt.Fprintln(os.Stderr, err)
			clean = false
		}
	}
	if !clean {
		os.Exit(1)
	}
}

// check returns an error when a package or one of its tests does not compile for target, or
// an analyzer has found something, which it prints.
func check(dir, target string) error {
	system, tags, _ := strings.Cut(target, ",")
	goos, goarch, ok := strings.Cut(system, "/")
	if !ok {
		return fmt.Errorf("%s is not GOOS/GOARCH", target)
	}
	all, err := packages.Load(&packages.Config{
		Mode:       packages.LoadAllSyntax | packages.NeedModule,
		Dir:        dir,
		Env:        append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0"),
		BuildFlags: []string{"-tags=" + tags},
		Tests:      true,
	}, "./...")
	if err != nil {
		return err
	}
	if packages.PrintErrors(all) > 0 {
		return fmt.Errorf("%s: it does not compile", target)
	}
	graph, err := checker.Analyze(vet.Suite, all, nil)
	if err != nil {
		return err
	}
	findings := 0
	for _, action := range graph.Roots {
		if action.Err != nil {
			return fmt.Errorf("%s: %v: %w", target, action, action.Err)
		}
		findings += len(action.Diagnostics)
	}
	if findings == 0 {
		return nil
	}
	if err := graph.PrintText(os.Stdout, -1); err != nil {
		return err
	}
	return fmt.Errorf("%s: vet has found something", target)
}
