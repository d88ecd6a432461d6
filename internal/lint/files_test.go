package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// named are the names of files and folders of the repository in a page: what is
// quoted and is either a Go file, or a path that begins with one of folders.
func named(text string, folders []string) (all []string) {
	for _, m := range quotedPath.FindAllStringSubmatch(prose(text), -1) {
		top, _, deep := strings.Cut(m[1], "/")
		if strings.HasSuffix(m[1], ".go") || deep && slices.Contains(folders, top) {
			all = append(all, m[1])
		}
	}
	return all
}

var quotedPath = regexp.MustCompile("`([\\w./-]+)`")

// Each file and folder that a page names by its path is there, from the root
// or, as in the README of an example, from the page's own folder.
func TestNamedFilesExist(t *testing.T) {
	atRoot(t)
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	var folders []string
	for _, entry := range entries {
		if entry.IsDir() {
			folders = append(folders, entry.Name())
		}
	}
	checked := 0
	for _, page := range pages(t) {
		for _, name := range named(document(t, page), folders) {
			checked++
			_, fromRoot := os.Stat(name)
			_, fromPage := os.Stat(filepath.Join(filepath.Dir(page), name))
			if fromRoot != nil && fromPage != nil {
				t.Errorf("%s: no file %s", page, name)
			}
		}
	}
	require.Greater(t, checked, 40)
}

// What looks like a path is one only where it begins with a folder of the
// repository; whatever ends in .go is a file.
func TestNamed(t *testing.T) {
	text := "In `engine/http.go`, `refuse.go` and `bench/sim`; not `net/http`, `engine`,\n```\n`engine/none.go`\n```\nnor engine/bare.go.\n"
	require.Equal(t, []string{"engine/http.go", "refuse.go", "bench/sim"}, named(text, []string{"engine", "bench"}))
}
