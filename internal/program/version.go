package program

import (
	"cmp"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

// unreleased is the version of a main package that no release has set.
const unreleased = "development"

// noted is x with what the go command has noted in the place of what the release has
// not set. The commit may still be empty.
func (x Extra) noted() Extra {
	if info, ok := debug.ReadBuildInfo(); ok {
		if x.Version == unreleased {
			x.Version = cmp.Or(info.Main.Version, x.Version)
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				x.Commit = cmp.Or(x.Commit, s.Value[:min(len(s.Value), 12)])
			}
		}
	}
	return x
}

// text is what --version says behind the name: the version, the commit and Go's version.
func (x Extra) text() string {
	return x.Version + ", commit " + cmp.Or(x.Commit, "unknown") + ", " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}

// Model is what the program takes on its command line, for the man page and the
// completions of shells.
func Model() *kong.Application { return newParser(&commands{}, "", io.Discard, io.Discard).Model }
