package main

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"turbine/engine"
	"turbine/engine/enginetest"
	"turbine/examples/internal/trial"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { trial.Main(m, main) }

// start runs the program and returns the URL of its page.
func start(t *testing.T, args ...string) (p *trial.Program, url string) {
	t.Helper()
	p = trial.Run(t, trial.Self(t, append([]string{"-addr", "127.0.0.1:0"}, args...)...))
	return p, p.Wait(t, `open (http://\S+) `)
}

// A person is a client that speaks the chat's notes.
type person struct{ *enginetest.Client }

func connect(t *testing.T, url string, transport engine.Transport) person {
	t.Helper()
	return person{enginetest.Dial(t, url, enginetest.Options{Transport: transport})}
}

func (p person) says(t *testing.T, n note) {
	t.Helper()
	data, err := json.Marshal(n)
	require.NoError(t, err)
	p.Send(engine.Message{Data: data})
}

// hears returns the next note, without what is different each time.
func (p person) hears(t *testing.T) note {
	t.Helper()
	var n note
	require.NoError(t, json.Unmarshal(p.Next().Data, &n))
	for _, n := range append(n.History, n) {
		if n.Type == "said" || n.Type == "came" || n.Type == "went" {
			require.False(t, n.At.IsZero())
			require.Positive(t, n.N)
		}
	}
	return bare(n)
}

func bare(n note) note {
	n.N, n.At = 0, note{}.At
	for i := range n.History {
		n.History[i] = bare(n.History[i])
	}
	return n
}

func TestRoomsTellWhoIsThereAndWhatWasSaid(t *testing.T) {
	_, url := start(t)
	ada, bob := connect(t, url, engine.WebSocket), connect(t, url, engine.Polling)
	ada.says(t, note{Type: "join", Room: "tea", Nick: "Ada"})
	require.Equal(t, note{Type: "joined", Room: "tea", Nick: "Ada", Who: []string{"Ada"}}, ada.hears(t))
	ada.says(t, note{Type: "say", Text: " hello <b>\u2028 "})
	hello := note{Type: "said", Nick: "Ada", Text: "hello <b>"}
	require.Equal(t, hello, ada.hears(t))

	bob.says(t, note{Type: "join", Room: "tea", Nick: " Bob "})
	require.Equal(t, note{Type: "joined", Room: "tea", Nick: "Bob", Who: []string{"Ada", "Bob"}, History: []note{hello}}, bob.hears(t))
	require.Equal(t, note{Type: "came", Nick: "Bob"}, ada.hears(t))
	bob.says(t, note{Type: "say", Text: "hi"})
	for _, p := range []person{ada, bob} {
		require.Equal(t, note{Type: "said", Nick: "Bob", Text: "hi"}, p.hears(t))
	}

	// Into another room, and out of it: whoever is left hears of the one only.
	bob.says(t, note{Type: "join", Room: "coffee", Nick: "Bob"})
	require.Equal(t, note{Type: "joined", Room: "coffee", Nick: "Bob", Who: []string{"Bob"}}, bob.hears(t))
	require.Equal(t, note{Type: "went", Nick: "Bob"}, ada.hears(t))
	bob.says(t, note{Type: "say", Text: "black"})
	require.Equal(t, note{Type: "said", Nick: "Bob", Text: "black"}, bob.hears(t))
	bob.says(t, note{Type: "leave"})
	require.Equal(t, note{Type: "left"}, bob.hears(t))
	bob.says(t, note{Type: "join", Room: "tea", Nick: "Bob"})
	require.Equal(t, []string{"Ada", "Bob"}, bob.hears(t).Who)
	require.Equal(t, note{Type: "came", Nick: "Bob"}, ada.hears(t))

	// A member that has gone without a word has gone.
	bob.Close()
	require.Equal(t, note{Type: "went", Nick: "Bob"}, ada.hears(t))
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	_, url := start(t)
	ada, bob := connect(t, url, engine.WebSocket), connect(t, url, engine.WebSocket)
	ada.says(t, note{Type: "join", Room: "tea", Nick: "Ada"})
	require.Equal(t, "joined", ada.hears(t).Type)
	for _, test := range []struct {
		send note
		says string
	}{
		{note{Type: "say", Text: "hello"}, "join a room first"},
		{note{Type: "join", Room: "Tea Room", Nick: "Bob"}, "a room's name"},
		{note{Type: "join", Room: "tea", Nick: " "}, "is not empty"},
		{note{Type: "join", Room: "tea", Nick: "ADA"}, "called Ada already"},
		{note{Type: "dance"}, `there is no message "dance"`},
	} {
		bob.says(t, test.send)
		n := bob.hears(t)
		require.Equal(t, "error", n.Type)
		require.Contains(t, n.Text, test.says)
	}
	ada.says(t, note{Type: "join", Room: "tea", Nick: "Countess"})
	require.Equal(t, note{Type: "error", Text: "you are here already"}, ada.hears(t))
	ada.says(t, note{Type: "say", Text: strings.Repeat("é", maxText+1)})
	require.Equal(t, note{Type: "error", Text: "a message is at most 500 characters"}, ada.hears(t))
	ada.says(t, note{Type: "say", Text: strings.Repeat("é", maxText)})
	require.Equal(t, "said", ada.hears(t).Type)
	bob.Send(engine.Message{Data: []byte("hello")})
	require.Equal(t, note{Type: "error", Text: "that is no message of this chat"}, bob.hears(t))

	// All at once is too fast. How many get through depends on the clock, so here
	// are more than it lets through in the time that a test may take.
	const many = 200
	for range many {
		bob.says(t, note{Type: "leave"})
	}
	refused := 0
	for range many {
		if n := bob.hears(t); n.Type == "error" {
			require.Equal(t, "not so fast", n.Text)
			refused++
		}
	}
	require.Positive(t, refused)
}

func TestNicknames(t *testing.T) {
	for _, test := range []struct{ nick, name, key string }{
		{"Ada", "Ada", "ada"},
		{"  Ada   Lovelace ", "Ada Lovelace", "ada lovelace"},
		{"<b>Bob</b>", "<b>Bob</b>", "<b>bob</b>"},
		{"Ａｄａ", "Ada", "ada"}, // wide forms
		{"ΑΛΈΞΗΣ", "ΑΛΈΞΗΣ", "αλέξησ"},
		{"😀", "😀", "😀"},
		{strings.Repeat("é", maxNick), strings.Repeat("é", maxNick), strings.Repeat("é", maxNick)},
	} {
		name, key, err := checkNick(test.nick)
		require.NoError(t, err, test.nick)
		require.Equal(t, test.name, name)
		require.Equal(t, test.key, key)
	}
	for _, nick := range []string{"", "   ", "a\x00b", "a\nb", "\u202eabc", "\u200b", strings.Repeat("x", maxNick+1), strings.Repeat("x", 5000)} {
		_, _, err := checkNick(nick)
		require.Error(t, err, "%q", nick)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := &hub{rooms: map[string]*room{"tea": {}}, publish: func(string, *engine.Prepared) {}}
	v := &visitor{room: "tea", nick: "Ada"}
	for n := range 3 * maxHistory {
		require.NoError(t, h.say(v, strings.Repeat("x", n+1)))
	}
	history := h.rooms["tea"].history
	require.Len(t, history, maxHistory)
	require.LessOrEqual(t, cap(history), 4*maxHistory, "what has gone is kept")
	require.Len(t, history[0].Text, 2*maxHistory+1)
	require.Len(t, history[maxHistory-1].Text, 3*maxHistory)
}

func TestThePageAndItsClient(t *testing.T) {
	_, url := start(t)
	for path, contentType := range map[string]string{
		"/": "text/html", "/chat.js": "text/javascript", "/chat.css": "text/css",
		"/engine.io.esm.min.js": "text/javascript", "/engine.io.LICENSE": "",
	} {
		response, err := http.Get(url + path)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		require.Contains(t, response.Header.Get("Content-Type"), contentType)
		require.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'self'")
		require.NotEmpty(t, body)
	}
	response, err := http.Get(url + "/nothing")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusNotFound, response.StatusCode)

	// The client is the one that npm has, to the byte.
	const npm = "../migration/node/node_modules/engine.io-client/"
	require.DirExists(t, npm, "engine.io-client is not installed: run make setup")
	for mine, theirs := range map[string]string{"engine.io.esm.min.js": "dist/engine.io.esm.min.js", "engine.io.LICENSE": "LICENSE"} {
		got, err := os.ReadFile("page/" + mine)
		require.NoError(t, err)
		want, err := os.ReadFile(npm + theirs)
		require.NoError(t, err)
		require.True(t, string(want) == string(got), "%s is not that of the version in package.json", mine)
	}
}

// Two people in a real browser: what the page shows is kept as chat-ada.png and
// chat-bob.png in TURBINE_ARTIFACTS or in testdata/artifacts.
func TestTwoPeopleChatInABrowser(t *testing.T) {
	browser, err := exec.LookPath(cmp.Or(os.Getenv("CHROMIUM"), "chromium"))
	require.NoError(t, err, "no browser found: run `apt-get install chromium` as root, "+
		"or set CHROMIUM to the path of a Chromium or Chrome")
	screenshots, err := filepath.Abs(cmp.Or(os.Getenv("TURBINE_ARTIFACTS"), "testdata/artifacts"))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(screenshots, 0o755))

	p, url := start(t)
	people := trial.Run(t, trial.Node(t, "chat/testdata/browser.js",
		"--chromium", browser, "--page", url, "--screenshots", screenshots))
	people.Wait(t, `"end"`)
	p.Stop(t)
	people.Wait(t, `"start"`)
	p, _ = start(t, "-addr", strings.TrimPrefix(url, "http://"))
	people.Wait(t, `"they are back"`)
	require.Equal(t, 0, people.End(t), people.Output())
	require.NotContains(t, people.Output(), `"error"`)
	for _, name := range []string{"chat-ada.png", "chat-bob.png"} {
		require.FileExists(t, filepath.Join(screenshots, name))
	}
	p.Stop(t)
}

func TestATakenAddressIsSaid(t *testing.T) {
	_, url := start(t)
	out, err := trial.Self(t, "-addr", strings.TrimPrefix(url, "http://")).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "choose an address with -addr")
}
