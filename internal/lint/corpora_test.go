package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// Each fuzz target has inputs of its own under testdata/fuzz, which go test
// replays; and inputs whose target has gone are found.
func TestFuzzCorpora(t *testing.T) {
	atRoot(t)
	targets, corpora := map[string]bool{}, map[string]int{} // by folder and name
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		switch {
		case entry.IsDir() && (name == "node_modules" || len(name) > 1 && name[0] == '.'):
			return filepath.SkipDir
		case strings.HasSuffix(name, "_test.go"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, found := range fuzzTarget.FindAllSubmatch(text, -1) {
				targets[filepath.Join(filepath.Dir(path), string(found[1]))] = true
			}
		case !entry.IsDir() && strings.Contains(filepath.ToSlash(path), "/testdata/fuzz/"):
			folder := filepath.Dir(path)
			pkg := filepath.Dir(filepath.Dir(filepath.Dir(folder)))
			corpora[filepath.Join(pkg, filepath.Base(folder))]++
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, targets)
	for target := range targets {
		require.GreaterOrEqual(t, corpora[target], 2, "%s has too few inputs under testdata/fuzz", target)
	}
	for target := range corpora {
		require.True(t, targets[target], "inputs of %s, which does not exist", target)
	}
}
