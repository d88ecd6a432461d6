package peer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// workshop is where peers are installed.
type workshop struct {
	root   string // of the module turbine
	source string // the folders of the peers
	cache  string // what is built and installed
}

// Root is the directory of the module turbine, which has the server. It is found from
// inside that module and from inside that of the bench.
func Root(ctx context.Context) (string, error) {
	dir, err := output(ctx, ".", "go", "list", "-m", "-f", "{{.Dir}}", "turbine")
	if err != nil {
		return "", fmt.Errorf("run it inside the module turbine/bench: %w", err)
	}
	return dir, nil
}

// workshopIn is that of the module in root. What is installed goes into
// .tools/bench, which git ignores.
func workshopIn(root string) workshop {
	return workshop{root: root, source: filepath.Join(root, "bench", "peer"), cache: filepath.Join(root, ".tools", "bench")}
}

// stamp is the file that says which sources a folder was installed from.
const stamp = ".installed"

// prepare copies the folder of a peer into the cache and has install complete
// it, unless that was done with the same sources.
func (w workshop) prepare(name string, install func(dir string) error) (dir string, err error) {
	from, dir := filepath.Join(w.source, name), filepath.Join(w.cache, name)
	entries, err := os.ReadDir(from)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n", e.Name(), len(content))
		hash.Write(content)
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if done, err := os.ReadFile(filepath.Join(dir, stamp)); err == nil && string(done) == sum {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		return "", err
	}
	if err := install(dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, stamp), []byte(sum), 0o644)
}

// run runs a command; its output goes to log, and its end into the error.
func run(ctx context.Context, log io.Writer, dir string, env []string, name string, args ...string) error {
	var tail bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	both := io.MultiWriter(log, &tail) // one writer for both is written to by one goroutine
	cmd.Stdout, cmd.Stderr = both, both
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLines(tail.String()))
	}
	return nil
}

func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// lastLines are the last lines of a program's complaint, on one.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

func goVersion(ctx context.Context, dir string) string {
	version, err := output(ctx, dir, "go", "env", "GOVERSION")
	if err != nil {
		return "Go"
	}
	return "Go " + strings.TrimPrefix(version, "go")
}

func npmVersion(dir, name string) string {
	var p struct{ Version string }
	content, err := os.ReadFile(filepath.Join(dir, "node_modules", name, "package.json"))
	if err != nil || json.Unmarshal(content, &p) != nil {
		return "of unknown version"
	}
	return p.Version
}
