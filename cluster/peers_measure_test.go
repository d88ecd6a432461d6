package cluster

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

var pollsFlag = flag.Int("polls", 0, "how many polls wait on another node in TestManyWaitingPolls; 0: it is skipped")

// wire is a client with a connection of its own, which costs as little as it can.
type wire struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	sid  string
	get  []byte
	post []byte
}

func dialWire(t testing.TB, n *staticNode) *wire {
	c, err := net.Dial("tcp", n.host)
	require.NoError(t, err)
	return &wire{t: t, conn: c, in: bufio.NewReaderSize(c, 4096)}
}

// use prepares requests of a session.
func (w *wire) use(sid string, payload int) {
	w.sid = sid
	target := "/engine.io/?EIO=4&transport=polling&sid=" + sid + " HTTP/1.1\r\nHost: a\r\n"
	w.get = []byte("GET " + target + "\r\n")
	body := "4" + strings.Repeat("x", payload)
	w.post = []byte("POST " + target + "Content-Type: text/plain\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

func (w *wire) send(p []byte) {
	_, err := w.conn.Write(p)
	require.NoError(w.t, err)
}

// answer reads a response.
func (w *wire) answer() (status int, body []byte) {
	length := 0
	for first := true; ; first = false {
		line, err := w.in.ReadSlice('\n')
		require.NoError(w.t, err)
		switch {
		case first:
			status, _ = strconv.Atoi(string(line[9:12]))
		case len(line) == 2:
			body = make([]byte, length)
			_, err = io.ReadFull(w.in, body)
			require.NoError(w.t, err)
			return status, body
		case len(line) > 16 && strings.EqualFold(string(line[:15]), "content-length:"):
			length, _ = strconv.Atoi(strings.TrimSpace(string(line[15:])))
		}
	}
}

// BenchmarkPollCycle is what a GET that waits, a POST and the echo cost: on the session's
// node, or through another one. The client's cost is in both, and is measured by /client
// against a server that answers at once without a session.
func BenchmarkPollCycle(b *testing.B) {
	for _, c := range []struct{ clients, payload int }{{8, 32}, {8, 4096}, {1, 32}} {
		for _, away := range []bool{false, true} {
			clients, payload := c.clients, c.payload
			name := "local"
			if away {
				name = "forwarded"
			}
			b.Run(fmt.Sprintf("%s/%d clients, %d bytes", name, clients, payload), func(b *testing.B) {
				nodes := startNodes(b, 2, nil)
				edge := nodes[0]
				if away {
					edge = nodes[1]
				}
				var list []*wire
				for i := range clients {
					sid := newBrowser(b, nodes[:1], uint64(i)).sid
					for range 2 {
						w := dialWire(b, edge)
						w.use(sid, payload)
						list = append(list, w)
					}
				}
				b.ReportAllocs()
				before := processorTime(b)
				b.ResetTimer()
				var running sync.WaitGroup
				for i := range clients {
					poll, post := list[2*i], list[2*i+1]
					running.Go(func() {
						for range b.N / clients {
							poll.send(poll.get)
							post.send(post.post)
							if status, _ := post.answer(); status != 200 {
								b.Errorf("POST: %d", status)
								return
							}
							if status, _ := poll.answer(); status != 200 {
								b.Errorf("GET: %d", status)
								return
							}
						}
					})
				}
				running.Wait()
				b.StopTimer()
				b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
				for _, w := range list {
					_ = w.conn.Close()
				}
			})
		}
	}
	b.Run("client", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(c, c) }()
			}
		}()
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(b, err)
		p := make([]byte, 200)
		before := processorTime(b)
		for b.Loop() { // two exchanges, as a cycle has
			for range 2 {
				_, _ = c.Write(p)
				_, _ = io.ReadFull(c, p)
			}
		}
		b.ReportMetric(float64(processorTime(b)-before)/float64(b.N)/2, "cpu-ns/op") // one of both ends
		_ = c.Close()
	})
}

// processorTime is what this process has used.
func processorTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Thousands of polls wait on another node: what they take, and how long it takes until all
// are told that the node is dead.
func TestManyWaitingPolls(t *testing.T) {
	many := *pollsFlag
	if many == 0 {
		t.Skip("-polls says how many")
	}
	nodes := startNodes(t, 2, func(o *engine.Options, _ *peersOptions) {
		o.Timeouts.FirstRequest = 5 * time.Minute
		o.PingInterval = 5 * time.Minute
	})
	home, edge := nodes[0], nodes[1]
	var list []*wire
	setup := dialWire(t, home)
	for range many {
		setup.send([]byte("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n"))
		status, body := setup.answer()
		require.Equal(t, 200, status)
		sid := strings.SplitN(strings.SplitN(string(body), `"sid":"`, 2)[1], `"`, 2)[0]
		w := dialWire(t, edge)
		w.use(sid, 0)
		list = append(list, w)
	}
	before := resident(t)
	for _, w := range list {
		w.send(w.get)
	}
	require.Eventually(t, func() bool { return home.peers.stats().Guests == many }, time.Minute, 10*time.Millisecond)
	t.Logf("%d polls wait: %d bytes each, at both nodes together", many, (resident(t)-before)/many)
	begun := time.Now()
	took := make([]time.Duration, many)
	var told sync.WaitGroup
	for i, w := range list {
		told.Go(func() {
			status, _ := w.answer()
			took[i] = time.Since(begun)
			if status != http.StatusBadRequest {
				t.Errorf("status %d", status)
			}
			_ = w.conn.Close()
		})
	}
	home.kill()
	told.Wait()
	slices.Sort(took)
	t.Logf("told after %v first, %v in the middle, %v last", took[0], took[many/2], took[many-1])
}

// resident is how many bytes of this process are in memory.
func resident(t *testing.T) int {
	p, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	var size, pages int
	_, err = fmt.Sscan(string(p), &size, &pages)
	require.NoError(t, err)
	return pages * os.Getpagesize()
}
