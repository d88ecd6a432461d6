package lint

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// never are words that are never right in our English, each with what to write. Other
// habits are right now and then, and are for a reader to judge.
var never = []struct {
	pattern *regexp.Regexp
	write   string
}{
	{regexp.MustCompile(`\b[Bb]eyond,`), "above what"},
	{regexp.MustCompile(`\bwith commas\b`), "comma-separated"},
	{regexp.MustCompile(`\bsome [0-9]`), "about"},
	{regexp.MustCompile(`\b[Dd]ear\b`), "expensive"},
	{regexp.MustCompile(`\b[Ww]hom\b`), "a sentence with its subject first"},
}

// Comments and documents have none of these words.
func TestWords(t *testing.T) {
	atRoot(t)
	read := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "node_modules" || name == "target" || len(name) > 1 && name[0] == '.'):
			return filepath.SkipDir
		case entry.IsDir():
			return nil
		case filepath.Ext(name) == ".md":
			read++
			judge(t, path, document(t, path))
		case filepath.Ext(name) == ".go":
			read++
			judge(t, path, comments(t, path))
		}
		return nil
	}))
	require.Greater(t, read, 200)
}

func judge(t *testing.T, path, text string) {
	t.Helper()
	for _, habit := range never {
		for _, at := range habit.pattern.FindAllStringIndex(text, -1) {
			t.Errorf("%s: %q: write %s", path, text[max(at[0]-30, 0):min(at[1]+30, len(text))], habit.write)
		}
	}
}

// comments are those of a file, one behind the other.
func comments(t *testing.T, path string) (all string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, group := range file.Comments {
		all += group.Text()
	}
	return all
}
