package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A pidFile tells a supervisor which process serves. In a line of processes the
// last one has written it, and only the one whose number is in it removes it.
type pidFile string // its path; "" for none

// write writes the number of this process, so that nobody ever reads half of it.
func (f pidFile) write() (err error) {
	if f == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("--pid-file: cannot write the pid file %s: %w", f, cause(err))
		}
	}()
	temporary, err := os.CreateTemp(filepath.Dir(string(f)), filepath.Base(string(f)))
	if err != nil {
		return err
	}
	defer func() {
		_ = temporary.Close()
		if err != nil {
			_ = os.Remove(temporary.Name())
		}
	}()
	if _, err := temporary.WriteString(strconv.Itoa(os.Getpid())); err != nil {
		return err
	}
	if err := temporary.Chmod(0o644); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), string(f))
}

// cause is err without the name of the temporary file, which nobody knows.
func cause(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// owner is the number in the file, 0 if there is none.
func (f pidFile) owner() int {
	if f == "" {
		return 0
	}
	text, _ := os.ReadFile(string(f))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// restore takes the file back from a process that was to take over and did not.
func (f pidFile) restore() error {
	if pid := f.owner(); pid == 0 || pid == os.Getpid() {
		return nil
	}
	return f.write()
}

// remove removes the file, unless it is another process's by now.
func (f pidFile) remove() {
	if f.owner() == os.Getpid() {
		_ = os.Remove(string(f))
	}
}
