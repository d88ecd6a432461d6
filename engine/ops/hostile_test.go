package ops

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// Whatever a cursor is, it is a place in the list, or it is refused.
func TestCursorsOfAnyKind(t *testing.T) {
	a := newHall(t, engine.Options{Limits: engine.Limits{HandshakeRate: -1}})
	for i := range 5 {
		a.dial(enginetest.Options{Transport: engine.WebSocket}, fmt.Sprint("room:", i))
	}
	random := rand.New(rand.NewPCG(1, 1))
	cursors := []string{"0", "00", "+0", "-1", " 0", "0\x00", "zz", "1z141z3", "1z141z4", "3w5e11264sf", strings.Repeat("z", 8), "é", "_", "____", "gA", strings.Repeat("A", 15<<10)}
	for loop := range 256 {
		for _, slot := range []uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
			cursors = append(cursors, strconv.FormatUint(uint64(loop)<<32|slot, 36))
		}
	}
	for range 2000 {
		text := make([]byte, random.IntN(20))
		for i := range text {
			text[i] = byte(random.Uint32())
		}
		cursors = append(cursors, string(text))
	}
	for _, cursor := range cursors {
		for _, path := range []string{"/v1/sessions", "/v1/groups"} {
			r := ask(a.h, request("GET", path+"?cursor="+url.QueryEscape(cursor), ""))
			if r.StatusCode == http.StatusBadRequest {
				kind, _ := isProblem(t, r)
				require.Equal(t, "bad-query", kind)
				continue
			}
			require.Equal(t, http.StatusOK, r.StatusCode, "%s %q", path, cursor)
		}
	}
}

// Sessions that are open all the time are in each list once, whatever opens, closes, is
// ended and is traced meanwhile; and no list has a session twice.
func TestListsWhileSessionsComeAndGo(t *testing.T) {
	const stay, lists, come = 60, 6, 60
	s := newThrong(t)
	stays := map[string]bool{}
	for range stay {
		c := s.open()
		t.Cleanup(func() { _ = c.Close() })
	}
	for one := range s.engine.Sessions() {
		stays[one.PublicID()] = true
	}
	require.Len(t, stays, stay)

	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for range come {
				_ = s.open().Close()
			}
		})
		group.Go(func() {
			for range come {
				if id, ok := s.other(stays); ok {
					s.fetch("DELETE", "/v1/sessions/"+id+"?code=4001", "", 200, 404)
				}
			}
		})
		group.Go(func() {
			for range come {
				if id, ok := s.other(stays); ok {
					trace := s.fetch("GET", "/v1/sessions/"+id+"/trace?seconds=1", "", 200, 404)
					s.holds(strings.Contains(trace, `"event":"end"`) || strings.Contains(trace, "not-found"), "a trace without an end: %s", trace)
				}
			}
		})
		group.Go(func() {
			for range lists {
				seen := map[string]int{}
				for line := range strings.Lines(s.fetch("GET", "/v1/sessions", streamType, 200)) {
					s.count(seen, line)
				}
				s.check(stays, seen)
			}
		})
		group.Go(func() {
			for range lists {
				seen := map[string]int{}
				for cursor, more := "", true; more; more = cursor != "" {
					var page struct {
						Sessions []json.RawMessage
						Cursor   string
					}
					text := s.fetch("GET", "/v1/sessions?limit=37&cursor="+cursor, "", 200)
					s.holds(json.Unmarshal([]byte(text), &page) == nil, "no page: %s", text)
					for _, one := range page.Sessions {
						s.count(seen, string(one))
					}
					cursor = page.Cursor
				}
				s.check(stays, seen)
			}
		})
	}
	group.Go(func() {
		for range lists {
			for _, path := range []string{"/v1/groups?limit=3", "/v1/groups?prefix=g", "/v1/stats", "/metrics"} {
				s.fetch("GET", path, "", 200)
			}
		}
	})
	group.Wait()
}

// A throng is at a real server. Its methods are safe from any goroutine.
type throng struct {
	t      *testing.T
	engine *engine.Server
	addr   string
	base   string // of operations
	client http.Client
}

func newThrong(t *testing.T) *throng {
	s := &throng{t: t, client: http.Client{Transport: &http.Transport{}}}
	var err error
	s.engine, err = engine.New(engine.Options{Loops: 2}, engine.Events{Open: func(one *engine.Session, _ *engine.Request) {
		one.Join("all")
		one.Join("g" + one.PublicID()[:12])
	}})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.addr = l.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- s.engine.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.engine.Close())
		require.ErrorIs(t, <-ended, engine.ErrServerClosed)
	})
	h, _ := newTest(t, Options{Server: s.engine})
	s.base = "http://" + run(t, NewServer(h), nil).addr
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

// holds reports whether something is as it should be, and has the test fail if not.
func (s *throng) holds(is bool, format string, a ...any) bool {
	if !is {
		s.t.Errorf(format, a...)
	}
	return is
}

// open opens a session, and returns when it is open.
func (s *throng) open() net.Conn {
	c, err := net.Dial("tcp", s.addr)
	if !s.holds(err == nil, "%v", err) {
		return nil
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: "+s.addr+"\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	_, err = bufio.NewReader(c).ReadString('}') // of the open packet
	s.holds(err == nil, "no open packet: %v", err)
	return c
}

// other is a session that does not stay, if there is one.
func (s *throng) other(stays map[string]bool) (id string, ok bool) {
	for one := range s.engine.Sessions() {
		if id = one.PublicID(); !stays[id] {
			return id, true
		}
	}
	return "", false
}

// fetch returns the answer's body.
func (s *throng) fetch(method, path, accept string, statuses ...int) string {
	r, err := http.NewRequest(method, s.base+path, nil)
	if !s.holds(err == nil, "%s %s: %v", method, path, err) {
		return ""
	}
	r.Header.Set("Accept", accept)
	answer, err := s.client.Do(r)
	if !s.holds(err == nil, "%s %s: %v", method, path, err) {
		return ""
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	s.holds(err == nil && slices.Contains(statuses, answer.StatusCode), "%s %s: %s %v: %s", method, path, answer.Status, err, text)
	return string(text)
}

func (s *throng) count(seen map[string]int, text string) {
	var one shown
	s.holds(json.Unmarshal([]byte(text), &one) == nil, "no session: %s", text)
	seen[one.ID]++
}

func (s *throng) check(stays map[string]bool, seen map[string]int) {
	for id := range stays {
		s.holds(seen[id] == 1, "%s stays and is there %d times", id, seen[id])
	}
	for id, n := range seen {
		s.holds(n == 1, "%s is there %d times", id, n)
	}
}
