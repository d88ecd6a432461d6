// Dist makes what a release consists of, in one folder: for each system a static
// binary in an archive and a list of what it is made of, for Linux a deb and an rpm,
// and the checksums of all. make dist runs it in the root of the repository:
//
//	go run ./internal/dist --version 1.2.3 --commit 0123456789ab linux/amd64 linux/arm64
//
// The folder files has what the packages install besides the binary. The same commit
// and tools make the same bytes again.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// flags are those of the tool.
type flags struct {
	Targets []string `arg:"" help:"Systems to build for, as GOOS/GOARCH."`
	Out     string   `default:"dist" help:"Folder that is made anew."`
	Version string   `required:"" help:"Version of the release, such as 1.2.3."`
	Commit  string   `required:"" help:"Commit that it is made of."`
	Date    int64    `required:"" help:"Time of the commit, in seconds since 1970: the time of all files."`
	NFPM    string   `name:"nfpm" placeholder:"FILE" help:"The program nfpm, for packages. Without it none are made."`
	Formats []string `default:"deb,rpm" help:"Formats of packages."`
	SBOM    string   `name:"sbom" placeholder:"FILE" help:"The program cyclonedx-gomod, for lists of what a binary is made of. Without it none are made."`
	Bare    bool     `help:"Leave the archives out."`
	Build   []string `placeholder:"FLAG" help:"More flags of go build, such as -pgo=off."`
}

func main() {
	var f flags
	kong.Parse(&f)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := f.make(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

// A target is a system to build for.
type target struct{ system, arch string }

// make makes everything.
func (f *flags) make(ctx context.Context) error {
	date := time.Unix(f.Date, 0).UTC()
	stages := filepath.Join(f.Out, "stage") // what the packages are made of
	if err := os.RemoveAll(f.Out); err != nil {
		return err
	}
	pages, err := pagesOf(f.Version, date)
	if err != nil {
		return err
	}
	for _, name := range f.Targets {
		system, arch, ok := strings.Cut(name, "/")
		if !ok {
			return fmt.Errorf("%q is no system; linux/amd64 is one", name)
		}
		t := target{system, arch}
		stage := filepath.Join(stages, system+"_"+arch)
		if err := os.MkdirAll(stage, 0o755); err != nil { // #nosec G301 -- of a release
			return err
		}
		for name, text := range pages {
			if err := os.WriteFile(filepath.Join(stage, name), text, 0o644); err != nil { // #nosec G306 -- of a release
				return err
			}
		}
		if err := f.release(ctx, t, stage, date); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return writeChecksums(f.Out)
}

// release makes what there is for one system.
func (f *flags) release(ctx context.Context, t target, stage string, date time.Time) error {
	fmt.Println("dist:", t.system, t.arch)
	if err := f.build(ctx, t, filepath.Join(stage, "turbine")); err != nil {
		return err
	}
	name := fmt.Sprintf("turbine_%s_%s_%s", f.Version, t.system, t.arch)
	if !f.Bare {
		if err := archive(filepath.Join(f.Out, name+".tar.gz"), name, archived(stage), date); err != nil {
			return err
		}
	}
	if f.SBOM != "" {
		if err := f.list(ctx, filepath.Join(stage, "turbine"), filepath.Join(f.Out, name+".cdx.json")); err != nil {
			return err
		}
	}
	if f.NFPM == "" || t.system != "linux" {
		return nil
	}
	for _, format := range f.Formats {
		if err := f.pack(ctx, t, stage, format); err != nil {
			return err
		}
	}
	return nil
}
