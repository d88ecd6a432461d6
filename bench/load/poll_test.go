//go:build linux

package load

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"
)

// pollServer is a small Engine.IO server of one kind of fault. It polls, and
// completes an upgrade when a timer rings, as the reference server does; its
// responses are chunked.
type pollServer struct {
	open  string                   // open packet
	ok    string                   // answer to a POST
	probe string                   // answer to a probe
	get   func(body string) string // changes what a GET brings
	ws    func(message string) string

	queue chan string // what is for the one client's GET
}

const (
	openPacket  = `0{"sid":"A","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	noopEvery   = 20 * time.Millisecond
	pollTimeout = 5 * time.Second
)

func keep(s string) string { return s }

func servePolls(t *testing.T, change func(s *pollServer)) string {
	s := &pollServer{open: openPacket, ok: "OK", probe: "3probe", get: keep, ws: keep, queue: make(chan string, 100)}
	change(s)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	return server.Listener.Addr().String()
}

func (s *pollServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case q.Get("transport") == "websocket":
		s.socket(w, r)
	case q.Get("sid") == "":
		s.answer(w, s.open)
	case r.Method == http.MethodPost:
		body, _ := io.ReadAll(r.Body)
		s.queue <- string(body)
		s.answer(w, s.ok)
	default:
		select {
		case body := <-s.queue:
			s.answer(w, s.get(body))
		case <-r.Context().Done():
		case <-time.After(pollTimeout):
		}
	}
}

// answer writes body in three chunks, at most.
func (s *pollServer) answer(w http.ResponseWriter, body string) {
	if body == "500" {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	half := len(body) / 2
	_, _ = io.WriteString(w, body[:half])
	w.(http.Flusher).Flush()
	_, _ = io.WriteString(w, body[half:])
}

func (s *pollServer) socket(w http.ResponseWriter, r *http.Request) {
	c, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	defer c.Close()
	upgraded := make(chan struct{})
	defer func() {
		select {
		case <-upgraded:
		default:
			close(upgraded)
		}
	}()
	for {
		p, err := wsutil.ReadClientText(c)
		if err != nil {
			return
		}
		switch {
		case string(p) == "2probe":
			_ = wsutil.WriteServerText(c, []byte(s.probe))
			go func() {
				select {
				case <-upgraded:
				case <-time.After(noopEvery):
					s.queue <- "6"
				}
			}()
		case string(p) == "5":
			close(upgraded)
		case p[0] == '4':
			_ = wsutil.WriteServerText(c, []byte(s.ws(string(p))))
		}
	}
}

func TestPolls(t *testing.T) {
	right := func(*pollServer) {}
	for name, c := range map[string]struct {
		change func(s *pollServer)
		kind   Kind
		says   string // "": it is right
	}{
		"handshake":              {right, PollHandshake, ""},
		"handshake, new":         {right, PollHandshakeNew, ""},
		"cycle":                  {right, PollCycle, ""},
		"ping in a GET":          {func(s *pollServer) { s.get = pinged() }, PollCycle, ""},
		"dance":                  {right, UpgradeDance, ""},
		"no open packet":         {func(s *pollServer) { s.open = "6" }, PollHandshake, "open packet"},
		"no JSON":                {func(s *pollServer) { s.open = `0{"sid":"A"` }, PollHandshake, "open packet"},
		"no heartbeat":           {func(s *pollServer) { s.open = `0{"sid":"A"}` }, PollHandshake, "no heartbeat"},
		"no body":                {func(s *pollServer) { s.open = "" }, PollHandshakeNew, "answer to a GET"},
		"500":                    {func(s *pollServer) { s.open = "500" }, PollHandshake, "status 500"},
		"POST not ok":            {func(s *pollServer) { s.ok = "no" }, PollCycle, "answer to a POST"},
		"POST 500":               {func(s *pollServer) { s.ok = "500" }, PollCycle, "status 500"},
		"GET 500":                {func(s *pollServer) { s.get = func(string) string { return "500" } }, PollCycle, "status 500"},
		"GET of another content": {func(s *pollServer) { s.get = func(p string) string { return p + "!" } }, PollCycle, "wrong content"},
		"GET of no packet":       {func(s *pollServer) { s.get = func(string) string { return "x" } }, PollCycle, "answer to a GET"},
		"GET brings it twice":    {func(s *pollServer) { s.get = func(p string) string { return p + "\x1e" + p } }, PollCycle, "came again"},
		"GET brings nothing":     {func(s *pollServer) { s.get = func(string) string { return "6" } }, PollCycle, "never echoed"},
		"GET closes":             {func(s *pollServer) { s.get = func(string) string { return "1" } }, PollCycle, "close packet"},
		"wrong probe":            {func(s *pollServer) { s.probe = "3prob" }, UpgradeDance, "unexpected packet"},
		"wrong after upgrade":    {func(s *pollServer) { s.ws = strings.ToUpper }, UpgradeDance, "wrong content"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Plan{
				Kind: c.kind, Addr: servePolls(t, c.change), Path: "/engine.io/",
				Sessions: 1, Size: 30, Duration: 2 * moment,
			}
			if c.says == "" {
				o, err := runUntil(t, p, func(o *Outcome) bool { return o.Operations >= 10 })
				require.NoError(t, err)
				perfect(t, o)
				return
			}
			load := runUntilWrong
			if c.says == "never echoed" {
				load = runSoon
			}
			o, err := load(t, p)
			require.NoError(t, err)
			require.Contains(t, strings.Join(o.Faults, "\n"), c.says)
			require.Positive(t, o.Wrong+int64(o.Lost))
		})
	}
}

// pinged puts a ping before each third body, and lets the pong, which comes
// back as any body, disappear.
func pinged() func(string) string {
	n := 0
	return func(p string) string {
		if p == "3" {
			return "6"
		}
		if n++; n%3 == 0 {
			return "2\x1e" + p
		}
		return p
	}
}

// A body that ends with its connection, and connections that do.
func TestOldHTTP(t *testing.T) {
	s := serveUpgrade(t, func(c net.Conn) error {
		_, _ = c.Read(make([]byte, 1000))
		_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\nServer: old\r\n\r\n"+openPacket)
		return io.EOF
	}, nil)
	p := s.plan(PollHandshake)
	p.Dialect, p.Path = EngineIO, "/engine.io/"
	o, err := runUntil(t, p, func(o *Outcome) bool { return o.Operations >= 10 })
	require.NoError(t, err)
	perfect(t, o)
}
