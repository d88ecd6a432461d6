package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// carrier is the package that carries the sources of uWebSockets: neither Debian nor npm
// has them.
const carrier = "libuwebsockets-sys"

// uws compiles the sources that cargo has fetched by the lock file. Cargo itself
// builds nothing, since the bindings of that package are not needed.
func (w workshop) uws(ctx context.Context, log io.Writer) (string, error) {
	triple, err := output(ctx, w.root, "rustc", "--print", "host-tuple")
	if err != nil {
		return "", err
	}
	dir, err := w.prepare("uws", func(dir string) error {
		// Without the platform, 100 MB of libraries for Windows would come along.
		text, err := output(ctx, dir, "cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", triple)
		if err != nil {
			return err
		}
		source, err := sourceOf(text)
		if err != nil {
			return err
		}
		return run(ctx, log, dir, nil, "make", "UWS="+filepath.Join(source, "uWebSockets"))
	})
	if err != nil {
		return "", err
	}
	version, err := output(ctx, dir, "cargo", "pkgid", "--locked", carrier)
	if err != nil {
		return "", err
	}
	compiler, err := output(ctx, dir, "c++", "-dumpfullversion")
	if err != nil {
		return "", err
	}
	_, version, _ = strings.Cut(version, "#")
	return "uWebSockets as in " + strings.ReplaceAll(version, "@", " ") + ", c++ " + compiler, nil
}

// sourceOf finds the folder of the carrier in what cargo reports about a package.
func sourceOf(metadata string) (string, error) {
	var told struct {
		Packages []struct {
			Name     string `json:"name"`
			Manifest string `json:"manifest_path"`
		} `json:"packages"`
	}
	if err := json.Unmarshal([]byte(metadata), &told); err != nil {
		return "", fmt.Errorf("cargo metadata: %w", err)
	}
	for _, p := range told.Packages {
		if p.Name == carrier {
			return filepath.Dir(p.Manifest), nil
		}
	}
	return "", errors.New("cargo metadata: no " + carrier)
}

func (w workshop) uwsCommand(port int, s Settings) (argv, env []string) {
	return []string{filepath.Join(w.cache, "uws", "server")}, setting(port, s)
}
