package ops

import (
	"context"
	"io"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The profiles that there are can be had, and the list of them has each.
func TestProfiles(t *testing.T) {
	h, _ := newTest(t, Options{})
	names := strings.Fields(bodyOf(t, ask(h, request("GET", "/debug/pprof/", ""))))
	require.Subset(t, names, []string{"goroutine", "heap", "profile", "trace"})
	for _, name := range names {
		r := ask(h, request("GET", "/debug/pprof/"+name+"?seconds=0", ""))
		require.Equal(t, 200, r.StatusCode, name)
		require.Equal(t, `attachment; filename="`+name+`"`, r.Header.Get("Content-Disposition"))
		magic := "\x1f\x8b" // gzip
		if name == "trace" {
			magic = "go 1."
		}
		require.True(t, strings.HasPrefix(bodyOf(t, r), magic), name)
	}
	r := ask(h, request("GET", "/debug/pprof/goroutine?debug=2", ""))
	require.Equal(t, "text/plain; charset=utf-8", r.Header.Get("Content-Type"))
	require.Contains(t, bodyOf(t, r), "goroutine ")
	require.Equal(t, 200, ask(h, request("GET", "/debug/pprof/heap?gc=1&debug=1", "")).StatusCode)
}

// One profile of a kind is made at a time, and ends with the client.
func TestProfilesThatTakeTime(t *testing.T) {
	h, _ := newTest(t, Options{})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for _, name := range []string{"profile", "trace"} {
		r := request("GET", "/debug/pprof/"+name+"?seconds=60", "")
		require.Equal(t, 200, ask(h, r.WithContext(&without{gone, r.Context()})).StatusCode)
	}
	require.NoError(t, pprof.StartCPUProfile(io.Discard))
	defer pprof.StopCPUProfile()
	require.NoError(t, trace.Start(io.Discard))
	defer trace.Stop()
	for _, name := range []string{"profile", "trace"} {
		r := ask(h, request("GET", "/debug/pprof/"+name, ""))
		require.Equal(t, 409, r.StatusCode)
		require.Empty(t, r.Header.Get("Content-Disposition"))
		kind, _ := isProblem(t, r)
		require.Equal(t, "busy", kind)
	}
}

// without is a context that has ended, with the values of another.
type without struct {
	context.Context
	values context.Context
}

func (w *without) Value(key any) any { return w.values.Value(key) }
