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

// versionText is what --version says behind the name: the version, the commit and
// Go's version. What the release has not set is what the go command has noted.
func versionText(x Extra) string {
	version, commit := x.Version, x.Commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if version == unreleased {
			version = cmp.Or(info.Main.Version, version)
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = cmp.Or(commit, s.Value[:min(len(s.Value), 12)])
			}
		}
	}
	return version + ", commit " + cmp.Or(commit, "unknown") + ", " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}

// Model is what the program takes on its command line, for the man page and the
// completions of shells.
func Model() *kong.Application { return newParser(&commands{}, "", io.Discard, io.Discard).Model }
