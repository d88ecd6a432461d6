package ops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// A slowClient is a ResponseWriter whose client reads a part only when it is told to.
type slowClient struct {
	http.ResponseWriter
	parts     chan int   // the length of each part that is to be read
	read      chan error // how that went
	deadlines []time.Time
}

func newSlowClient() *slowClient {
	return &slowClient{ResponseWriter: httptest.NewRecorder(), parts: make(chan int), read: make(chan error)}
}

func (c *slowClient) Write(p []byte) (int, error) {
	c.parts <- len(p)
	if err := <-c.read; err != nil {
		return 0, err
	}
	return c.ResponseWriter.Write(p)
}

func (c *slowClient) SetWriteDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

func (c *slowClient) SetReadDeadline(time.Time) error { return nil }

// serve serves a request for a stream to c. ended has what the Handler panics with, or nil.
func (c *slowClient) serve(h http.Handler, ctx context.Context) (ended <-chan any) {
	r := request("GET", "/v1/sessions", "", "Accept: "+streamType)
	over := make(chan any, 1)
	go func() {
		defer func() { over <- recover() }()
		h.ServeHTTP(c, r.WithContext(mergeLocal(ctx, r)))
	}()
	return over
}

// mergeLocal is ctx with what a request's has.
func mergeLocal(ctx context.Context, r *http.Request) context.Context {
	return context.WithValue(ctx, http.LocalAddrContextKey, r.Context().Value(http.LocalAddrContextKey))
}

// crowded is a hall with sessions that fill a few parts of a stream.
func crowded(t *testing.T) (a *hall, sessions int) {
	a = newHall(t, engine.Options{})
	const groups, parts = listedGroups, 5
	for size := 0; size < parts*streamPart; size += groups * 200 {
		_, s := a.dial(enginetest.Options{Transport: engine.WebSocket})
		for i := range groups {
			s.Join(fmt.Sprint(i, " ", strings.Repeat("x", 200)))
		}
		sessions++
	}
	a.world.Settle()
	return a, sessions
}

// A client that does not read holds up nobody, and takes one part of memory.
func TestSlowReaderOfAStream(t *testing.T) {
	a, sessions := crowded(t)
	c := newSlowClient()
	ended := c.serve(a.h, context.Background())
	parts := 0
	for open := true; open; {
		select {
		case n := <-c.parts: // and it waits
			require.Less(t, n, 2*streamPart)
			parts++
			require.NotEmpty(t, answerOf[shownPage](t, a.h, "/v1/sessions?limit=1").Sessions)
			require.NotEmpty(t, answerOf[shownGroups](t, a.h, "/v1/groups?limit=1").Groups)
			_, s := a.dial(enginetest.Options{})
			require.Equal(t, 200, ask(a.h, request("DELETE", "/v1/sessions/"+s.PublicID(), "")).StatusCode)
			a.world.Settle()
			c.read <- nil
		case fault := <-ended:
			require.Nil(t, fault)
			open = false
		}
	}
	require.GreaterOrEqual(t, parts, 5)
	require.Len(t, c.deadlines, parts, "each part has a time of its own")
	body := c.ResponseWriter.(*httptest.ResponseRecorder).Body.Bytes()
	require.Equal(t, sessions, bytes.Count(body, []byte("\n")))
	require.Equal(t, streamType, c.Header().Get("Content-Type"))
	require.Zero(t, a.h.streams.Load())
}

// A stream that is not whole ends the connection, so that it does not look whole.
func TestBrokenStream(t *testing.T) {
	for name, breaks := range map[string]func(c *slowClient, leave func()){
		"a write fails":     func(c *slowClient, _ func()) { c.read <- errors.New("too late") },
		"the client leaves": func(c *slowClient, leave func()) { leave(); c.read <- nil },
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := crowded(t)
			c := newSlowClient()
			ctx, leave := context.WithCancel(context.Background())
			defer leave()
			ended := c.serve(a.h, ctx)
			<-c.parts
			breaks(c, leave)
			require.Equal(t, http.ErrAbortHandler, <-ended)
			require.Zero(t, a.h.streams.Load())
		})
	}
	t.Run("it takes too long", func(t *testing.T) {
		s := stream{w: httptest.NewRecorder(), r: request("GET", "/", ""), end: time.Now()}
		require.False(t, s.write())
	})
}

// There is a number of streams at a time, whoever reads them.
func TestManyStreams(t *testing.T) {
	a, _ := crowded(t)
	var clients []*slowClient
	var ends []<-chan any
	for range maxStreams {
		c := newSlowClient()
		ends = append(ends, c.serve(a.h, context.Background()))
		<-c.parts
		clients = append(clients, c)
	}
	r := ask(a.h, request("GET", "/v1/sessions", "", "Accept: "+streamType))
	require.Equal(t, 503, r.StatusCode)
	kind, _ := isProblem(t, r)
	require.Equal(t, "busy", kind)
	require.NotEmpty(t, answerOf[shownPage](t, a.h, "/v1/sessions").Sessions, "pages go on")
	clients[0].read <- errors.New("gone")
	<-ends[0]
	require.Equal(t, 200, ask(a.h, request("GET", "/v1/sessions", "", "Accept: "+streamType)).StatusCode)
	for i := range maxStreams - 1 {
		clients[i+1].read <- errors.New("gone")
		<-ends[i+1]
	}
	require.Zero(t, a.h.streams.Load())
}

// HEAD is answered without a look at any session.
func TestHeadOfAStream(t *testing.T) {
	a, _ := crowded(t)
	c := newSlowClient() // a write would wait for ever
	r := request("HEAD", "/v1/sessions", "", "Accept: "+streamType)
	a.h.ServeHTTP(c, r)
	require.Equal(t, streamType, c.Header().Get("Content-Type"))
}
