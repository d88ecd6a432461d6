package program

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a release has set is said as it is, and what it has not set is never empty.
func TestVersionText(t *testing.T) {
	release := Extra{Version: "1.2.3", Commit: "0123abcd"}
	require.Equal(t, release, release.noted())
	require.Regexp(t, `^1\.2\.3, commit 0123abcd, go\S+ \w+/\w+$`, release.text())
	require.Regexp(t, `^\S+, commit \S+, go\S+ \w+/\w+$`, Extra{Version: unreleased}.noted().text())
}
