package lint

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// snippetPackages are those that the code in the documents may use without saying
// that it imports them, by the name that the code has for them.
var snippetPackages = map[string]string{
	"cluster": "turbine/cluster", "context": "context", "embedded": "turbine/cluster/embedded", "engine": "turbine/engine", "enginetest": "turbine/engine/enginetest", "http": "net/http", "log": "log", "netip": "net/netip", "signal": "os/signal", "testing": "testing", "time": "time",
}

// snippetNames are what the code in the documents may use without declaring it.
const snippetNames = `
var (
	ctx           context.Context
	t             *testing.T
	server        *engine.Server
	session       *engine.Session
	events        engine.Events
	mux           *http.ServeMux
	page          http.HandlerFunc
	authenticated func(http.Handler) http.Handler
	users         map[string]string
	lookUp        func(token string) (user string, err error)
)
`

// The Go code in the documents compiles: whole files as they are, and what is no
// file within a function.
func TestDocumentedGo(t *testing.T) {
	atRoot(t)
	require.NoError(t, goInputs())
	load := exportData(t)
	snippets := 0
	for _, page := range pages(t) {
		for _, m := range regexp.MustCompile("(?m)^```go\\n((?:.*\\n)*?)```$").FindAllStringSubmatch(document(t, page), -1) {
			snippets++
			if err := compile(load, asFile(m[1])); err != nil {
				t.Errorf("%s: %v\n%s", page, err, m[1])
			}
		}
	}
	require.Greater(t, snippets, 10)
}

// asFile is the code as a whole file.
func asFile(code string) string {
	if strings.HasPrefix(code, "package ") {
		return code
	}
	body := snippetNames + "\nfunc _() error {\n" + code + "\nreturn nil\n}\n"
	var file strings.Builder
	file.WriteString("package p\n")
	for name, path := range snippetPackages {
		if regexp.MustCompile(`\b` + name + `\.`).MatchString(body) {
			fmt.Fprintf(&file, "import %s %q\n", name, path)
		}
	}
	return file.String() + body
}

// compile checks the types of a file. A value that a snippet declares for the reader
// alone is no error.
func compile(load types.Importer, code string) (err error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "snippet.go", code, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	config := types.Config{Importer: load, Error: func(e error) {
		if err == nil && !strings.Contains(e.Error(), "declared and not used") {
			err = e
		}
	}}
	_, _ = config.Check("p", files, []*ast.File{file}, nil) // the first error is noted above
	return err
}

// exportData reads what the compiler knows of the packages that snippets use.
func exportData(t *testing.T) types.Importer {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}
	for _, path := range snippetPackages {
		args = append(args, path)
	}
	args = append(args, "errors", "syscall") // whole files import these
	slices.Sort(args[5:])
	cmd := exec.Command("go", args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list: %s", &stderr)
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
}

// Code that is wrong is found.
func TestDocumentedGoFindsFaults(t *testing.T) {
	atRoot(t)
	load := exportData(t)
	require.NoError(t, compile(load, asFile("server, err := engine.New(engine.Options{}, events)\n")))
	require.ErrorContains(t, compile(load, asFile("server.Nothing()\n")), "Nothing")
	require.ErrorContains(t, compile(load, asFile("engine.New(engine.Options{Nothing: 1}, events)\n")), "Nothing")
	require.Error(t, compile(load, asFile("server.Close(\n")))
}

// goInputs looks at all that go list reads, so that the go command does not take
// a cached result of this test when another package has changed.
func goInputs() error {
	return filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && aside(d.Name()):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) == ".go" || d.Name() == "go.mod":
			_, err = os.Stat(path)
		}
		return err
	})
}
