package lint

import (
	"go/ast"
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
	expFmt         = "github.com/prometheus/common/expfmt"
	fsNotify       = "github.com/fsnotify/fsnotify"
	procfs         = "github.com/prometheus/procfs"
	proxyProto     = "github.com/pires/go-proxyproto"
	klauspostFlate = "github.com/klauspost/compress/flate"
	klauspostGzip  = "github.com/klauspost/compress/gzip"
	natsClient     = "github.com/nats-io/nats.go"
	natsServer     = "github.com/nats-io/nats-server/v2/server"
	promClient     = "github.com/prometheus/client_golang/prometheus"
	promCollectors = "github.com/prometheus/client_golang/prometheus/collectors"
	promHTTP       = "github.com/prometheus/client_golang/prometheus/promhttp"
	memLimit       = "github.com/KimMachineGun/automemlimit/memlimit"
	sdActivation   = "github.com/coreos/go-systemd/v22/activation"
	sdDaemon       = "github.com/coreos/go-systemd/v22/daemon"
	tableFlip      = "github.com/cloudflare/tableflip"
	klauspostZlib  = "github.com/klauspost/compress/zlib"
	kongFlags      = "github.com/alecthomas/kong"
	testify        = "github.com/stretchr/testify/require"
	sysUnix        = "golang.org/x/sys/unix"
	yamlFour       = "go.yaml.in/yaml/v4"
)

// layers is the picture, of the modules turbine and turbine/bench. A package that is
// not in it has no place in the house.
var layers = map[string]layer{
	".":                    {[]string{"internal/program"}, nil},
	"internal/program":     {[]string{"cluster", "cluster/embedded", "engine", "engine/ops", "loop"}, []string{fsNotify, kongFlags, memLimit, sdActivation, sdDaemon, tableFlip, yamlFour}},
	"engine":               {[]string{"loop", "httpparse", "wsframe", "engine/packet", "pool", "internal/delays", "internal/invariants", "internal/fifo", "internal/peers", "internal/proxied", "internal/seldom"}, []string{gobwas, klauspostFlate, klauspostGzip, klauspostZlib}},
	"engine/ops":           {[]string{"engine", "internal/seldom"}, []string{expFmt, promClient, promCollectors, promHTTP, procfs}},
	"engine/packet":        {},
	"cluster/link":         {[]string{"loop", "pool"}, nil},
	"cluster":              {[]string{"engine", "cluster/link", "loop", "pool", "internal/fifo", "internal/seldom"}, []string{natsClient}},
	"cluster/embedded":     {[]string{"cluster"}, []string{natsServer}},
	"httpparse":            {},
	"wsframe":              {[]string{"pool", "internal/invariants"}, []string{gobwas, gobwasFlate, httphead, klauspostFlate}},
	"loop":                 {[]string{"pool", "internal/delays", "internal/invariants", "internal/fifo", "internal/peers", "internal/seldom"}, []string{gnetErrors, gnetNetpoll, sysUnix}},
	"loop/looptest":        {[]string{"loop"}, nil}, // for tests, of programs too: no testify
	"pool":                 {[]string{"internal/invariants"}, []string{bytebufferpool}},
	"internal/delays":      {},
	"internal/dist":        {[]string{"internal/manual", "internal/program"}, []string{kongFlags}},
	"internal/manual":      {nil, []string{kongFlags}},
	"internal/invariants":  {},
	"internal/peers":       {},
	"internal/proxied":     {[]string{"httpparse", "internal/peers"}, []string{proxyProto}},
	"internal/seldom":      {},
	"internal/fifo":        {},
	"internal/race":        {},                       // for tests
	"internal/certs":       {nil, []string{testify}}, // for tests
	"internal/requests":    {},                       // a table for tests
	"internal/lint":        {},                       // tests of the repository
	"internal/busy":        {[]string{"engine", "loop"}, []string{kongFlags, sysUnix}},
	"bench/chaos":          {[]string{"bench/load", "bench/usage", "engine/packet", "wsframe"}, []string{gobwas, hdrHistogram, klauspostFlate, kongFlags, procfs}},
	"internal/e2e":         {}, // starts the binary
	"internal/e2e/testapp": {[]string{"engine"}, nil},
	"internal/e2e/feeder":  {[]string{"engine"}, nil},
	"internal/e2e/target":  {[]string{"engine", "loop", "httpparse", "wsframe", "pool"}, []string{gobwas, kongFlags}},
	"bench":                {[]string{"bench/compare", "bench/load", "bench/million", "bench/peer", "bench/report", "bench/sim", "bench/watching"}, []string{kongFlags}},
	"bench/compare":        {[]string{"bench/load", "bench/peer", "bench/report", "bench/usage"}, []string{procfs, sysUnix}},
	"bench/load":           {[]string{"bench/usage", "engine/packet", "wsframe"}, []string{gobwas, hdrHistogram, sysUnix}},
	"bench/million":        {[]string{"bench/load", "bench/peer", "bench/report", "bench/usage"}, []string{procfs, sysUnix}},
	"bench/peer":           {[]string{"bench/load", "bench/usage"}, nil},
	"bench/report":         {nil, []string{plot, plotFont, plotter, vg, vgDraw, vgSVG}},
	"bench/sim":            {[]string{"bench/report", "bench/usage", "engine", "loop", "wsframe"}, []string{gobwas, hdrHistogram, sysUnix}},
	"bench/usage":          {nil, []string{procfs}},
	"bench/watching":       {[]string{"bench/load", "bench/peer"}, nil},

	"engine/enginetest":      {[]string{"engine", "engine/packet", "wsframe", "loop", "loop/looptest"}, []string{gobwas}}, // for tests of programs: no testify
	"loop/looptest/contract": {[]string{"loop", "loop/looptest", "pool", "internal/certs"}, []string{testify}},
}

// testsOnTop are the packages whose tests may import engine: those that may do
// so themselves, and its own.
var testsOnTop = []string{"internal/program", "engine", "engine/enginetest", "engine/ops", "cluster", "cluster/embedded", "internal/e2e/target", "bench/load", "bench/sim"}

// guests are the other modules: what their packages may import of ours, beside each
// other. What they import of others is their business.
var guests = map[string][]string{
	"examples":               {"engine", "engine/enginetest", "cluster", "cluster/embedded"}, // what they do must be possible for everybody
	"internal/e2e/mounts":    {"engine", "engine/enginetest"},
	"internal/lint/crossvet": nil,
	"bench/peer/golang":      nil,
}

func TestLayers(t *testing.T) {
	atRoot(t)
	imports, tests := readImports(t)
	for name, list := range imports {
		if guestOf(name) != "" {
			continue
		}
		row, known := layers[name]
		if !known {
			t.Errorf("package %s is not in the picture: give it a row in layers and in docs/design.md", name)
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
	for name := range layers {
		require.Contains(t, imports, name, "a row without a package")
	}
	for name, list := range tests {
		for _, path := range list {
			mine, ok := ours(path)
			switch {
			case !ok || mine == name: // a test outside its package
			case guestOf(name) != "": // see TestGuests
			case inBench(mine) && !inBench(name):
				t.Errorf("a test of %s imports %s, of a module that turbine does not know", name, mine)
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
		plot:           {"bench/report"},
		bytebufferpool: {"pool"},
		gnetErrors:     {"loop"},
		gnetNetpoll:    {"loop"},
		proxyProto:     {"internal/proxied"},
		promClient:     {"engine/ops"},
		natsClient:     {"cluster"},
		natsServer:     {"cluster/embedded"},
		"engine":       {"bench/sim", "cluster", "engine/enginetest", "engine/ops", "internal/busy", "internal/e2e/feeder", "internal/e2e/target", "internal/e2e/testapp", "internal/program"},
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
	for name, row := range layers {
		require.True(t, inBench(name) || !slices.ContainsFunc(row.ours, inBench), "%s may import the bench, a module of its own", name)
	}
}

// TestProgramIsForMainsAlone looks at the files of all modules: what a package could
// take from the program belongs into a room of its own.
func TestProgramIsForMainsAlone(t *testing.T) {
	atRoot(t)
	users := 0
	eachFile(t, func(path string, file *ast.File) {
		for _, i := range file.Imports {
			if i.Path.Value != `"turbine/internal/program"` {
				continue
			}
			users++
			if file.Name.Name != "main" {
				t.Errorf("%s imports the program and is no main", path)
			}
		}
	})
	require.Positive(t, users)
}

// TestEmbeddersInheritNoTools looks at all that a program gets with a package: what
// only our program, our tests or our measurements need is not among it.
func TestEmbeddersInheritNoTools(t *testing.T) {
	atRoot(t)
	require.NoError(t, goInputs())
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
	for _, path := range deps("./cluster") {
		require.False(t, strings.HasPrefix(path, "github.com/nats-io/nats-server/"), "a program with an external NATS gets %s", path)
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
			require.False(t, inBench(mine) || mine == "internal/program", "a program gets %s", mine)
		}
	}
}

// TestGuests looks at the modules that are neither the server's nor the bench's.
func TestGuests(t *testing.T) {
	atRoot(t)
	imports, tests := readImports(t)
	uses := map[string]int{}
	for _, list := range []map[string][]string{imports, tests} {
		for name, paths := range list {
			guest := guestOf(name)
			if guest == "" {
				continue
			}
			for _, path := range paths {
				mine, ok := ours(path)
				switch {
				case !ok || guestOf(mine) == guest:
				case slices.Contains(guests[guest], mine):
					uses[guest+" "+mine]++
				default:
					t.Errorf("%s imports %s", name, mine)
				}
			}
		}
	}
	require.Positive(t, uses["examples engine"])
	require.Positive(t, uses["internal/e2e/mounts engine"])
}

// TestModules: what only the bench, the examples and the frameworks need is in no
// go.mod that a program inherits with the engine.
func TestModules(t *testing.T) {
	atRoot(t)
	var got []string
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && aside(d.Name()):
			return filepath.SkipDir
		case d.Name() != "go.mod":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(string(text), "module "), "\n")
		got = append(got, name)
		if dir := filepath.ToSlash(filepath.Dir(path)); dir != "." {
			require.Equal(t, "turbine/"+dir, name, "so that it may import turbine/internal")
			return nil
		}
		require.NotContains(t, string(text), "turbine/")
		for _, path := range []string{plot, hdrHistogram} {
			require.NotContains(t, string(text), path, "the bench needs it, an embedder does not")
		}
		return nil
	}))
	want := []string{"turbine", "turbine/bench"}
	for name := range guests {
		want = append(want, "turbine/"+name)
	}
	require.ElementsMatch(t, want, got)
}

// guestOf is the module among guests that a package is in, or "".
func guestOf(name string) string {
	for guest := range guests {
		if name == guest || strings.HasPrefix(name, guest+"/") {
			return guest
		}
	}
	return ""
}

// inBench reports whether a package is of the module turbine/bench.
func inBench(name string) bool {
	return (name == "bench" || strings.HasPrefix(name, "bench/")) && guestOf(name) == ""
}

// readImports returns what each package of all modules imports, and what its tests
// do, on any system. A package is called by its folder.
func readImports(t *testing.T) (imports, tests map[string][]string) {
	t.Helper()
	imports, tests = map[string][]string{}, map[string][]string{}
	eachFile(t, func(path string, file *ast.File) {
		name, list := filepath.ToSlash(filepath.Dir(path)), imports
		if strings.HasSuffix(path, "_test.go") {
			list = tests
		}
		if imports[name] == nil {
			imports[name] = []string{} // of a package that has tests alone, too
		}
		for _, i := range file.Imports {
			list[name] = append(list[name], strings.Trim(i.Path.Value, `"`))
		}
	})
	require.NotEmpty(t, imports)
	return imports, tests
}

// eachFile calls visit for each Go file of all our modules, of which it has read the
// imports.
func eachFile(t *testing.T, visit func(path string, file *ast.File)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && aside(d.Name()):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		visit(path, file)
		return nil
	}))
}

// aside reports whether a folder has no packages of ours.
func aside(name string) bool {
	return name == "node_modules" || name == "testdata" || len(name) > 1 && name[0] == '.'
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
