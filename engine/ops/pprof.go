package ops

import (
	"context"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The profiles are those of net/http/pprof, for `go tool pprof` and `go tool trace`.
// That package adds itself to http.DefaultServeMux, which a program that embeds
// the engine may serve to everybody, so it is not used. It also shows the command line,
// which may have secrets.

// The length of a profile that takes time.
const (
	profileTime    = 30 * time.Second // where the client does not say
	maxProfileTime = 60 * time.Second
)

// maxStall is how long all writes of one recording may take together. The runtime goes
// on with a trace while a write waits, and keeps what it has not written.
const maxStall = 10 * time.Second

// A recording is what one is written to. Above maxStall its writes fail, at which
// net/http ends the request. It belongs to one goroutine at a time.
type recording struct {
	w    io.Writer
	c    *http.ResponseController
	left time.Duration // of maxStall
}

func (r *recording) Write(p []byte) (n int, err error) {
	if r.left <= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	began := time.Now()
	_ = r.c.SetWriteDeadline(began.Add(r.left)) // another server than ours may have none
	n, err = r.w.Write(p)
	r.left -= time.Since(began)
	return n, err
}

// end gives what net/http has not sent yet the time that is left.
func (r *recording) end() { _ = r.c.SetWriteDeadline(time.Now().Add(r.left)) }

// profiles lists what there is.
func (h *Handler) profiles(w http.ResponseWriter, _ *http.Request) error {
	names := []string{"profile", "trace"}
	for _, p := range pprof.Profiles() {
		names = append(names, p.Name())
	}
	slices.Sort(names)
	say(w, http.StatusOK, strings.Join(names, "\n"))
	return nil
}

// profile answers with one of those that the runtime keeps, one at a time: the text of
// all goroutines alone may take 64 MiB.
func (h *Handler) profile(w http.ResponseWriter, r *http.Request) error {
	p := pprof.Lookup(r.PathValue("name"))
	if p == nil {
		return newProblem(http.StatusNotFound, "not-found", "Not Found", "There is no such profile; /debug/pprof/ lists what there is.")
	}
	text, err := queryInt(r, "debug", 0, 0, 2)
	if err != nil {
		return err
	}
	collect, err := queryInt(r, "gc", 0, 0, 1)
	if err != nil {
		return err
	}
	if !h.profiling.CompareAndSwap(false, true) {
		return errBusy
	}
	defer h.profiling.Store(false)
	if p.Name() == "heap" && collect > 0 {
		runtime.GC()
	}
	if text > 0 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	} else {
		attach(w, p.Name())
	}
	extend(w, profileTime)
	_ = p.WriteTo(w, text) // whoever asked is gone
	return nil
}

// cpuProfile answers with where time goes, for a while.
func (h *Handler) cpuProfile(w http.ResponseWriter, r *http.Request) error {
	return record(w, r, "profile", pprof.StartCPUProfile, pprof.StopCPUProfile)
}

// trace answers with what the runtime does, for a while.
func (h *Handler) trace(w http.ResponseWriter, r *http.Request) error {
	return record(w, r, "trace", trace.Start, trace.Stop)
}

var errBusy = newProblem(http.StatusConflict, "busy", "Conflict", "A profile of this kind is being made. Try again when it is done.")

// record answers with what is written between start and stop, for the seconds that the
// client asks for or until it leaves.
func record(w http.ResponseWriter, r *http.Request, name string, start func(io.Writer) error, stop func()) error {
	seconds, err := queryInt(r, "seconds", int(profileTime/time.Second), 0, int(maxProfileTime/time.Second))
	if err != nil {
		return err
	}
	length := time.Duration(seconds) * time.Second
	extend(w, length)
	attach(w, name)
	to := &recording{w, http.NewResponseController(w), maxStall}
	if err := start(to); err != nil { // one is being made already
		w.Header().Del("Content-Disposition")
		return errBusy
	}
	defer to.end()
	defer stop()
	wait(r.Context(), length)
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func attach(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
}

// queryInt is a number of the query, from least to most.
func queryInt(r *http.Request, name string, fallback, least, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		if most == least+1 {
			return 0, badQuery("%s is the number %d or %d.", name, least, most)
		}
		return 0, badQuery("%s is a whole number from %d to %d.", name, least, most)
	}
	return n, nil
}
