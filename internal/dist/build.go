package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// build builds the binary: static, without the paths of this machine.
func (f *flags) build(ctx context.Context, t target, path string) error {
	args := append([]string{"build"}, f.Build...)
	// The commit is given, so that a working tree and an unpacked archive build the same.
	args = append(args, "-buildvcs=false", "-trimpath",
		"-ldflags=-s -w -X main.version="+f.Version+" -X main.commit="+f.Commit, "-o", path, ".")
	return run(ctx, []string{"CGO_ENABLED=0", "GOOS=" + t.system, "GOARCH=" + t.arch}, "go", args...)
}

// list writes a CycloneDX list of the modules that a binary is made of.
func (f *flags) list(ctx context.Context, binary, path string) error {
	return run(ctx, nil, f.SBOM, "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", f.Version, "-output", path, binary)
}

// pack makes a package.
func (f *flags) pack(ctx context.Context, t target, stage, format string) error {
	environment := []string{
		"VERSION=" + f.Version, "ARCH=" + t.arch, "STAGE=" + filepath.ToSlash(stage), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", f.Date),
	}
	return run(ctx, environment, f.NFPM, "package", "--config", "internal/dist/files/nfpm.yaml", "--packager", format, "--target", f.Out)
}

// run runs a program with more variables in its environment.
func run(ctx context.Context, environment []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...) // #nosec G204 -- what the caller of this tool asks for
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(append([]string{filepath.Base(name)}, args...), " "), err)
	}
	return nil
}
