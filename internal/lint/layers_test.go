package lint

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A layer is one package's row in the picture of docs/design.md:
// what it may import besides the standard library.
type layer struct {
	ours  []string // below the module, "." is the root
	other []string
}

const (
	bytebufferpool = "github.com/valyala/bytebufferpool"
	gnetErrors     = "github.com/panjf2000/gnet/v2/pkg/errors"
	gnetNetpoll    = "github.com/panjf2000/gnet/v2/pkg/netpoll"
	gobwas         = "github.com/gobwas/ws"
	gobwasFlate    = "github.com/gobwas/ws/wsflate"
	httphead       = "github.com/gobwas/httphead"
	hdrHistogram   = "github.com/HdrHistogram/hdrhistogram-go"
	plot           = "gonum.org/v1/plot"
	plotter        = "gonum.org/v1/plot/plotter"
	plotFont       = "gonum.org/v1/plot/font"
	vgDraw         = "gonum.org/v1/plot/vg/draw"
	vg             = "gonum.org/v1/plot/vg"
	vgSVG          = "gonum.org/v1/plot/vg/vgsvg"
	fsNotify       = "github.com/fsnotify/fsnotify"
	procfs         = "github.com/prometheus/procfs"
	proxyProto     = "github.com/pires/go-proxyproto"
	klauspostFlate = "github.com/klauspost/compress/flate"
	klauspostGzip  = "github.com/klauspost/compress/gzip"
	memLimit       = "github.com/KimMachineGun/automemlimit/memlimit"
	sdActivation   = "github.com/coreos/go-systemd/v22/activation"
	sdDaemon       = "github.com/coreos/go-systemd/v22/daemon"
	tableFlip      = "github.com/cloudflare/tableflip"
	klauspostZlib  = "github.com/klauspost/compress/zlib"
	kongFlags      = "github.com/alecthomas/kong"
	testify        = "github.com/stretchr/testify/require"
	sysUnix        = "golang.org/x/sys/unix"
)

// layers is the picture. A package that is not in it has no place in the house.
var layers = map[string]layer{
	".":                    {[]string{"internal/program"}, nil},
	"internal/program":     {[]string{"engine"}, []string{fsNotify, kongFlags, memLimit, sdActivation, sdDaemon, tableFlip}},
	"engine":               {[]string{"loop", "httpparse", "wsframe", "engine/packet", "pool", "internal/invariants", "internal/peers", "internal/proxied", "internal/seldom"}, []string{gobwas, klauspostFlate, klauspostGzip, klauspostZlib}},
	"engine/packet":        {},
	"httpparse":            {},
	"wsframe":              {[]string{"pool", "internal/invariants"}, []string{gobwas, gobwasFlate, httphead, klauspostFlate}},
	"loop":                 {[]string{"pool", "internal/invariants", "internal/peers", "internal/seldom"}, []string{gnetErrors, gnetNetpoll, sysUnix}},
	"loop/looptest":        {[]string{"loop"}, nil}, // for tests, of programs too: no testify
	"pool":                 {[]string{"internal/invariants"}, []string{bytebufferpool}},
	"internal/invariants":  {},
	"internal/peers":       {},
	"internal/proxied":     {[]string{"httpparse", "internal/peers"}, []string{proxyProto}},
	"internal/seldom":      {},
	"internal/certs":       {nil, []string{testify}}, // for tests
	"internal/requests":    {},                       // a table for tests
	"internal/lint":        {},                       // tests of the repository
	"internal/busy":        {[]string{"engine"}, []string{kongFlags}},
	"internal/chaos":       {[]string{"bench/load", "bench/usage", "engine/packet", "wsframe"}, []string{gobwas, hdrHistogram, klauspostFlate, kongFlags, procfs}},
	"internal/e2e":         {}, // starts the binary
	"internal/e2e/testapp": {[]string{"engine"}, nil},
	"internal/e2e/feeder":  {[]string{"engine"}, nil},
	"internal/e2e/target":  {[]string{"engine", "loop", "httpparse", "wsframe", "pool"}, []string{gobwas, kongFlags}},
	"bench":                {[]string{"bench/compare", "bench/load", "bench/million", "bench/peer", "bench/report", "bench/sim"}, []string{kongFlags}},
	"bench/compare":        {[]string{"bench/load", "bench/peer", "bench/report", "bench/usage"}, []string{procfs, sysUnix}},
	"bench/load":           {[]string{"bench/usage", "engine/packet", "wsframe"}, []string{gobwas, hdrHistogram, sysUnix}},
	"bench/million":        {[]string{"bench/load", "bench/peer", "bench/report", "bench/usage"}, []string{procfs, sysUnix}},
	"bench/peer":           {[]string{"bench/load", "bench/usage"}, nil},
	"bench/report":         {nil, []string{plot, plotFont, plotter, vg, vgDraw, vgSVG}},
	"bench/sim":            {[]string{"bench/report", "bench/usage", "engine", "loop", "wsframe"}, []string{gobwas, hdrHistogram}},
	"bench/usage":          {nil, []string{procfs}},

	"engine/enginetest":      {[]string{"engine", "engine/packet", "wsframe", "loop", "loop/looptest"}, []string{gobwas}}, // for tests of programs: no testify
	"loop/looptest/contract": {[]string{"loop", "loop/looptest", "pool", "internal/certs"}, []string{testify}},
}

// testsOnTop are the packages whose tests may import engine: those that may do
// so themselves, and its own.
var testsOnTop = []string{"internal/program", "engine", "engine/enginetest", "internal/e2e/target", "bench/load", "bench/sim"}

func TestLayers(t *testing.T) {
	atRoot(t)
	imports, tests := readImports(t)
	for name, list := range imports {
		row, known := layers[name]
		if !known {
			t.Errorf("package %s is not in the picture: give it a row in layers and in docs/design.md, section 2", name)
			continue
		}
		for _, path := range list {
			if mine, ok := ours(path); ok {
				if !slices.Contains(row.ours, mine) {
					t.Errorf("%s imports %s, which is not below it", name, mine)
				}
			} else if !standard(path) && !slices.Contains(row.other, path) {
				t.Errorf("%s imports %s, which is not its business", name, path)
			}
		}
	}
	for name, list := range tests {
		for _, path := range list {
			mine, ok := ours(path)
			switch {
			case !ok || mine == name: // a test outside its package
			case mine == "internal/requests", mine == "internal/certs": // data
			case name == "internal/lint":
				t.Errorf("a test of internal/lint imports %s: it reads the repository", mine)
			case name == "internal/e2e":
				t.Errorf("a test of internal/e2e imports %s: it knows the binary only", mine)
			case mine == "engine" && !slices.Contains(testsOnTop, name):
				t.Errorf("a test of %s imports engine", name)
			}
		}
	}
}

// TestLayersHaveNoCycle looks at the picture itself: the compiler refuses a
// cycle of imports, but not two rows that allow one between them.
func TestLayersHaveNoCycle(t *testing.T) {
	done := map[string]bool{}
	var visit func(name string, path []string)
	visit = func(name string, path []string) {
		require.NotContains(t, path, name, "a cycle")
		if done[name] {
			return
		}
		row, known := layers[name]
		require.True(t, known, "%v allows %s, which has no row", path, name)
		for _, below := range row.ours {
			visit(below, append(path, name))
		}
		done[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(layers)) {
		visit(name, nil)
	}
}

// TestLayersHaveOneOwner holds what docs/design.md says of one room alone.
func TestLayersHaveOneOwner(t *testing.T) {
	owners := map[string][]string{
		bytebufferpool: {"pool"},
		gnetErrors:     {"loop"},
		gnetNetpoll:    {"loop"},
		proxyProto:     {"internal/proxied"},
		"engine":       {"bench/sim", "engine/enginetest", "internal/busy", "internal/e2e/feeder", "internal/e2e/target", "internal/e2e/testapp", "internal/program"},
	}
	for path, want := range owners {
		var got []string
		for name, row := range layers {
			if slices.Contains(row.ours, path) || slices.Contains(row.other, path) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		require.Equal(t, want, got, "who may import %s", path)
	}
}

// TestProgramIsForMainsAlone looks at the files of all modules: what a package could
// take from the program belongs into a room of its own.
func TestProgramIsForMainsAlone(t *testing.T) {
	atRoot(t)
	require.NoError(t, layerInputs())
	users := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == ".tools"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			if i.Path.Value != `"turbine/internal/program"` {
				continue
			}
			users++
			if file.Name.Name != "main" {
				t.Errorf("%s imports the program and is no main", path)
			}
		}
		return nil
	}))
	require.Positive(t, users)
}

// TestExamplesUseTheEngineAlone looks at the module of examples: what its programs
// do must be possible for everybody.
func TestExamplesUseTheEngineAlone(t *testing.T) {
	atRoot(t)
	require.NoError(t, layerInputs())
	programs := 0
	require.NoError(t, filepath.WalkDir("examples", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			name, mine := ours(strings.Trim(i.Path.Value, `"`))
			if mine && name != "engine" && name != "examples/internal/trial" {
				t.Errorf("%s imports %s", path, name)
			}
			if name == "engine" && !strings.HasSuffix(path, "_test.go") {
				programs++
			}
		}
		return nil
	}))
	require.Positive(t, programs)
}

// TestEmbeddersInheritNoTools looks at all that a program gets with a package: what
// only our program, our tests or our measurements need is not among it.
func TestEmbeddersInheritNoTools(t *testing.T) {
	atRoot(t)
	require.NoError(t, layerInputs())
	tools := []string{
		"github.com/stretchr/testify", "gonum.org/", "github.com/prometheus/", "github.com/HdrHistogram/", "github.com/alecthomas/kong",
		"github.com/fsnotify/", "github.com/cloudflare/tableflip", "github.com/coreos/", "github.com/KimMachineGun/", "github.com/nats-io/", "github.com/quic-go/",
	}
	deps := func(name string) []string {
		out, err := exec.Command("go", "list", "-deps", name).Output() // #nosec G204 -- a package of ours
		require.NoError(t, err)
		list := strings.Fields(string(out))
		require.Contains(t, list, "turbine/"+strings.TrimPrefix(name, "./"))
		require.Greater(t, len(list), 100)
		return list
	}
	inherited := deps("./engine")
	for _, path := range inherited {
		require.NotEqual(t, "testing", path, "engine imports testing, and so would every program")
	}
	tested := deps("./engine/enginetest")
	require.Contains(t, tested, "testing")
	for _, path := range append(inherited, tested...) {
		for _, tool := range tools {
			require.False(t, strings.HasPrefix(path+"/", tool), "a program that embeds engine, or tests with enginetest, gets %s", path)
		}
		if mine, ok := ours(path); !ok && !standard(path) && !strings.HasPrefix(path, "vendor/") {
			require.Contains(t, inherited, path, "enginetest needs %s, which engine does not", path)
		} else if ok {
			require.False(t, strings.HasPrefix(mine, "bench/") || mine == "internal/program", "a program gets %s", path)
		}
	}
}

// readImports returns what each package imports, and what its tests do.
func readImports(t *testing.T) (imports, tests map[string][]string) {
	t.Helper()
	require.NoError(t, layerInputs())
	const format = `{{.ImportPath}} {{join .Imports " "}}|{{join .TestImports " "}} {{join .XTestImports " "}}`
	cmd := exec.Command("go", "list", "-f", format, "./...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go list: %s", &stderr)

	imports, tests = map[string][]string{}, map[string][]string{}
	for line := range strings.Lines(string(out)) {
		code, test, _ := strings.Cut(line, "|")
		paths := strings.Fields(code)
		name, ok := ours(paths[0])
		require.True(t, ok, "package %s", paths[0])
		imports[name], tests[name] = paths[1:], strings.Fields(test)
	}
	require.NotEmpty(t, imports)
	return imports, tests
}

// layerInputs looks at all that go list reads, so that the go command does not take
// a cached result of this test when another package has changed.
func layerInputs() error {
	return filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) == ".go" || d.Name() == "go.mod":
			_, err = os.Stat(path)
		}
		return err
	})
}

// ours returns the name of a package of this module.
func ours(path string) (name string, ok bool) {
	if path == "turbine" {
		return ".", true
	}
	return strings.CutPrefix(path, "turbine/")
}

// standard reports whether a package comes with Go: its first element has no
// dot, as a host has.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// Each room of the house is on the map in CONTRIBUTING.md: the folders at the top
// and those in internal.
func TestLayersAreOnTheMap(t *testing.T) {
	atRoot(t)
	house := document(t, "CONTRIBUTING.md")
	for name := range layers {
		room, below, _ := strings.Cut(name, "/")
		if room == "internal" {
			below, _, _ = strings.Cut(below, "/")
			room += "/" + below
		}
		if room != "." && !strings.Contains(house, "`"+room+"/`") {
			t.Errorf("CONTRIBUTING.md does not say what is in %s", room)
		}
	}
}
