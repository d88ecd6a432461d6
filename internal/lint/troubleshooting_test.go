package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What docs/troubleshooting.md quotes as seen is a text of the source.
func TestTroubleshootingQuotes(t *testing.T) {
	atRoot(t)
	texts := sourceTexts(t)
	span, quote := regexp.MustCompile("`[^`]*`"), regexp.MustCompile(`"([^"]+)"`)
	quotes := 0
	for line := range strings.Lines(document(t, "docs/troubleshooting.md")) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		for _, m := range quote.FindAllStringSubmatch(span.ReplaceAllString(line, ""), -1) {
			quotes++
			require.Contains(t, texts, m[1], "no text of the source")
		}
	}
	require.Greater(t, quotes, 12)
}

// sourceTexts are all texts in the code of the packages that serve, tests left out.
func sourceTexts(t *testing.T) string {
	t.Helper()
	var texts strings.Builder
	for _, root := range []string{"engine", "httpparse", "loop", "wsframe", "internal/program"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					text, _ := strconv.Unquote(l.Value)
					texts.WriteString(text + "\n")
				}
				return true
			})
			return nil
		}))
	}
	return texts.String()
}
