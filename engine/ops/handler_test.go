package ops

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
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

// setting is one in memory.
type setting struct{ value, refused string }

func (s *setting) Get() string { return s.value }

func (s *setting) Set(value string) error {
	if value == s.refused {
		return errors.New("that is none; write another")
	}
	s.value = value
	return nil
}

// log is what a Handler logs. Safe from any goroutine.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newTest is a Handler for a server that has not served yet.
func newTest(t *testing.T, o Options) (*Handler, *log) {
	t.Helper()
	var written log
	if o.Server == nil {
		var err error
		o.Server, err = engine.New(engine.Options{}, engine.Events{})
		require.NoError(t, err)
	}
	o.Logger = slog.New(slog.NewTextHandler(&written, nil))
	h, err := New(o)
	require.NoError(t, err)
	return h, &written
}

func keysOf(t *testing.T, file string) *Keys {
	t.Helper()
	keys, err := ParseKeys([]byte(file))
	require.NoError(t, err)
	return keys
}

// request is one from this machine to 127.0.0.1:3001, as net/http has it.
func request(method, target, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1:3001"+target, strings.NewReader(body))
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3001})))
}

func ask(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(text)
}

// isProblem checks an answer of RFC 9457, and returns its kind and detail.
func isProblem(t *testing.T, r *http.Response) (kind, detail string) {
	t.Helper()
	require.Equal(t, "application/problem+json", r.Header.Get("Content-Type"))
	var p map[string]any
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, r)), &p))
	require.Len(t, p, 4)
	require.EqualValues(t, r.StatusCode, p["status"])
	require.NotEmpty(t, p["title"])
	require.Regexp(t, `^[^\n]{15,}$`, p["detail"])
	kind, ok := strings.CutPrefix(p["type"].(string), problemType)
	require.True(t, ok)
	return kind, p["detail"].(string)
}

// Each route is open to the keys that have its scope, and to no other.
func TestRoutesNeedTheirScopes(t *testing.T) {
	var file strings.Builder
	key := func(s Scope) string { return "key-for-" + s.String() + "-0123456789" }
	for i := range Scope(numScopes) {
		file.WriteString(i.String() + " " + i.String() + " " + key(i) + "\n")
	}
	hall := newHall(t, engine.Options{})
	o := Options{Server: hall.world.Server(), Keys: keysOf(t, file.String()), Open: []Scope{}, LogLevel: &setting{}, Debug: &setting{}, Drain: func() {}}
	h, _ := newTest(t, o)
	bodies := map[string]string{"/v1/loglevel": `{"level":"info"}`, "/v1/debug": `{"scopes":""}`}
	require.Len(t, scopeNames, numScopes)
	for _, to := range routes {
		if to.scope == nothing {
			require.Contains(t, []string{"/{$}", "/page/{file}"}, to.path, "everybody may use it")
			continue
		}
		_, session := hall.dial(enginetest.Options{})
		target := strings.NewReplacer("{$}", "", "{id}", session.PublicID(), "{name}", "goroutine", "/profile", "/profile?seconds=0", "/trace", "/trace?seconds=0").Replace(to.path)
		t.Run(to.method+" "+target, func(t *testing.T) {
			r := ask(h, request(to.method, target, bodies[target]))
			require.Equal(t, 401, r.StatusCode)
			require.Equal(t, `Bearer realm="operations"`, r.Header.Get("WWW-Authenticate"))
			kind, _ := isProblem(t, r)
			require.Equal(t, "no-key", kind)
			for i := range Scope(numScopes) {
				r := ask(h, request(to.method, target, bodies[target], "Authorization: Bearer "+key(i)))
				if i == to.scope {
					require.NotContains(t, []int{401, 403, 404, 405, 500}, r.StatusCode)
					continue
				}
				require.Equal(t, 403, r.StatusCode, "with %v", i)
				kind, detail := isProblem(t, r)
				require.Equal(t, "scope", kind)
				require.Contains(t, detail, to.scope.String())
				require.NotContains(t, detail, key(i))
			}
		})
	}
}

// What is asked for, and what comes.
func TestRequests(t *testing.T) {
	level, scopes := &setting{"info", "loud"}, &setting{"engine:ws", "engine:sw"}
	drains := 0
	h, _ := newTest(t, Options{Node: "a", Version: "1.2", LogLevel: level, Debug: scopes, Drain: func() { drains++ }})
	for _, c := range []struct {
		method, target, body string
		status               int
		want                 string // the body, or a problem's kind
	}{
		{"GET", "/livez", "", 200, "ok\n"},
		{"HEAD", "/livez", "", 200, "ok\n"}, // net/http leaves the body out
		{"GET", "/healthz", "", 503, "new\n"},
		{"GET", "/v1/loglevel", "", 200, `{"level":"info"}` + "\n"},
		{"PUT", "/v1/loglevel", `{"level":"debug"}`, 200, `{"level":"debug"}` + "\n"},
		{"PUT", "/v1/loglevel", `{"level":"loud"}`, 400, "bad-value"},
		{"PUT", "/v1/loglevel", `{"level":7}`, 400, "bad-body"},
		{"PUT", "/v1/loglevel", `{"level":null}`, 400, "bad-body"},
		{"PUT", "/v1/loglevel", `{}`, 400, "bad-body"},
		{"PUT", "/v1/loglevel", ``, 400, "bad-body"},
		{"PUT", "/v1/loglevel", `debug`, 400, "bad-body"},
		{"PUT", "/v1/loglevel", `{"level":"info","more":1}`, 400, "bad-body"},
		{"PUT", "/v1/loglevel", `{"level":"info"}{"level":"warn"}`, 400, "bad-body"},
		{"PUT", "/v1/loglevel", `{"level":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too-large"},
		{"GET", "/v1/loglevel", "", 200, `{"level":"debug"}` + "\n"},
		{"GET", "/v1/debug", "", 200, `{"scopes":"engine:ws"}` + "\n"},
		{"PUT", "/v1/debug", `{"scopes":""}`, 200, `{"scopes":""}` + "\n"},
		{"PUT", "/v1/debug", `{"scopes":"engine:sw"}`, 400, "bad-value"},
		{"POST", "/v1/drain", "", 202, `{"phase":"draining"}` + "\n"},
		{"POST", "/v1/drain", "", 202, `{"phase":"draining"}` + "\n"},
		{"GET", "/v1/drain", "", 405, "method"},
		{"DELETE", "/v1/stats", "", 405, "method"},
		{"OPTIONS", "/v1/stats", "", 405, "method"},
		{"BREW", "/v1/stats", "", 405, "method"},
		{"GET", "/v1/", "", 404, "not-found"},
		{"GET", "/v1/stats/", "", 404, "not-found"},
		{"GET", "/v1//stats", "", 404, "not-found"},
		{"GET", "/v1/x/../stats", "", 404, "not-found"},
		{"GET", "/%2e%2e/etc/passwd", "", 404, "not-found"},
		{"GET", "/debug/pprof/cmdline", "", 404, "not-found"},
		{"GET", "/debug/pprof/goroutine?debug=9", "", 400, "bad-query"},
		{"GET", "/debug/pprof/heap?gc=yes", "", 400, "bad-query"},
		{"GET", "/debug/pprof/profile?seconds=61", "", 400, "bad-query"},
		{"GET", "/debug/pprof/profile?seconds=-1", "", 400, "bad-query"},
		{"GET", "/debug/pprof/trace?seconds=99999999999999999999", "", 400, "bad-query"},
	} {
		r := ask(h, request(c.method, c.target, c.body))
		require.Equal(t, c.status, r.StatusCode, "%+v", c)
		require.Equal(t, "no-store", r.Header.Get("Cache-Control"))
		if strings.HasSuffix(c.want, "\n") {
			require.Equal(t, c.want, bodyOf(t, r), "%+v", c)
			continue
		}
		kind, _ := isProblem(t, r)
		require.Equal(t, c.want, kind, "%+v", c)
		require.Equal(t, c.status == 405, r.Header.Get("Allow") != "", "%+v", c)
	}
	require.Equal(t, 1, drains)
	require.Equal(t, "GET, HEAD, PUT", ask(h, request("POST", "/v1/debug", "")).Header.Get("Allow"))
}

// What the program around it does not give is no part of it.
func TestWhatIsNotOffered(t *testing.T) {
	h, _ := newTest(t, Options{})
	for _, c := range []struct{ method, target, body string }{
		{"POST", "/v1/drain", ""},
		{"GET", "/v1/loglevel", ""},
		{"PUT", "/v1/loglevel", `{"level":"info"}`},
		{"GET", "/v1/debug", ""},
		{"PUT", "/v1/debug", `{"scopes":""}`},
	} {
		r := ask(h, request(c.method, c.target, c.body))
		require.Equal(t, 501, r.StatusCode, c.target)
		kind, _ := isProblem(t, r)
		require.Equal(t, "not-offered", kind)
	}
	_, err := New(Options{})
	require.EqualError(t, err, "ops: Options.Server is nil")
}

// Pages of other origins get nothing, and without keys neither do names that a page has
// made up, nor other machines.
func TestWhoIsLetIn(t *testing.T) {
	open, _ := newTest(t, Options{})
	guarded, _ := newTest(t, Options{Keys: keysOf(t, "ann read "+keyOne)})
	const bearer = "Authorization: Bearer " + keyOne
	for _, c := range []struct {
		name      string
		header    []string
		open, key int    // the status without keys, and with one
		local     string // the listener's address; "" for 127.0.0.1:3001
	}{
		{"its address", nil, 200, 200, ""},
		{"localhost", []string{"Host: localhost:3001"}, 200, 200, ""},
		{"in capitals", []string{"Host: LOCALHOST:3001"}, 200, 200, ""},
		{"another name", []string{"Host: evil.example:3001"}, 403, 200, ""},
		{"another port", []string{"Host: 127.0.0.1:3002"}, 403, 200, ""},
		{"no port", []string{"Host: localhost"}, 403, 200, ""},
		{"another address", []string{"Host: 127.0.0.2:3001"}, 403, 200, ""},
		{"an address in a name", []string{"Host: 127.0.0.1.evil.example:3001"}, 403, 200, ""},
		{"no host", []string{"Host: "}, 403, 200, ""},
		{"IPv6", []string{"Host: [::1]:3001"}, 200, 200, "[::1]:3001"},
		{"IPv6 and localhost", []string{"Host: localhost:3001"}, 200, 200, "[::1]:3001"},
		{"port 80", []string{"Host: localhost"}, 200, 200, "127.0.0.1:80"},
		{"IPv6 and port 80", []string{"Host: [::1]"}, 200, 200, "[::1]:80"},
		{"another machine", []string{"Host: 192.0.2.1:3001"}, 403, 200, "192.0.2.1:3001"},
		{"a Unix socket", []string{"Host: whatever"}, 200, 200, "/run/turbine.sock"},
		{"its own page", []string{"Origin: http://127.0.0.1:3001", "Sec-Fetch-Site: same-origin"}, 200, 200, ""},
		{"the address bar", []string{"Sec-Fetch-Site: none"}, 200, 200, ""},
		{"a page elsewhere", []string{"Origin: http://evil.example"}, 403, 403, ""},
		{"a page of another port", []string{"Origin: http://127.0.0.1:3000"}, 403, 403, ""},
		{"a page of no origin", []string{"Origin: null"}, 403, 403, ""},
		{"two origins", []string{"Origin: http://127.0.0.1:3001", "Origin: http://evil.example"}, 403, 403, ""},
		{"an image elsewhere", []string{"Sec-Fetch-Site: cross-site"}, 403, 403, ""},
		{"a page of the same site", []string{"Sec-Fetch-Site: same-site"}, 403, 403, ""},
	} {
		for h, want := range map[*Handler]int{open: c.open, guarded: c.key} {
			r := request("GET", "/v1/stats", "", append(c.header, bearer)...)
			if c.local != "" {
				local := net.Addr(&net.UnixAddr{Name: c.local, Net: "unix"})
				if tcp, err := net.ResolveTCPAddr("tcp", c.local); err == nil {
					local = tcp
				}
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
			}
			got := ask(h, r)
			require.Equal(t, want, got.StatusCode, "%s, keys: %v", c.name, h == guarded)
			if want != 200 {
				isProblem(t, got)
			}
		}
	}
	r := httptest.NewRequest("GET", "http://127.0.0.1:3001/v1/stats", nil) // by a server that is not net/http's
	require.Equal(t, 403, ask(open, r).StatusCode)
}

// Who may do what, by what the client shows.
func TestAuthorization(t *testing.T) {
	keys := keysOf(t, "ann read "+keyOne+"\nbob health "+keyTwo+"\ncert.example read -")
	certificate := func(name string) *tls.ConnectionState {
		return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: name}}}}}
	}
	unverified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "cert.example"}}}}
	for _, c := range []struct {
		name    string
		options Options
		header  string
		tls     *tls.ConnectionState
		stats   int // scope read
		livez   int // scope health
		kind    string
	}{
		{"nothing", Options{Keys: keys}, "", nil, 401, 200, "no-key"},
		{"nothing, and nothing is open", Options{Keys: keys, Open: []Scope{}}, "", nil, 401, 401, "no-key"},
		{"nothing, and reading is open", Options{Keys: keys, Open: []Scope{Read}}, "", nil, 200, 401, "no-key"},
		{"a key", Options{Keys: keys}, "Bearer " + keyOne, nil, 200, 200, ""},
		{"a key in another case of the scheme", Options{Keys: keys}, "bearer   " + keyOne, nil, 200, 200, ""},
		{"a key for something else", Options{Keys: keys}, "Bearer " + keyTwo, nil, 403, 200, "scope"},
		{"an unknown key", Options{Keys: keys}, "Bearer " + keyOne + "1", nil, 401, 200, "unknown-key"},
		{"another scheme", Options{Keys: keys}, "Basic " + keyOne, nil, 401, 200, "no-key"},
		{"no scheme", Options{Keys: keys}, keyOne, nil, 401, 200, "no-key"},
		{"the mark of no key", Options{Keys: keys}, "Bearer -", nil, 401, 200, "unknown-key"},
		{"a certificate", Options{Keys: keys, Certificates: true}, "", certificate("cert.example"), 200, 200, ""},
		{"a certificate without a line", Options{Keys: keys, Certificates: true}, "", certificate("eve"), 401, 200, "unknown-name"},
		{"a certificate for something else", Options{Keys: keys, Certificates: true}, "", certificate("bob"), 403, 200, "scope"},
		{"a certificate that nobody has verified", Options{Keys: keys, Certificates: true}, "", unverified, 401, 200, "no-key"},
		{"a certificate where they do not count", Options{Keys: keys}, "", certificate("cert.example"), 401, 200, "no-key"},
		{"a key before a certificate", Options{Keys: keys, Certificates: true}, "Bearer " + keyTwo, certificate("cert.example"), 403, 200, "scope"},
		{"a certificate without keys", Options{Certificates: true}, "", certificate("anybody"), 200, 200, ""},
		{"nothing, where certificates are asked for", Options{Certificates: true}, "", nil, 401, 200, "no-key"},
	} {
		h, _ := newTest(t, c.options)
		for target, want := range map[string]int{"/v1/stats": c.stats, "/livez": c.livez} {
			r := request("GET", target, "")
			r.TLS = c.tls
			if c.header != "" {
				r.Header.Set("Authorization", c.header)
			}
			got := ask(h, r)
			require.Equal(t, want, got.StatusCode, "%s: %s", c.name, target)
			if want != 200 {
				kind, _ := isProblem(t, got)
				require.Equal(t, c.kind, kind, "%s: %s", c.name, target)
			}
		}
	}
}

// New keys count at once, and no keys open nothing.
func TestSetKeys(t *testing.T) {
	h, _ := newTest(t, Options{Keys: keysOf(t, "ann read "+keyOne)})
	status := func(key string) int {
		return ask(h, request("GET", "/v1/stats", "", "Authorization: Bearer "+key)).StatusCode
	}
	require.Equal(t, 200, status(keyOne))
	h.SetKeys(keysOf(t, "ann read "+keyTwo))
	require.Equal(t, []int{401, 200}, []int{status(keyOne), status(keyTwo)})
	h.SetKeys(nil)
	require.Equal(t, []int{401, 401}, []int{status(keyOne), status(keyTwo)})
	require.Equal(t, 200, ask(h, request("GET", "/livez", "")).StatusCode)
}

// Each change leaves a record with the name of the key that it was made with. Refused
// requests leave one record a second at most. A request that only reads leaves none, and
// no record has a key.
func TestWhatIsLogged(t *testing.T) {
	h, written := newTest(t, Options{Keys: keysOf(t, "ann debug,read "+keyOne), LogLevel: &setting{}, Debug: &setting{}})
	require.Equal(t, 200, ask(h, request("GET", "/v1/stats", "", "Authorization: Bearer "+keyOne)).StatusCode)
	require.Empty(t, written.String())
	require.Equal(t, 200, ask(h, request("PUT", "/v1/loglevel", `{"level":"info"}`, "Authorization: Bearer "+keyOne)).StatusCode)
	require.Contains(t, written.String(), "method=PUT path=/v1/loglevel done=true who=ann peer=192.0.2.1:1234\n")
	require.Equal(t, 200, ask(h, request("PUT", "/v1/debug", `{"scopes":"engine:ws"}`, "Authorization: Bearer "+keyOne)).StatusCode)
	require.Contains(t, written.String(), "scopes=engine:ws method=PUT path=/v1/debug done=true who=ann")
	for range 100 {
		require.Equal(t, 401, ask(h, request("GET", "/v1/stats", "", "Authorization: Bearer "+keyTwo)).StatusCode)
	}
	refused := strings.Count(written.String(), "level=WARN")
	require.Equal(t, refused, strings.Count(written.String(), "level=WARN msg=\"a request for operations was refused\" status=401"))
	require.Equal(t, refused, strings.Count(written.String(), " suppressed="), "package seldom lets one a second through, and counts the others")
	require.Positive(t, refused)
	require.NotContains(t, written.String(), keyOne)
	require.NotContains(t, written.String(), keyTwo)
}

// A fault of ours is the log's business: the client is told where to look.
func TestFaultsAreForTheLog(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(w http.ResponseWriter) error
		told bool
	}{
		{"an error", func(http.ResponseWriter) error { return errors.New("secret cause") }, true},
		{"a panic", func(http.ResponseWriter) error { panic("secret cause") }, true},
		{"a panic in the middle", func(w http.ResponseWriter) error { say(w, 200, "half"); panic("secret cause") }, false},
	} {
		h, written := newTest(t, Options{})
		h.mux = http.NewServeMux()
		h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			h.answer(w, r, &route{"GET", "/", Read, func(*Handler, http.ResponseWriter, *http.Request) error { return c.fail(w) }})
		})
		if !c.told {
			require.PanicsWithValue(t, http.ErrAbortHandler, func() { ask(h, request("GET", "/", "")) }, c.name)
		} else {
			r := ask(h, request("GET", "/", ""))
			require.Equal(t, 500, r.StatusCode)
			kind, detail := isProblem(t, r)
			require.Equal(t, "internal", kind)
			require.NotContains(t, detail, "secret")
		}
		require.Contains(t, written.String(), "secret cause", c.name)
	}
}

// A program that serves http.DefaultServeMux to everybody serves no profiles by it.
func TestNothingIsAddedToTheDefaultMux(t *testing.T) {
	_, pattern := http.DefaultServeMux.Handler(httptest.NewRequest("GET", "/debug/pprof/", nil))
	require.Empty(t, pattern)
}
