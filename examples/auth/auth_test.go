package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"
	"turbine/examples/internal/trial"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"
)

func TestMain(m *testing.M) { trial.Main(m, main) }

// start runs the program, whose users ada and bob have their names for passwords.
func start(t *testing.T, args ...string) (p *trial.Program, url string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	lines := ""
	for _, user := range []string{"ada", "bob"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(user), bcrypt.MinCost)
		require.NoError(t, err)
		// htpasswd writes 2y for what Go calls 2a.
		lines += user + ":" + strings.Replace(string(hash), "$2a$", "$2y$", 1) + "\n"
	}
	require.NoError(t, os.WriteFile(file, []byte(lines), 0o600))
	p = trial.Run(t, trial.Self(t, append([]string{"-addr", "127.0.0.1:0", "-users", file}, args...)...))
	return p, p.Wait(t, `listening on (\S+)`)
}

// A browser keeps cookies, and its connection.
type browser struct {
	http *http.Client
	url  string
}

func newBrowser(t *testing.T, url string) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{MaxConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return browser{&http.Client{Jar: jar, Transport: transport, Timeout: trial.Patience}, url}
}

func (b browser) get(t *testing.T, path string) (status int, text string) {
	t.Helper()
	response, err := b.http.Get(b.url + path)
	return read(t, response, err)
}

func (b browser) post(t *testing.T, path string, form url.Values) (status int, text string) {
	t.Helper()
	response, err := b.http.PostForm(b.url+path, form)
	return read(t, response, err)
}

func read(t *testing.T, response *http.Response, err error) (status int, text string) {
	t.Helper()
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func (b browser) login(t *testing.T, user string) {
	t.Helper()
	status, text := b.post(t, "/login", url.Values{"user": {user}, "password": {user}})
	require.Equal(t, http.StatusOK, status, text)
}

// cookie is the field that the browser sends.
func (b browser) cookie(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(b.url)
	require.NoError(t, err)
	cookies := b.http.Jar.Cookies(u)
	require.Len(t, cookies, 1)
	return cookies[0].String()
}

// session opens one with the browser's cookie.
func (b browser) session(t *testing.T, transport engine.Transport) *enginetest.Client {
	t.Helper()
	return enginetest.Dial(t, b.url, enginetest.Options{Transport: transport, Header: http.Header{"Cookie": {b.cookie(t)}}})
}

// upgraded opens one that goes from polling to WebSocket.
func (b browser) upgraded(t *testing.T) *enginetest.Client {
	t.Helper()
	c := b.session(t, engine.Polling)
	c.Upgrade()
	return c
}

// requireUnauthorized has a client with that header told 401.
func requireUnauthorized(t *testing.T, url string, transport engine.Transport, header http.Header) {
	t.Helper()
	_, err := enginetest.TryDial(t, url, enginetest.Options{Transport: transport, Header: header})
	var refused *enginetest.Refused
	require.ErrorAs(t, err, &refused)
	require.Equal(t, http.StatusUnauthorized, refused.Status, transport)
}

func TestWhoIsNotLoggedInGets401(t *testing.T) {
	_, url := start(t)
	for _, transport := range []engine.Transport{engine.Polling, engine.WebSocket} {
		for _, header := range []http.Header{nil, {"Cookie": {"login=guess"}}} {
			requireUnauthorized(t, url, transport, header)
		}
	}
	b := newBrowser(t, url)
	for _, path := range []string{"/me", "/engine.io/?EIO=4&transport=polling", "/engine.io/?EIO=4&transport=polling&sid=unknown"} {
		status, text := b.get(t, path)
		require.Equal(t, http.StatusUnauthorized, status, path)
		require.Contains(t, text, "POST /login")
	}
}

func TestLoggingIn(t *testing.T) {
	_, address := start(t)
	b := newBrowser(t, address)
	for _, form := range []url.Values{
		{"user": {"ada"}}, {"user": {"ada"}, "password": {"bob"}}, {"user": {"eve"}, "password": {"eve"}},
		{"user": {"ada"}, "password": {strings.Repeat("ada", 10_000)}},
	} {
		status, text := b.post(t, "/login", form)
		require.Equal(t, http.StatusUnauthorized, status)
		require.Contains(t, text, "no such user")
	}
	b.login(t, "ada")
	status, text := b.get(t, "/me")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"user":"ada"}`, text)
}

// Guessing goes no faster than the limit, whatever each guess costs.
func TestGuessingIsBounded(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("ada"), bcrypt.MinCost)
	require.NoError(t, err)
	a, err := newApp(map[string][]byte{"ada": hash}, false, time.Hour)
	require.NoError(t, err)
	a.attempts = rate.NewLimiter(0, 2) // two at once, and no more ever
	routes := a.routes()
	for _, want := range []int{http.StatusUnauthorized, http.StatusUnauthorized, http.StatusTooManyRequests} {
		r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader("user=ada&password=guess"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, r)
		require.Equal(t, want, w.Code)
	}
}

func TestTheUserIsKnownInCallbacks(t *testing.T) {
	_, url := start(t)
	ada, bob := newBrowser(t, url), newBrowser(t, url)
	ada.login(t, "ada")
	bob.login(t, "bob")
	upgraded, polling, ws := ada.upgraded(t), bob.session(t, engine.Polling), bob.session(t, engine.WebSocket)
	require.Equal(t, "hello ada", upgraded.NextText())
	require.Equal(t, "hello bob", polling.NextText())
	require.Equal(t, "hello bob", ws.NextText())
	for _, c := range []*enginetest.Client{upgraded, polling, ws} {
		c.Send(engine.Message{Data: []byte("é")})
		want := "bob: é"
		if c == upgraded {
			want = "ada: é"
		}
		for _, o := range []*enginetest.Client{upgraded, polling, ws} {
			require.Equal(t, want, o.NextText())
		}
	}
}

func TestLoggingOutEndsWhatIsOpen(t *testing.T) {
	_, url := start(t)
	ada, bob := newBrowser(t, url), newBrowser(t, url)
	ada.login(t, "ada")
	bob.login(t, "bob")
	mine := []*enginetest.Client{ada.session(t, engine.WebSocket), ada.session(t, engine.Polling), ada.upgraded(t)}
	theirs := bob.upgraded(t)
	for _, c := range append(mine, theirs) {
		require.Contains(t, c.NextText(), "hello ")
	}
	old := ada.cookie(t)
	status, text := ada.post(t, "/logout", nil)
	require.Equal(t, http.StatusNoContent, status, text)
	for _, c := range mine {
		require.Contains(t, []string{"close packet", "close frame"}, c.Closed())
	}
	theirs.Send(engine.Message{Data: []byte("still here")})
	require.Equal(t, "bob: still here", theirs.NextText())
	requireUnauthorized(t, url, engine.Polling, http.Header{"Cookie": {old}})
}

// A connection on which sessions were served is looked at by the middleware at
// each request all the same.
func TestOneConnectionForEverything(t *testing.T) {
	_, url := start(t, "-drain", "100ms") // its session is left without a poll
	ada, bob := newBrowser(t, url), newBrowser(t, url)
	ada.login(t, "ada")
	bob.login(t, "bob")
	const polling = "/engine.io/?EIO=4&transport=polling"
	status, open := ada.get(t, polling)
	require.Equal(t, http.StatusOK, status, open)
	_, rest, _ := strings.Cut(open, `"sid":"`)
	sid, _, _ := strings.Cut(rest, `"`)
	status, text := ada.get(t, "/me")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"user":"ada"}`, text)
	status, text = bob.get(t, polling+"&sid="+sid)
	require.Equal(t, http.StatusForbidden, status, "the id alone is of no use: %s", text)
	status, text = ada.get(t, polling+"&sid="+sid)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "4hello ada", text)
	status, _ = ada.post(t, "/logout", nil)
	require.Equal(t, http.StatusNoContent, status)
	for _, path := range []string{polling, "/me"} {
		status, text = ada.get(t, path)
		require.Equal(t, http.StatusUnauthorized, status, text)
	}
	// What has a session's id the engine answers by itself: the session is on its
	// way out, and not for who has no login.
	status, text = ada.get(t, polling+"&sid="+sid)
	require.Equal(t, http.StatusForbidden, status, text)
}

// A login ends once: by itself, or by a logout.
func TestLoginsEnd(t *testing.T) {
	ended := make(chan *login, 10)
	short := logins{lifetime: time.Nanosecond, ended: func(in *login) { ended <- in }, byToken: map[string]*login{}}
	in := short.begin("ada")
	require.Same(t, in, <-ended)
	require.Nil(t, short.find(in.token))

	long := logins{lifetime: time.Hour, ended: short.ended, byToken: map[string]*login{}}
	ada, again := long.begin("ada"), long.begin("ada")
	require.NotEqual(t, ada.token, again.token)
	require.Same(t, ada, long.find(ada.token))
	long.end(ada)
	long.end(ada)
	require.Same(t, ada, <-ended)
	require.Empty(t, ended)
	require.Nil(t, long.find(ada.token))
	require.Same(t, again, long.find(again.token))
	long.end(again)
}

func TestSIGTERMEndsSessionsAndSite(t *testing.T) {
	p, url := start(t)
	ada := newBrowser(t, url)
	ada.login(t, "ada")
	sessions := []*enginetest.Client{ada.session(t, engine.WebSocket), ada.session(t, engine.Polling)}
	for _, c := range sessions {
		require.Equal(t, "hello ada", c.NextText())
	}
	p.Terminate()
	for _, c := range sessions {
		require.Contains(t, []string{"close packet", "close frame"}, c.Closed())
	}
	require.Equal(t, 0, p.End(t), p.Output())
	require.NotContains(t, p.Output(), "not everybody left")
}

func TestWithoutUsersThereIsOne(t *testing.T) {
	p := trial.Run(t, trial.Self(t, "-addr", "127.0.0.1:0"))
	password := p.Wait(t, `whose password is now (\S+)`)
	b := newBrowser(t, p.Wait(t, `listening on (\S+)`))
	status, text := b.post(t, "/login", url.Values{"user": {"ada"}, "password": {password}})
	require.Equal(t, http.StatusOK, status, text)
}

func TestAuthSaysWhatIsWrong(t *testing.T) {
	_, url := start(t)
	bad := filepath.Join(t.TempDir(), "bad")
	require.NoError(t, os.WriteFile(bad, []byte("\nada:secret\n"), 0o600))
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"-addr", strings.TrimPrefix(url, "http://")}, "choose an address with -addr"},
		{[]string{"-users", filepath.Join(t.TempDir(), "none")}, "-users: open"},
		{[]string{"-users", bad}, "line 2 of " + bad},
	} {
		out, err := trial.Self(t, test.args...).CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), test.says)
	}
}
