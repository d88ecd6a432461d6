package ops

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

// One of the profiles that the runtime keeps is made at a time: that of the goroutines
// alone may take 64 MiB.
func TestProfilesThatAreKept(t *testing.T) {
	h, _ := newTest(t, Options{})
	var during *http.Response
	w := &hooked{ResponseRecorder: httptest.NewRecorder()}
	w.hook = func() { during = ask(h, request("GET", "/debug/pprof/heap", "")) }
	h.ServeHTTP(w, request("GET", "/debug/pprof/goroutine?debug=2", ""))
	require.Equal(t, 200, w.Code)
	require.Equal(t, 409, during.StatusCode)
	require.Empty(t, during.Header.Get("Content-Disposition"))
	kind, _ := isProblem(t, during)
	require.Equal(t, "busy", kind)
	require.Equal(t, 200, ask(h, request("GET", "/debug/pprof/heap", "")).StatusCode)
}

// hooked calls hook once, when the answer begins.
type hooked struct {
	*httptest.ResponseRecorder
	hook func()
}

func (h *hooked) Write(p []byte) (int, error) {
	if hook := h.hook; hook != nil {
		h.hook = nil
		hook()
	}
	return h.ResponseRecorder.Write(p)
}

// The runtime keeps what a client does not read of a trace. So the trace of a client
// that does not read ends long before its time, also if the client reads now and then.
func TestTraceOfAClientThatDoesNotRead(t *testing.T) {
	for _, reads := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h, _ := newTest(t, Options{})
			server := NewServer(h)
			took := make(chan time.Duration, 1)
			server.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				began := time.Now()
				var writer sync.WaitGroup
				done := make(chan struct{})
				start := func(w io.Writer) error {
					writer.Go(func() {
						for piece := make([]byte, 64<<10); ; {
							_, _ = w.Write(piece) // as the runtime does
							select {
							case <-done:
								return
							case <-time.After(10 * time.Millisecond):
							}
						}
					})
					return nil
				}
				require.NoError(t, record(w, r, "trace", start, func() { close(done); writer.Wait() }))
				took <- time.Since(began)
			})
			client, conn := net.Pipe()
			l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
			l.conns <- conn
			ended := make(chan error)
			go func() { ended <- server.Serve(l, nil) }()
			_, err := io.WriteString(client, "GET /?seconds=60 HTTP/1.1\r\nHost: 127.0.0.1:3001\r\n\r\n")
			require.NoError(t, err)
			for piece := make([]byte, 4<<10); reads; time.Sleep(time.Second) {
				if _, err := client.Read(piece); err != nil {
					break
				}
			}
			lasted := <-took
			require.LessOrEqual(t, lasted, maxStall+2*time.Second)
			require.Positive(t, lasted)
			_ = client.Close()
			require.NoError(t, server.Close())
			require.ErrorIs(t, <-ended, http.ErrServerClosed)
		})
	}
}

// oneConn is a listener with connections that somebody puts into it.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3001} }

// without is a context that has ended, with the values of another.
type without struct {
	context.Context
	values context.Context
}

func (w *without) Value(key any) any { return w.values.Value(key) }
