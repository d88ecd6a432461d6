package peer

import (
	"cmp"
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"turbine/bench/load"
)

// goDefaults are the settings of the peers in Go: none of them advises others.
const goDefaults = "no compiler profile, GOGC 100"

// all lists the peers.
func all(w workshop) []*Peer {
	peers := []*Peer{
		{Name: "turbine", What: "this server, as the program is built", Dialect: load.EngineIO, Path: "/engine.io/",
			install: w.turbine, command: w.turbineCommand, Secure: "crypto/tls on the event loop", Setting: "compiler profile (default.pgo), GOGC 50, both as the program is built"},
		{Name: "gnet", What: "raw WebSocket echo on gnet, frames by gobwas/ws", Dialect: load.Raw, Path: "/", Limit: true,
			install: w.golang("gnet"), command: w.golangCommand("gnet"), Setting: goDefaults},
		{Name: "gws", What: "raw WebSocket echo on lxzan/gws, a goroutine a connection", Dialect: load.Raw, Path: "/", Limit: true,
			install: w.golang("gws"), command: w.golangCommand("gws"), Secure: "crypto/tls", Setting: goDefaults + "; not the ParallelEnabled of its README, which would mix up the order of messages"},
		{Name: "uws", What: "raw WebSocket echo on uWebSockets, C++", Dialect: load.Raw, Path: "/", Limit: true,
			install: w.uws, command: w.uwsCommand, Secure: "OpenSSL", Setting: "-O3, link-time optimization"},
		{Name: "bun", What: "@socket.io/bun-engine on Bun (uWebSockets inside)", Dialect: load.EngineIO, Path: "/engine.io/",
			install: w.npm("bun", "node_modules/.bin/bun", "@socket.io/bun-engine"), command: w.npmCommand("bun", "node_modules/.bin/bun"), Secure: "BoringSSL", Setting: "NODE_ENV=production"},
		{Name: "node", What: "engine.io on Node.js, the reference server", Dialect: load.EngineIO, Path: "/engine.io/",
			install: w.npm("node", "node", "engine.io", "ws", "bufferutil"), command: w.npmCommand("node", "node"), Secure: "OpenSSL", Setting: "NODE_ENV=production; bufferutil and the release of the first request, as the documents of Socket.IO advise"},
		{Name: "zishang", What: "github.com/zishang520/socket.io on net/http", Dialect: load.EngineIO, Path: "/engine.io/",
			install: w.golang("zishang"), command: w.golangCommand("zishang"), Secure: "crypto/tls, by net/http", Setting: goDefaults},
		{Name: "python", What: "python-engineio on aiohttp and uvloop", Dialect: load.EngineIO, Path: "/engine.io/",
			install: w.python, command: w.pythonCommand, Secure: "OpenSSL", Setting: "uvloop, no access log"},
		{Name: "engineioxide", What: "engineioxide on hyper and Tokio", Dialect: load.EngineIO, Path: "/engine.io/",
			install: w.cargo, command: w.cargoCommand, Secure: "tokio-rustls; it has none of its own", Setting: "release, link-time optimization, one codegen unit"},
	}
	for _, p := range peers {
		p.workshop = w
	}
	return peers
}

// setting are the environment that every server of ours reads.
func setting(port int, s Settings) []string {
	interval, timeout := s.PingInterval, s.PingTimeout
	if interval == 0 {
		interval = 25 * time.Second
	}
	if timeout == 0 {
		timeout = 20 * time.Second
	}
	env := []string{
		"PORT=" + strconv.Itoa(port),
		"APP=" + string(s.App),
		"PING_INTERVAL=" + strconv.FormatInt(interval.Milliseconds(), 10),
		"PING_TIMEOUT=" + strconv.FormatInt(timeout.Milliseconds(), 10),
		"WORK=" + strconv.FormatInt(s.Work.Microseconds(), 10),
		"NODE_ENV=production",
	}
	if n := s.workers(); n > 0 {
		workers := strconv.Itoa(n)
		env = append(env, "GOMAXPROCS="+workers, "TOKIO_WORKER_THREADS="+workers, "WORKERS="+workers)
	}
	return env
}

func (w workshop) turbine(ctx context.Context, log io.Writer) (string, error) {
	if err := run(ctx, log, w.root, nil, "go", "build", "-o", filepath.Join(w.cache, "turbine"), "."); err != nil {
		return "", err
	}
	if err := run(ctx, log, w.root, nil, "go", "build", "-o", filepath.Join(w.cache, "busy"), "./internal/busy"); err != nil {
		return "", err
	}
	commit, err := output(ctx, w.root, "git", "rev-parse", "--short", "HEAD")
	if err != nil {
		commit = "of a tree without git"
	}
	return "turbine " + commit + ", " + goVersion(ctx, w.root), nil
}

func (w workshop) turbineCommand(port int, s Settings) (argv, env []string) {
	env = setting(port, s)
	// Scenarios of handshakes leave their sessions to the heartbeat, and no peer has
	// a limit of these.
	program := cmp.Or(s.Program, filepath.Join(w.cache, "turbine"))
	argv = []string{program, "--addr", "127.0.0.1:" + strconv.Itoa(port), "--app", string(s.App), "--max-sessions", "10000000"}
	if u := s.Updates; s.Work > 0 || u.PerSecond > 0 { // the same engine with an application that the program does not have
		argv = []string{
			filepath.Join(w.cache, "busy"), "--addr", "127.0.0.1:" + strconv.Itoa(port), "--work", s.Work.String(),
			"--updates", strconv.Itoa(u.PerSecond), "--keys", strconv.Itoa(u.Keys), "--watched", strconv.Itoa(u.Watched), "--unsent", strconv.Itoa(u.Unsent),
		}
		if u.Keyed {
			argv = append(argv, "--keyed")
		}
	}
	if s.PingInterval > 0 {
		argv = append(argv, "--ping-interval", s.PingInterval.String())
	}
	if s.PingTimeout > 0 {
		argv = append(argv, "--ping-timeout", s.PingTimeout.String())
	}
	if s.TLS {
		argv = append(argv, "--tls-cert", w.file("cert.pem"), "--tls-key", w.file("key.pem"))
	}
	if s.MaxQueue > 0 {
		argv = append(argv, "--max-queue", strconv.Itoa(s.MaxQueue))
	}
	if n := s.workers(); n > 0 {
		argv = append(argv, "--loops", strconv.Itoa(n))
	}
	return append(argv, s.Args...), env
}

// golang builds one of the programs in the module bench/peer/golang.
func (w workshop) golang(name string) func(context.Context, io.Writer) (string, error) {
	modules := map[string]string{
		"gnet":    "github.com/panjf2000/gnet/v2",
		"gws":     "github.com/lxzan/gws",
		"zishang": "github.com/zishang520/socket.io/servers/engine/v3",
	}
	return func(ctx context.Context, log io.Writer) (string, error) {
		dir := filepath.Join(w.source, "golang")
		if err := run(ctx, log, dir, nil, "go", "build", "-o", filepath.Join(w.cache, name), "./"+name); err != nil {
			return "", err
		}
		version, err := output(ctx, dir, "go", "list", "-m", modules[name])
		if err != nil {
			return "", err
		}
		return version + ", " + goVersion(ctx, dir), nil
	}
}

func (w workshop) golangCommand(name string) func(int, Settings) ([]string, []string) {
	return func(port int, s Settings) ([]string, []string) {
		return []string{filepath.Join(w.cache, name)}, setting(port, s)
	}
}

// npm installs a folder by its lock file.
func (w workshop) npm(name, runtime string, packages ...string) func(context.Context, io.Writer) (string, error) {
	return func(ctx context.Context, log io.Writer) (string, error) {
		dir, err := w.prepare(name, func(dir string) error {
			return run(ctx, log, dir, nil, "npm", "ci", "--no-audit", "--no-fund")
		})
		if err != nil {
			return "", err
		}
		program, err := exec.LookPath(w.program(name, runtime))
		if err != nil {
			return "", err
		}
		version, err := output(ctx, dir, program, "--version")
		if err != nil {
			return "", err
		}
		var parts []string
		for _, p := range packages {
			parts = append(parts, p+" "+npmVersion(dir, p))
		}
		return strings.Join(append(parts, strings.ToUpper(name[:1])+name[1:]+" "+strings.TrimPrefix(version, "v")), ", "), nil
	}
}

func (w workshop) npmCommand(name, runtime string) func(int, Settings) ([]string, []string) {
	return func(port int, s Settings) ([]string, []string) {
		return []string{w.program(name, runtime), filepath.Join(w.cache, name, "server.mjs")}, setting(port, s)
	}
}

// program is a path below the cache when runtime has a slash, else a command.
func (w workshop) program(name, runtime string) string {
	if strings.Contains(runtime, "/") {
		return filepath.Join(w.cache, name, runtime)
	}
	return runtime
}

func (w workshop) python(ctx context.Context, log io.Writer) (string, error) {
	dir, err := w.prepare("python", func(dir string) error {
		if err := run(ctx, log, dir, nil, "python3", "-m", "venv", "venv"); err != nil {
			return err
		}
		return run(ctx, log, dir, nil, "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt")
	})
	if err != nil {
		return "", err
	}
	return output(ctx, dir, "venv/bin/python", "-c", `import sys, importlib.metadata as m
print(", ".join(f"{p} {m.version(p)}" for p in ("python-engineio", "aiohttp", "uvloop")) + ", CPython " + sys.version.split()[0])`)
}

func (w workshop) pythonCommand(port int, s Settings) ([]string, []string) {
	dir := filepath.Join(w.cache, "python")
	return []string{filepath.Join(dir, "venv/bin/python"), filepath.Join(dir, "server.py")}, setting(port, s)
}

func (w workshop) cargo(ctx context.Context, log io.Writer) (string, error) {
	target := filepath.Join(w.cache, "oxide")
	err := run(ctx, log, filepath.Join(w.source, "oxide"), []string{"CARGO_TARGET_DIR=" + target}, "cargo", "build", "--release", "--locked")
	if err != nil {
		return "", err
	}
	version, err := output(ctx, filepath.Join(w.source, "oxide"), "cargo", "pkgid", "engineioxide")
	if err != nil {
		return "", err
	}
	rust, err := output(ctx, w.root, "rustc", "--version")
	if err != nil {
		return "", err
	}
	_, version, _ = strings.Cut(version, "#")
	return strings.ReplaceAll(version, "@", " ") + ", " + rust, nil
}

func (w workshop) cargoCommand(port int, s Settings) ([]string, []string) {
	return []string{filepath.Join(w.cache, "oxide", "release", "oxide")}, setting(port, s)
}
