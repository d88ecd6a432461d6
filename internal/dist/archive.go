package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A file is one of an archive.
type file struct {
	from, name string
	mode       int64
}

// archived are the files of an archive: what the packages have, for other systems.
func archived(stage string) []file {
	return []file{
		{filepath.Join(stage, "turbine"), "turbine", 0o755},
		{"LICENSE", "LICENSE", 0o644},
		{"engine/ops/page/uPlot.LICENSE", "uPlot.LICENSE", 0o644}, // it is in the binary, and no module: the list of these has it not
		{"README.md", "README.md", 0o644},
		{"CHANGELOG.md", "CHANGELOG.md", 0o644},
		{filepath.Join(stage, "turbine.1"), "turbine.1", 0o644},
		{filepath.Join(stage, "turbine.bash"), "completions/turbine.bash", 0o644},
		{filepath.Join(stage, "turbine.zsh"), "completions/_turbine", 0o644},
		{filepath.Join(stage, "turbine.fish"), "completions/turbine.fish", 0o644},
		{filepath.Join(stage, "turbine.yaml"), "turbine.yaml", 0o644},
		{"internal/dist/files/turbine.service", "systemd/turbine.service", 0o644},
		{"internal/dist/files/turbine.socket", "systemd/turbine.socket", 0o644},
		{"internal/dist/files/sysctl.conf", "sysctl.conf", 0o644},
	}
}

// archive writes a .tar.gz with the files in one folder. All have the same date and owner.
func archive(path, folder string, files []file, date time.Time) (err error) {
	out, err := os.Create(path) // #nosec G304 -- in the folder of the release
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	packed, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(packed)
	for _, f := range files {
		text, err := os.ReadFile(f.from)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: folder + "/" + f.name, Mode: f.mode, Size: int64(len(text)), ModTime: date, Uname: "root", Gname: "root"}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), packed.Close())
}

// writeChecksums writes SHA256SUMS of all files in a folder, as sha256sum --check reads it.
func writeChecksums(folder string) error {
	const name = "SHA256SUMS"
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	var lines []string
	for _, entry := range entries {
		if entry.IsDir() || entry.Name() == name {
			continue
		}
		sum, err := checksum(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sum, entry.Name()))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[2*sha256.Size:], b[2*sha256.Size:]) })
	return os.WriteFile(filepath.Join(folder, name), []byte(strings.Join(lines, "")), 0o644) // #nosec G306 -- of a release
}

func checksum(path string) ([]byte, error) {
	in, err := os.Open(path) // #nosec G304 -- of the release
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
