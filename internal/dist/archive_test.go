package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The same files make the same archive, whenever and by whomever it is made.
func TestArchive(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "binary")
	require.NoError(t, os.WriteFile(from, []byte("a program"), 0o600))
	date := time.Unix(1700000000, 0)
	files := []file{{from, "turbine", 0o755}, {"files/sysctl.conf", "sysctl.conf", 0o644}}
	first, second := filepath.Join(dir, "a.tar.gz"), filepath.Join(dir, "b.tar.gz")
	require.NoError(t, archive(first, "turbine_1", files, date))
	require.NoError(t, os.Chtimes(from, time.Unix(1, 0), time.Unix(1, 0)))
	require.NoError(t, archive(second, "turbine_1", files, date))
	require.Equal(t, text(t, first), text(t, second))

	in, err := os.Open(first)
	require.NoError(t, err)
	defer in.Close()
	unpacked, err := gzip.NewReader(in)
	require.NoError(t, err)
	r := tar.NewReader(unpacked)
	for _, want := range files {
		h, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, "turbine_1/"+want.name, h.Name)
		require.Equal(t, want.mode, h.Mode)
		require.True(t, h.ModTime.Equal(date))
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, text(t, want.from), string(got))
	}
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)

	require.Error(t, archive(filepath.Join(dir, "c.tar.gz"), "turbine_1", []file{{filepath.Join(dir, "none"), "none", 0o644}}, date))
}

// SHA256SUMS has each file of the folder, in the order of names, and not itself.
func TestChecksums(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "stage"), 0o700))
	for _, name := range []string{"b.deb", "a.rpm", "SHA256SUMS"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600))
	}
	require.NoError(t, writeChecksums(dir))
	want := fmt.Sprintf("%x  a.rpm\n%x  b.deb\n", sha256.Sum256([]byte("a.rpm")), sha256.Sum256([]byte("b.deb")))
	require.Equal(t, want, text(t, filepath.Join(dir, "SHA256SUMS")))
}
