package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Load reads a report that Write has written.
func Load(path string) (*Report, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Write writes report.json, report.md, report.html and the charts into dir.
func Write(dir string, r *Report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	content, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	charts, err := r.charts()
	if err != nil {
		return err
	}
	d := r.document()
	files := map[string][]byte{
		"report.json": append(content, '\n'),
		"report.md":   d.markdown(charts),
		"report.html": d.html(charts),
	}
	for name, svg := range charts {
		files[name+".svg"] = svg
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Update changes the report in dir, or a new one, and writes it again.
func Update(dir string, change func(*Report)) error {
	r, err := Load(filepath.Join(dir, "report.json"))
	if errors.Is(err, fs.ErrNotExist) {
		r, err = &Report{}, nil
	}
	if err != nil {
		return err
	}
	change(r)
	return Write(dir, r)
}
