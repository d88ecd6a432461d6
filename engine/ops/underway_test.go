package ops

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// A trace ends as soon as the keys change so that its client may not have it, and says so
// in its last record. Others continue.
func TestTracesEndWithTheirKeys(t *testing.T) {
	const ann, bob, eve = "ann debug " + traceKey + "\n", "bob debug,payloads " + payloadKey + "\n", "eve read " + readKey + "\n"
	for _, c := range []struct {
		name, keys  string // nil keys for ""
		trace, says bool   // is ended: a trace with ann's key, and one with payloads with bob's
	}{
		{"nothing changes", ann + bob + eve, false, false},
		{"another key is added", ann + bob + eve + "joe debug joe-0123456789abcdef", false, false},
		{"a key is removed", bob + eve, true, false},
		{"a key is replaced", "ann debug another-0123456789abcdef\n" + bob, true, false},
		{"a scope is taken away", "ann read " + traceKey + "\n" + bob, true, false},
		{"payloads are taken away", ann + "bob debug " + payloadKey, false, true},
		{"the key has another name", ann + "joe debug,payloads " + payloadKey, false, false},
		{"there are none", "", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTraced(t)
			client := enginetest.Dial(t, s.url, enginetest.Options{})
			path := fmt.Sprintf(tracePath, s.session(client).PublicID())
			trace, says := s.trace(path, traceKey), s.trace(path+"?payloads=1", payloadKey)
			require.Contains(t, trace.next(), `"transport"`)
			require.Contains(t, says.next(), `"transport"`)
			var next *Keys
			if c.keys != "" {
				next = keysOf(t, c.keys)
			}
			s.handler.SetKeys(next)
			for of, ends := range map[*tracing]bool{trace: c.trace, says: c.says} {
				if ends {
					require.Equal(t, `{"event":"end","why":"unauthorized"}`, of.next())
					require.Empty(t, of.next())
				}
			}
			client.Close()
			for of, ends := range map[*tracing]bool{trace: c.trace, says: c.says} {
				if !ends {
					lines := of.until(`"end"`)
					require.Equal(t, `{"event":"end","why":"closed"}`, lines[len(lines)-1])
				}
			}
			ended := 0
			for _, ends := range []bool{c.trace, c.says} {
				if ends {
					ended++
				}
			}
			require.Equal(t, ended, strings.Count(s.logged.String(), "was ended, since its key counts no more"))
		})
	}
}

// A list of all sessions breaks off.
func TestStreamEndsWithItsKey(t *testing.T) {
	for name, c := range map[string]struct {
		keys string
		ends bool
	}{
		"the key is removed": {"ann read other-0123456789abcdef", true},
		"the key stays":      {"eve read " + readKey, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, sessions := crowded(t)
			h, logged := newTest(t, Options{Server: a.h.options.Server, Keys: keysOf(t, "eve read "+readKey)})
			c1 := newSlowClient()
			r := request("GET", "/v1/sessions", "", "Accept: "+streamType, "Authorization: Bearer "+readKey)
			ended := make(chan any, 1)
			go func() {
				defer func() { ended <- recover() }()
				h.ServeHTTP(c1, r)
			}()
			<-c1.parts
			h.SetKeys(keysOf(t, c.keys))
			c1.read <- nil
			var fault any
			for open := true; open; {
				select {
				case <-c1.parts:
					c1.read <- nil
				case fault = <-ended:
					open = false
				}
			}
			body := c1.ResponseWriter.(*httptest.ResponseRecorder).Body.String()
			if c.ends {
				require.Equal(t, http.ErrAbortHandler, fault)
				require.Less(t, strings.Count(body, "\n"), sessions)
				require.Contains(t, logged.String(), "path=/v1/sessions peer=")
			} else {
				require.Nil(t, fault)
				require.Equal(t, sessions, strings.Count(body, "\n"))
			}
			require.Zero(t, h.streams.Load())
			require.Empty(t, h.underWay.all)
		})
	}
}

// A profile is over, so that another one can be made.
func TestProfileEndsWithItsKey(t *testing.T) {
	s := newTraced(t)
	done := make(chan error)
	go func() {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			defer func() { _ = c.Close() }()
			_, err = fmt.Fprintf(c, "GET /debug/pprof/trace?seconds=60 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", s.addr, traceKey)
		}
		if err == nil {
			var r *http.Response
			if r, err = http.ReadResponse(bufio.NewReader(c), nil); err == nil {
				s.handler.SetKeys(keysOf(t, "bob debug,payloads "+payloadKey))
				_, err = bufio.NewReader(r.Body).WriteTo(httptest.NewRecorder())
			}
		}
		done <- err
	}()
	require.NoError(t, <-done)
	require.Empty(t, s.handler.underWay.all)
}

// Of keys that change while a request begins, it is told by those before or by those
// behind: when SetKeys has returned, nobody whose key is gone is served.
func TestKeysChangeWhileRequestsBegin(t *testing.T) {
	s := newTraced(t)
	client := enginetest.Dial(t, s.url, enginetest.Options{})
	path := fmt.Sprintf(tracePath, s.session(client).PublicID())
	with, without := keysOf(t, "ann debug "+traceKey), keysOf(t, "joe debug other-0123456789abcdef")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 50 {
		s.handler.SetKeys(with)
		var requests sync.WaitGroup
		for range 4 {
			requests.Go(func() { // which returns only if the trace ends
				s.handler.ServeHTTP(httptest.NewRecorder(), request("GET", path, "", "Authorization: Bearer "+traceKey).WithContext(ctx))
			})
		}
		s.handler.SetKeys(without)
		requests.Wait()
	}
	require.Empty(t, s.handler.underWay.all)
	_, err := s.session(client).Trace(ctx, engine.TraceOptions{})
	require.NoError(t, err, "none is left")
}
