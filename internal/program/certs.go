package program

import (
	"crypto/sha256"
	"fmt"
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
	// certsSettle is how long after a change of a directory the files are read:
	// a certificate and its key are seldom written at the same moment.
	certsSettle = 200 * time.Millisecond
	// certsLook is how often they are read anyhow: file systems of other machines
	// say nothing.
	certsLook = time.Minute
)

// A reloader reads files again: the server.
type reloader interface{ ReloadTLS() error }

// certWatch reloads certificates when a signal asks for it and when the files
// change, whether they are written, renamed, or replaced behind a symbolic link anywhere in
// their paths, as Kubernetes and certbot do. It belongs to one goroutine.
type certWatch struct {
	server  reloader
	files   []string
	watcher *fsnotify.Watcher // nil where there is none to be had
	seen    [sha256.Size]byte // what the files held when they were last tried
}

// watchCerts begins to watch the files, until stop is called. Without files a
// signal is answered in the log alone.
func watchCerts(server reloader, files []string, signals <-chan os.Signal) (stop func()) {
	w := &certWatch{server: server, files: files}
	if len(files) > 0 {
		w.begin()
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		w.run(signals, done)
	}()
	return func() {
		close(done)
		<-ended
		if w.watcher != nil {
			_ = w.watcher.Close()
		}
	}
}

// begin notes what the files hold and asks the system to report changes.
func (w *certWatch) begin() {
	w.seen = w.sum()
	var err error
	if w.watcher, err = fsnotify.NewWatcher(); err != nil {
		slog.Warn("TLS files are looked at once a minute only", "error", err)
	}
	w.follow()
}

func (w *certWatch) run(signals <-chan os.Signal, done <-chan struct{}) {
	var look <-chan time.Time // nil where there is nothing to look at
	if len(w.files) > 0 {
		ticker := time.NewTicker(certsLook)
		defer ticker.Stop()
		look = ticker.C
	}
	var events <-chan fsnotify.Event
	var failures <-chan error
	if w.watcher != nil {
		events, failures = w.watcher.Events, w.watcher.Errors
	}
	var settled <-chan time.Time // nil when nothing has changed
	for {
		select {
		case <-done:
			return
		case <-signals:
			w.reload(true)
		case <-events:
			if settled == nil { // a directory in which something changes all the time must not put it off
				settled = time.After(certsSettle)
			}
		case err := <-failures: // events were lost
			slog.Debug("the watch of TLS files", "error", err)
			settled = time.After(certsSettle)
		case <-settled:
			settled = nil
			w.follow()
			w.reload(false)
		case <-look:
			w.follow()
			w.reload(false)
		}
	}
}

// reload has the server read the files, if there is something new in them or
// somebody asks for it. A pair that does not fit is therefore reported once.
func (w *certWatch) reload(asked bool) {
	if len(w.files) == 0 {
		slog.Info("asked to read files again, but there are none", "signal", "SIGHUP")
		return
	}
	sum := w.sum()
	if sum == w.seen && !asked {
		return
	}
	w.seen = sum
	if err := w.server.ReloadTLS(); err != nil {
		slog.Error("TLS files cannot be used; the old ones stay in use", "error", err)
		return
	}
	slog.Info("TLS files read", "files", w.files)
}

// sum is a hash of what the files hold, or of why that is not known.
func (w *certWatch) sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, file := range w.files {
		text, err := os.ReadFile(file) // #nosec G304 -- the operator's own choice
		_, _ = fmt.Fprintf(h, "%d %v\n%s", len(text), err, text)
	}
	h.Sum(sum[:0])
	return sum
}

// follow watches the directories that decide what the files hold at the moment.
func (w *certWatch) follow() {
	if w.watcher == nil {
		return
	}
	var want []string
	for _, file := range w.files {
		want = append(want, directoriesOf(file)...)
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
