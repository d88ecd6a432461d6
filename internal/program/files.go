package program

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openFile opens a regular file. Any other, such as a pipe or a terminal, may keep
// whoever opens or reads it waiting for good, and holds something else the next time,
// or has no end.
func openFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // #nosec G304 -- the operator's own choice
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		err = checkMode(path, info.Mode())
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// checkFiles is for files that somebody else opens. What cannot be looked at is left for
// them to say.
func checkFiles(paths []string) error {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if err := checkMode(path, info.Mode()); err != nil {
			return err
		}
	}
	return nil
}

func checkMode(path string, mode fs.FileMode) error {
	switch {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		return &fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
	}
	return fmt.Errorf("%s is no regular file; it could not be read again while the server runs", path)
}
