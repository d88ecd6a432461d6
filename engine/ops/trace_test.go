package ops

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// The keys of tests here.
const (
	traceKey   = "trace-0123456789abcdef"
	payloadKey = "payload-0123456789abcdef"
	readKey    = "read-0123456789abcdef"
)

// A traced server listens for clients, which it echoes, and for operations.
type traced struct {
	*running
	engine  *engine.Server
	url     string
	logged  *log
	handler *Handler
}

func newTraced(t *testing.T) *traced {
	t.Helper()
	server, err := engine.New(engine.Options{Loops: 2}, engine.Events{Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-ended, engine.ErrServerClosed)
	})
	keys := keysOf(t, "ann debug "+traceKey+"\nbob debug,payloads "+payloadKey+"\neve read,payloads "+readKey+"\n")
	h, logged := newTest(t, Options{Server: server, Keys: keys})
	return &traced{run(t, NewServer(h), nil), server, "http://" + l.Addr().String() + "/engine.io/", logged, h}
}

func (s *traced) session(c *enginetest.Client) *engine.Session { return s.engine.Find(c.ID()) }

// A tracing client reads a trace, a line at a time.
type tracing struct {
	t     *testing.T
	conn  net.Conn
	reply *http.Response
	lines *bufio.Reader
}

func (s *traced) trace(target, key string) *tracing {
	s.t.Helper()
	c := s.dial()
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", target, s.addr, key)
	require.NoError(s.t, err)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(s.t, err)
	return &tracing{s.t, c, r, bufio.NewReader(r.Body)}
}

func (c *tracing) next() string {
	c.t.Helper()
	line, err := c.lines.ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return ""
	}
	require.NoError(c.t, err)
	var record map[string]any
	require.NoError(c.t, json.Unmarshal([]byte(line), &record))
	at, err := time.Parse(time.RFC3339Nano, record["time"].(string))
	require.NoError(c.t, err)
	require.Equal(c.t, time.UTC, at.Location())
	return regexp.MustCompile(`"time":"[^"]*",`).ReplaceAllString(strings.TrimSpace(line), "")
}

// until reads to the line that has text, which is the last that it returns.
func (c *tracing) until(text string) (lines []string) {
	c.t.Helper()
	for {
		line := c.next()
		require.NotEmpty(c.t, line, "the trace has ended without %s: %v", text, lines)
		lines = append(lines, line)
		if strings.Contains(line, text) {
			return lines
		}
	}
}

const tracePath = "/v1/sessions/%s/trace"

// A trace has what happens to a session on real sockets, from polling by way of the
// upgrade to the end, and nothing of what is said.
func TestTraceOfASession(t *testing.T) {
	s := newTraced(t)
	client := enginetest.Dial(t, s.url, enginetest.Options{})
	id := s.session(client).PublicID()
	c := s.trace(fmt.Sprintf(tracePath, id), traceKey)
	require.Equal(t, 200, c.reply.StatusCode)
	require.Equal(t, "application/x-ndjson", c.reply.Header.Get("Content-Type"))
	require.Equal(t, `{"event":"transport","transport":"polling"}`, c.next())
	client.Send(engine.Text("a secret"))
	require.Equal(t, "a secret", client.NextText())
	require.Equal(t, `{"event":"packet","direction":"in","transport":"polling","type":"message","binary":false,"bytes":8}`, c.next())
	require.Equal(t, `{"event":"packet","direction":"out","transport":"polling","type":"message","binary":false,"bytes":8}`, c.next())
	client.Upgrade()
	lines := strings.Join(c.until(`"event":"transport"`), "\n")
	require.Contains(t, lines, `{"event":"upgrade_begun"}`)
	require.Contains(t, lines, `{"event":"upgrade_probed"}`)
	require.Contains(t, lines, `{"event":"packet","direction":"in","transport":"websocket","type":"upgrade","binary":false,"bytes":0}`)
	require.Contains(t, lines, `{"event":"transport","transport":"websocket"}`)
	client.Send(engine.Binary([]byte("a secret")))
	client.Next()
	require.Equal(t, `{"event":"packet","direction":"in","transport":"websocket","type":"message","binary":true,"bytes":8}`, c.next())
	require.Equal(t, `{"event":"packet","direction":"out","transport":"websocket","type":"message","binary":true,"bytes":8}`, c.next())
	prepared, err := engine.Prepare(engine.Text("to all"))
	require.NoError(t, err)
	require.NoError(t, s.engine.Broadcast(prepared))
	require.Equal(t, `{"event":"packet","direction":"out","transport":"websocket","type":"message","binary":false,"bytes":6}`, c.next())
	require.NoError(t, s.session(client).CloseWith(4001, "a secret"))
	require.Equal(t, `{"event":"closing"}`, c.next())
	require.Equal(t, `{"event":"close","reason":"forced close","code":4001}`, c.next())
	require.Equal(t, `{"event":"end","why":"closed"}`, c.next())
	require.Empty(t, c.next())
	client.Closed()
	require.NotContains(t, s.logged.String(), "payloads of a session")
}

// Payloads are shown to a client that may see them, and the log names the client.
func TestTraceWithPayloads(t *testing.T) {
	s := newTraced(t)
	client := enginetest.Dial(t, s.url, enginetest.Options{Transport: engine.WebSocket})
	id := s.session(client).PublicID()
	c := s.trace(fmt.Sprintf(tracePath, id)+"?payloads=1", payloadKey)
	require.Equal(t, 200, c.reply.StatusCode)
	c.next()
	for _, say := range []struct {
		message engine.Message
		payload string
	}{
		{engine.Text("hello <b>"), `"hello \u003cb\u003e"`},
		{engine.Binary([]byte{0, 255}), `"AP8="`},
		{engine.Text("my id is " + client.ID()), `"my id is ` + strings.Repeat("*", len(client.ID())) + `"`},
		{engine.Text(strings.Repeat("x", 4095) + "ü"), `"` + strings.Repeat("x", 4095) + `"`},
	} {
		client.Send(say.message)
		for _, direction := range []string{"in", "out"} {
			line := c.next()
			require.Contains(t, line, `"direction":"`+direction+`"`)
			require.True(t, strings.HasSuffix(line, `"payload":`+say.payload+"}"), line)
			require.NotContains(t, line, client.ID())
		}
	}
	client.Close()
	lines := c.until(`"end"`)
	require.Equal(t, []string{`{"event":"close","reason":"transport close"}`, `{"event":"end","why":"closed"}`}, lines[len(lines)-2:])
	require.Contains(t, s.logged.String(), `msg="payloads of a session are shown" session=`+id+" who=bob peer=127.0.0.1:")
}

// What cannot be traced is told, and so is what one may not see.
func TestTraceRefusals(t *testing.T) {
	s := newTraced(t)
	client := enginetest.Dial(t, s.url, enginetest.Options{})
	id := s.session(client).PublicID()
	gone := enginetest.Dial(t, s.url, enginetest.Options{})
	goneID := s.session(gone).PublicID()
	gone.Close()
	for _, c := range []struct {
		id, query, key string
		status         int
		kind, says     string
	}{
		{id, "", "none-0123456789abcdef", 401, "unknown-key", "not one of the keys file"},
		{id, "", readKey, 403, "scope", "the scope debug, which eve"},
		{id, "?payloads=1", readKey, 403, "scope", "the scope debug, which eve"},
		{id, "?payloads=1", traceKey, 403, "scope", "the scope payloads, which ann"},
		{id, "?seconds=0", traceKey, 400, "bad-query", "seconds is a whole number from 1 to 60."},
		{id, "?seconds=61", traceKey, 400, "bad-query", "from "},
		{id, "?seconds=x", traceKey, 400, "bad-query", "from "},
		{id, "?payloads=yes", traceKey, 400, "bad-query", "payloads is the number 0 or 1."},
		{goneID, "", traceKey, 404, "not-found", "no session with this public id"},
		{client.ID(), "", traceKey, 404, "not-found", "no session with this public id"},
		{"x", "", traceKey, 404, "not-found", "no session with this public id"},
	} {
		r := s.trace(fmt.Sprintf(tracePath, c.id)+c.query, c.key).reply
		require.Equal(t, c.status, r.StatusCode, "%+v", c)
		kind, detail := isProblem(t, r)
		require.Equal(t, c.kind, kind, "%+v", c)
		require.Contains(t, detail, c.says, "%+v", c)
		require.NotContains(t, detail, client.ID())
	}
	require.Equal(t, 200, ask(s.handler, request("HEAD", fmt.Sprintf(tracePath, id), "", "Authorization: Bearer "+traceKey)).StatusCode)
}

// There are 16 traces at a time. A client that leaves makes room, and so does time.
func TestTracesAreLimited(t *testing.T) {
	s := newTraced(t)
	client := enginetest.Dial(t, s.url, enginetest.Options{})
	path := fmt.Sprintf(tracePath, s.session(client).PublicID())
	var all []*tracing
	for range engine.MaxTraces {
		c := s.trace(path, traceKey)
		require.Equal(t, 200, c.reply.StatusCode)
		c.next()
		all = append(all, c)
	}
	refused := s.trace(path, traceKey).reply
	require.Equal(t, 429, refused.StatusCode)
	require.Equal(t, "60", refused.Header.Get("Retry-After"))
	kind, detail := isProblem(t, refused)
	require.Equal(t, "too-many-traces", kind)
	require.Contains(t, detail, "16 traces")
	require.NoError(t, all[0].conn.Close())
	var next *tracing
	for next = s.trace(path+"?seconds=1", traceKey); next.reply.StatusCode == 429; next = s.trace(path+"?seconds=1", traceKey) {
		require.NoError(t, next.conn.Close())
	}
	require.Equal(t, 200, next.reply.StatusCode)
	require.Equal(t, `{"event":"end","why":"time"}`, next.until(`"end"`)[1])
	require.Empty(t, next.next())
	client.Close()
	for _, c := range all[1:] { // each is told the end
		require.Contains(t, c.until(`"end"`), `{"event":"end","why":"closed"}`)
	}
}

// A client that does not read its trace holds up nobody, and loses it in time; one that
// is slow is told how much it has missed, and the end.
func TestTraceOfASessionThatIsReadSlowly(t *testing.T) {
	const messages = 3000
	for _, reads := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := enginetest.New(t, engine.Options{}, engine.Events{})
			c := w.Dial(enginetest.Options{Transport: engine.WebSocket})
			session := w.Server().Find(c.ID())
			h, _ := newTest(t, Options{Server: w.Server(), Keys: keysOf(t, "ann debug "+traceKey)})
			server := NewServer(h)
			client, conn := net.Pipe() // which holds nothing
			l := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
			l.conns <- conn
			ended := make(chan error)
			go func() { ended <- server.Serve(l, nil) }()
			began := time.Now()
			_, err := fmt.Fprintf(client, "GET "+tracePath+" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n", session.PublicID(), traceKey)
			require.NoError(t, err)
			in := bufio.NewReaderSize(client, 4<<10)
			r, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			for range messages {
				c.Send(engine.Text("x"))
			}
			require.Zero(t, time.Since(began), "nobody has waited")
			if reads {
				var text strings.Builder
				_, err := io.Copy(&text, &slowly{r.Body})
				require.NoError(t, err)
				lines := strings.Split(strings.TrimSpace(text.String()), "\n")
				require.Regexp(t, `"event":"end","why":"time"}$`, lines[len(lines)-1])
				missed := 0
				for _, line := range lines {
					var record struct{ Records int }
					require.NoError(t, json.Unmarshal([]byte(line), &record))
					missed += record.Records
				}
				require.Positive(t, missed)
				require.Equal(t, messages, missed+strings.Count(text.String(), `"packet"`))
			} else {
				synctest.Wait()
				time.Sleep(traceStall)
				synctest.Wait()
			}
			for range engine.MaxTraces { // the trace is over
				trace, err := session.Trace(t.Context(), engine.TraceOptions{})
				require.NoError(t, err)
				require.NotEmpty(t, trace.Next())
			}
			_ = client.Close()
			require.NoError(t, server.Close())
			require.ErrorIs(t, <-ended, http.ErrServerClosed)
		})
	}
}

// slowly reads 4 KiB a second.
type slowly struct{ io.Reader }

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Reader.Read(p[:min(len(p), 4<<10)])
}
