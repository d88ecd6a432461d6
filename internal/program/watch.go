package program

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// watchSettle is how long after a change of a directory the files are read, if they
	// have not changed meanwhile: a certificate and its key are seldom written at the
	// same moment, and a file that is written in its place is half a file for a moment.
	watchSettle = 200 * time.Millisecond
	// maxSettles is how often this can be put off by files that change.
	maxSettles = 50
	// watchLook is how often they are read anyhow: file systems of other machines
	// say nothing.
	watchLook = time.Minute
	// watchRest is the least time between two readings, so that whoever sends signals or
	// writes files all the time costs little and does not fill the log.
	watchRest = time.Second
	// watchMost is the limit of what is looked at in a file, in bytes: it may be a
	// device that has no end. A change behind the limit is not seen.
	watchMost = 16 << 20
)

// A use brings what was read into the program. If it returns an error, it has changed
// nothing.
type use func() error

// A watched is a set of files that mean something together, which is read again
// when one of them has changed.
type watched struct {
	files   []string
	prepare func() (use, error) // reads them, and changes nothing
	refused string              // what the log says if they cannot be used
	seen    [sha256.Size]byte   // what they held when they were last read, or before
	looked  [sha256.Size]byte   // what they held when somebody last asked whether they change
	failed  bool                // they could not be used the last time
}

// A watch reads sets of files again when a signal asks for it and when the files
// change, whether they are written, renamed, or replaced behind a symbolic link anywhere in
// their paths, as Kubernetes and certbot do. It belongs to one goroutine.
type watch struct {
	sets    []*watched
	watcher *fsnotify.Watcher // nil where there is none to be had
	settles int               // how often files that change have put off that they are read
}

// watchFiles begins to watch the sets, until stop is called. Those without files are
// left out. Without any a signal is answered in the log alone.
func watchFiles(signals <-chan os.Signal, sets ...*watched) (stop func()) {
	w := &watch{sets: slices.DeleteFunc(sets, func(s *watched) bool { return len(s.files) == 0 })}
	if len(w.sets) > 0 {
		w.begin()
	}
	done, ended := make(chan struct{}), make(chan struct{})
	var events <-chan fsnotify.Event
	var failures <-chan error
	if w.watcher != nil {
		events, failures = w.watcher.Events, w.watcher.Errors
	}
	go func() {
		defer close(ended)
		w.run(signals, events, failures, done)
	}()
	return func() {
		close(done)
		<-ended
		if w.watcher != nil {
			_ = w.watcher.Close()
		}
	}
}

// begin notes what the files hold, of those of which that is not known, and asks the
// system to report changes.
func (w *watch) begin() {
	for _, s := range w.sets {
		if s.seen == ([sha256.Size]byte{}) {
			s.seen = s.sum()
		}
	}
	var err error
	if w.watcher, err = fsnotify.NewWatcher(); err != nil {
		slog.Warn("files are looked at once a minute only", "error", err)
	}
	w.follow()
}

// run waits for what may be a reason to read files, until done is closed. A signal that
// comes while it rests waits in signals.
func (w *watch) run(signals <-chan os.Signal, events <-chan fsnotify.Event, failures <-chan error, done <-chan struct{}) {
	var look <-chan time.Time    // nil where there is nothing to look at
	var settled <-chan time.Time // nil when nothing has changed
	var rested <-chan time.Time  // nil when nothing was read in the time before
	if len(w.sets) > 0 {
		settled = time.After(watchSettle) // a file may have changed before it was watched
		ticker := time.NewTicker(watchLook)
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		asked := signals
		if rested != nil {
			asked = nil
		}
		select {
		case <-done:
			return
		case <-asked:
			w.readAll()
			rested = time.After(watchRest)
		case <-rested:
			rested = nil
		case <-events:
			if settled == nil { // a directory in which something changes all the time must not put it off
				settled = time.After(watchSettle)
			}
		case err := <-failures: // events were lost
			slog.Debug("the watch of files", "error", err)
			settled = time.After(watchSettle)
		case <-settled:
			settled = nil
			w.follow()
			if rested != nil || w.isChanging() {
				settled = time.After(watchSettle)
				continue
			}
			if w.readChanged() {
				rested = time.After(watchRest)
			}
		case <-look:
			if settled == nil {
				settled = time.After(0)
			}
		}
	}
}

// isChanging reports whether the files hold something new that they did not hold the
// last time that it was called. It says so maxSettles times on end at most.
func (w *watch) isChanging() bool {
	changing := false
	for _, s := range w.sets {
		sum := s.sum()
		changing = changing || sum != s.looked && sum != s.seen
		s.looked = sum
	}
	if !changing || w.settles == maxSettles {
		w.settles = 0
		return false
	}
	w.settles++
	return true
}

// readAll reads all sets for a signal. None of them is used unless all can be: whoever
// asks has all of them at once, or hears what is wrong.
func (w *watch) readAll() {
	if len(w.sets) == 0 {
		slog.Info("asked to read files again, but there are none", "signal", "SIGHUP")
		return
	}
	for _, s := range w.sets {
		s.seen, s.failed = s.sum(), true
	}
	var uses []use
	for _, s := range w.sets {
		u, err := s.read()
		if err != nil {
			s.refuse(err)
			return
		}
		uses = append(uses, u)
	}
	for i, s := range w.sets {
		if err := uses[i](); err != nil {
			s.refuse(err)
			return
		}
		s.failed = false
	}
}

// readChanged reads and uses the sets in which there is something new, so that one that
// cannot be used is reported once, and reports whether there are any. A set may have
// failed for what another one holds, so any change has all that failed tried again.
func (w *watch) readChanged() bool {
	var changed []*watched
	for _, s := range w.sets {
		if sum := s.sum(); sum != s.seen {
			s.seen = sum
			changed = append(changed, s)
		}
	}
	for _, s := range w.sets {
		if !slices.Contains(changed, s) && (len(changed) == 0 || !s.failed) {
			continue
		}
		u, err := s.read()
		if err == nil {
			err = u()
		}
		if s.failed = err != nil; s.failed {
			s.refuse(err)
		}
	}
	return len(changed) > 0
}

// read reads the set.
func (s *watched) read() (use, error) {
	if err := checkFiles(s.files); err != nil {
		return nil, err
	}
	return s.prepare()
}

// refuse logs that the set cannot be used.
func (s *watched) refuse(err error) {
	slog.Error(s.refused, "error", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// sum is a hash of what the files hold, or of why that is not known.
func (s *watched) sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, path := range s.files {
		file, err := openFile(path)
		n := int64(0)
		if err == nil {
			n, err = io.Copy(h, io.LimitReader(file, watchMost))
			_ = file.Close()
		}
		_, _ = fmt.Fprintf(h, "\n%d %v\n", n, err)
	}
	h.Sum(sum[:0])
	return sum
}

// follow watches the directories that decide what the files hold at the moment.
func (w *watch) follow() {
	if w.watcher == nil {
		return
	}
	var want []string
	for _, s := range w.sets {
		for _, file := range s.files {
			want = append(want, directoriesOf(file)...)
		}
	}
	for _, old := range w.watcher.WatchList() {
		if !slices.Contains(want, old) {
			_ = w.watcher.Remove(old) // it may be gone
		}
	}
	for _, directory := range want {
		_ = w.watcher.Add(directory) // what cannot be watched is looked at once a minute
	}
}

// maxLinks bounds the symbolic links that are followed in one path.
const maxLinks = 40

// directoriesOf are the directories in which a change may change what file is:
// its own, and those of all symbolic links on the way there.
func directoriesOf(file string) (directories []string) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil
	}
	add := func(directory string) {
		if !slices.Contains(directories, directory) {
			directories = append(directories, directory)
		}
	}
	at, rest := "/", strings.Split(file, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			break // it may come to be here
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if len(rest) > 0 || info.IsDir() {
				at = next
			}
			continue
		}
		add(at)
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			break
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	add(at)
	return directories
}
