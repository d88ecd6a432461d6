package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A logKey is one word or snake_case, so that a text log can be searched and cut
// by blanks and every key is written the same way.
var logKey = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// keysAt tells at which argument the keys of a call of log/slog begin, and how
// many arguments a key has with its value.
var keysAt = map[string]struct{ first, step int }{
	"Debug": {1, 2}, "Info": {1, 2}, "Warn": {1, 2}, "Error": {1, 2},
	"DebugContext": {2, 2}, "InfoContext": {2, 2}, "WarnContext": {2, 2}, "ErrorContext": {2, 2},
	"Log": {3, 2}, "With": {0, 2}, "WithGroup": {0, 1}, "Group": {0, 100},
	"Any": {0, 100}, "Bool": {0, 100}, "Duration": {0, 100}, "Float64": {0, 100}, "Int": {0, 100}, "Int64": {0, 100},
	"String": {0, 100}, "Time": {0, 100}, "Uint64": {0, 100},
}

// attrs are the functions of that table which count for package slog alone.
var attrs = "Group Any Bool Duration Float64 Int Int64 String Time Uint64"

// Every key of a log record in the source is one word or snake_case, and what
// counts the records that were left out is called the same in all.
func TestLogKeys(t *testing.T) {
	atRoot(t)
	seen := map[string]int{}
	files := token.NewFileSet()
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "node_modules" || name == "testdata" || len(name) > 1 && name[0] == '.'):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			if spec.Path.Value == `"log/slog"` || spec.Path.Value == `"turbine/loop"` || spec.Path.Value == `"turbine/engine"` {
				readKeys(t, files, file, seen)
				return nil
			}
		}
		return nil
	}))
	require.Greater(t, len(seen), 20, "the keys are not found: %v", seen)
	require.GreaterOrEqual(t, seen["suppressed"], 5)
	for _, other := range []string{"unsaid", "dropped", "skipped", "omitted", "swallowed"} {
		require.NotContains(t, seen, other, "records that were left out are suppressed")
	}
}

// The keys of the program's records are listed in docs/operate.md, each with what it means,
// and no other is.
func TestLogKeysAreDocumented(t *testing.T) {
	atRoot(t)
	_, section, found := strings.Cut(document(t, "docs/operate.md"), "\n### Keys\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n#")
	listed := map[string]bool{}
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(line, " | ")
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[0], -1) {
			require.False(t, listed[m[1]], "%s is listed twice", m[1])
			listed[m[1]] = true
		}
	}
	inCode := map[string]int{slog.TimeKey: 1, slog.LevelKey: 1, slog.MessageKey: 1}
	files := token.NewFileSet()
	for _, root := range []string{"engine", "loop", "internal/program", "internal/seldom"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case path == "engine/enginetest" || path == "loop/looptest":
				return filepath.SkipDir // for tests
			case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err == nil {
				readKeys(t, files, file, inCode)
			}
			return err
		}))
	}
	require.Greater(t, len(inCode), 50, "the keys are not found: %v", inCode)
	for key := range inCode {
		require.True(t, listed[key], "docs/operate.md does not list %q", key)
	}
	for key := range listed {
		require.Contains(t, inCode, key, "docs/operate.md lists it, and no record has it")
	}
}

// readKeys counts the keys that are written in the file as literals.
func readKeys(t *testing.T, files *token.FileSet, file *ast.File, seen map[string]int) {
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		fun, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		at, ok := keysAt[fun.Sel.Name]
		if !ok {
			return true
		}
		of, named := fun.X.(*ast.Ident)
		if strings.Contains(attrs, fun.Sel.Name) && (!named || of.Name != "slog") || named && of.Name == "http" {
			return true
		}
		if at.first > 0 && len(call.Args) > 0 && at.first <= len(call.Args) && !isText(call.Args[at.first-1]) {
			return true // no log record: the last of these is its message
		}
		for i := at.first; i < len(call.Args); i += at.step {
			switch arg := call.Args[i].(type) {
			case *ast.BasicLit:
				key, err := strconv.Unquote(arg.Value)
				require.NoError(t, err, "%v", files.Position(arg.Pos()))
				seen[key]++
				if !logKey.MatchString(key) {
					t.Errorf("%v: %q is no key; want one word or snake_case", files.Position(arg.Pos()), key)
				}
			case *ast.CallExpr: // an attribute of its own
				i -= at.step - 1
			}
		}
		return true
	})
}

// isText reports whether the expression is a text, or begins with one.
func isText(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.BinaryExpr:
		return isText(e.X)
	case *ast.Ident:
		return true // it may be
	}
	return false
}
