package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The statements about the protocol that docs/conformance.md answers for, one
// by one or, where a row has the first and the last of several, in a group.
const statements = 292

// A row is one line of the table in docs/conformance.md. Its last cell begins
// with one of the words below and a colon; what stands in backquotes behind it
// and looks like the name of a test is one.
type row struct {
	line  int
	kind  string
	tests []string
}

const (
	rowTested        = "tested"         // as stated
	rowBetter        = "better"         // otherwise, on purpose
	rowNotApplicable = "not applicable" // Node's affair, or the client's
	rowPending       = "pending"        // fails with TURBINE_CONFORMANCE=strict
)

var (
	numbered = regexp.MustCompile(`T(\d{3})(?:\D|$)`)
	quoted   = regexp.MustCompile("`((?:Test|Example|Fuzz)\\w+|[\\w.-]+\\.(?:txt|js))`")
)

// Every statement has a test that bears its number, or a row that says why not
// and what happens instead; and what the page claims is so.
func TestConformance(t *testing.T) {
	atRoot(t)
	rows, grouped := readConformance(t)
	tests := readNumberedTests(t)
	borne := map[int]bool{}
	for _, numbers := range tests {
		for n := range numbers {
			borne[n] = true
		}
	}
	var pending []string
	for n := 1; n <= statements; n++ {
		name := fmt.Sprintf("T%03d", n)
		r, listed := rows[n]
		require.False(t, listed && grouped[n], "%s: a row, and in a group", name)
		if grouped[n] {
			continue
		}
		if !listed {
			if !borne[n] {
				t.Errorf("%s: no row in docs/conformance.md, and no test bears the number", name)
			}
			continue
		}
		at := fmt.Sprintf("docs/conformance.md:%d: %s", r.line, name)
		switch {
		case r.kind == rowTested && !borne[n]:
			t.Errorf("%s is called tested, but no test bears the number", at)
		case r.kind == rowTested && len(r.tests) == 0:
			t.Errorf("%s is called tested, but names no test", at)
		case r.kind == rowPending:
			pending = append(pending, name)
		}
		for _, test := range r.tests {
			numbers, exists := tests[test]
			switch {
			case !exists:
				t.Errorf("%s names %s, which does not exist", at, test)
			case r.kind == rowTested && !numbers[n]:
				t.Errorf("%s names %s, which does not bear the number", at, test)
			}
		}
	}
	for n := range rows {
		require.True(t, 1 <= n && n <= statements, "a row for T%03d, which is no statement", n)
	}
	if len(pending) > 0 {
		text := fmt.Sprintf("%d pending: %s", len(pending), strings.Join(pending, " "))
		if os.Getenv("TURBINE_CONFORMANCE") == "strict" {
			t.Error(text)
		} else {
			t.Log(text)
		}
	}
}

func readConformance(t *testing.T) (rows map[int]row, grouped map[int]bool) {
	text, err := os.ReadFile("docs/conformance.md")
	require.NoError(t, err)
	rows, grouped = map[int]row{}, map[int]bool{}
	for i, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "T") {
			continue
		}
		at := fmt.Sprintf("docs/conformance.md:%d", i+1)
		require.Len(t, cells, 5, "%s: a row has three cells", at)
		number := strings.TrimSpace(cells[1])
		if strings.Contains(number, "-") {
			var first, last int
			_, err := fmt.Sscanf(number, "T%d-T%d", &first, &last)
			require.NoError(t, err, at)
			for n := first; n <= last; n++ {
				grouped[n] = true
			}
			continue
		}
		require.Regexp(t, `^T\d{3}$`, number, at)
		n, err := strconv.Atoi(number[1:])
		require.NoError(t, err, at)
		require.NotContains(t, rows, n, "%s: %s twice", at, number)
		kind, why, _ := strings.Cut(strings.TrimSpace(cells[3]), ":")
		require.Contains(t, []string{rowTested, rowBetter, rowNotApplicable, rowPending}, kind, at)
		require.NotEmpty(t, strings.TrimSpace(cells[2]), at)
		require.NotEmpty(t, strings.TrimSpace(why), at)
		r := row{line: i + 1, kind: kind}
		for _, found := range quoted.FindAllStringSubmatch(why, -1) {
			r.tests = append(r.tests, found[1])
		}
		rows[n] = r
	}
	return rows, grouped
}

// readNumberedTests finds all tests and the numbers they bear: scripts and the
// programs of internal/e2e by their file's name, Go tests by their function's,
// with the numbers in its comment and its body.
func readNumberedTests(t *testing.T) map[string]map[int]bool {
	tests := map[string]map[int]bool{}
	bear := func(test, text string) {
		if tests[test] == nil {
			tests[test] = map[int]bool{}
		}
		for _, found := range numbered.FindAllStringSubmatch(text, -1) {
			n, _ := strconv.Atoi(found[1])
			tests[test][n] = true
		}
	}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if name == "node_modules" || name == "target" || len(name) > 1 && name[0] == '.' {
				return filepath.SkipDir
			}
			return nil
		}
		inTestdata := slices.Contains(strings.Split(filepath.ToSlash(path), "/"), "testdata")
		program := strings.HasSuffix(name, ".js") && strings.HasPrefix(filepath.ToSlash(path), "internal/e2e/")
		goTest := strings.HasSuffix(name, "_test.go") && filepath.ToSlash(path) != "internal/lint/conformance_test.go"
		if !goTest && !program && !(inTestdata && strings.HasSuffix(name, ".txt")) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !goTest {
			bear(name, string(text))
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declared := range file.Decls {
			f, ok := declared.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !quoted.MatchString("`"+f.Name.Name+"`") {
				continue
			}
			from := f.Pos()
			if f.Doc != nil {
				from = f.Doc.Pos()
			}
			bear(f.Name.Name, string(text[files.Position(from).Offset:files.Position(f.End()).Offset]))
		}
		return nil
	})
	require.NoError(t, err)
	return tests
}
