package ops

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBuilt(t *testing.T) {
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abcd"}}
	for _, c := range []struct {
		name            string
		info            *debug.BuildInfo
		version, commit string
	}{
		{"no information", nil, "unknown", "unknown"},
		{"the program", &debug.BuildInfo{Main: debug.Module{Path: "turbine", Version: "v1.2.3"}, Settings: commit}, "v1.2.3", "0123abcd"},
		{"the program without a version", &debug.BuildInfo{Main: debug.Module{Path: "turbine"}}, "unknown", "unknown"},
		{"a program that embeds it", &debug.BuildInfo{
			Main: debug.Module{Path: "example.com/chat", Version: "v9.0.0"}, Settings: commit,
			Deps: []*debug.Module{{Path: "example.com/other", Version: "v3.0.0"}, {Path: "turbine", Version: "v1.2.3"}},
		}, "v1.2.3", "unknown"},
		{"a program that replaces it", &debug.BuildInfo{
			Main: debug.Module{Path: "example.com/chat"},
			Deps: []*debug.Module{{Path: "turbine", Version: "v1.2.3", Replace: &debug.Module{Path: "../turbine"}}},
		}, "unknown", "unknown"},
	} {
		version, commit := built(c.info)
		require.Equal(t, c.version, version, c.name)
		require.Equal(t, c.commit, commit, c.name)
	}
}
