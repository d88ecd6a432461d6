package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"turbine/engine"
	"turbine/engine/enginetest"
	"turbine/examples/internal/trial"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { trial.Main(m, main) }

const token = "a secret for the tests"

// A running pusher.
type running struct {
	*trial.Program
	clients, feed string // URLs
}

func start(t *testing.T, args ...string) running {
	t.Helper()
	cmd := trial.Self(t, append([]string{"-addr", "127.0.0.1:0", "-feed-addr", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(cmd.Env, "PUSHER_TOKEN="+token)
	p := trial.Run(t, cmd)
	return running{p, p.Wait(t, `browsers on (http://\S+),`), p.Wait(t, `pushes on (http://\S+)/push`)}
}

// push posts a body and returns the answer's status and text.
func (r running) push(t *testing.T, authorization, body string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, r.feed+"/push", strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Authorization", authorization)
	return do(t, request)
}

func do(t *testing.T, request *http.Request) (status int, text string) {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(answer)
}

func (r running) subscribe(t *testing.T, transport engine.Transport, topics ...string) *enginetest.Client {
	t.Helper()
	c := enginetest.Dial(t, r.clients, enginetest.Options{Transport: transport})
	for _, topic := range topics {
		say(c, `{"type":"subscribe","topic":"`+topic+`"}`)
		require.JSONEq(t, `{"type":"subscribed","topic":"`+topic+`"}`, c.NextText())
	}
	return c
}

func say(c *enginetest.Client, text string) { c.Send(engine.Message{Data: []byte(text)}) }

func TestWhoHasSubscribedGetsWhatIsPushed(t *testing.T) {
	r := start(t)
	ws := r.subscribe(t, engine.WebSocket, "disk/free")
	polling := r.subscribe(t, engine.Polling, "disk/free", "builds")
	other := r.subscribe(t, engine.WebSocket, "builds")

	status, text := r.push(t, "Bearer "+token, `{"topic":"disk/free","payload":{"percent": 17, "of": "é<b>"}}`)
	require.Equal(t, http.StatusAccepted, status, text)
	for _, c := range []*enginetest.Client{ws, polling} {
		require.JSONEq(t, `{"type":"push","topic":"disk/free","payload":{"percent":17,"of":"é<b>"}}`, c.NextText())
	}
	say(ws, `{"type":"unsubscribe","topic":"disk/free"}`)
	require.JSONEq(t, `{"type":"unsubscribed","topic":"disk/free"}`, ws.NextText())
	for _, topic := range []string{"disk/free", "builds"} {
		status, text = r.push(t, "Bearer "+token, `{"topic":"`+topic+`","payload":null}`)
		require.Equal(t, http.StatusAccepted, status, text)
	}
	// The first that these two get since is not from the topic that they do not have.
	require.JSONEq(t, `{"type":"push","topic":"builds","payload":null}`, other.NextText())
	require.JSONEq(t, `{"type":"push","topic":"disk/free","payload":null}`, polling.NextText())
	require.JSONEq(t, `{"type":"push","topic":"builds","payload":null}`, polling.NextText())
	say(ws, `{"type":"subscribe","topic":"last"}`)
	require.JSONEq(t, `{"type":"subscribed","topic":"last"}`, ws.NextText())

	request, err := http.NewRequest(http.MethodGet, r.feed+"/metrics", nil)
	require.NoError(t, err)
	status, text = do(t, request)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, "\npusher_pushes_total 3\n")
	require.Contains(t, text, "\npusher_sessions 3\n")
	require.Contains(t, text, `{reason="ping timeout"} 0`)
}

func TestWhatIsNoPushIsRefused(t *testing.T) {
	r := start(t, "-max-body", "1000")
	c := r.subscribe(t, engine.WebSocket, "a")
	const good = `{"topic":"a","payload":1}`
	for _, test := range []struct {
		name, authorization, body string
		status                    int
		says                      string
	}{
		{"no token", "", good, 401, "PUSHER_TOKEN"},
		{"wrong token", "Bearer guess", good, 401, "PUSHER_TOKEN"},
		{"other scheme", "Basic " + token, good, 401, "PUSHER_TOKEN"},
		{"too large", "Bearer " + token, `{"topic":"a","payload":"` + strings.Repeat("x", 1000) + `"}`, 413, "1000 bytes"},
		{"no JSON", "Bearer " + token, `topic=a`, 400, "send {"},
		{"more than JSON", "Bearer " + token, good + good, 400, "send {"},
		{"no topic", "Bearer " + token, `{"payload":1}`, 400, "a topic is"},
		{"bad topic", "Bearer " + token, `{"topic":"A b","payload":1}`, 400, "a topic is"},
		{"no payload", "Bearer " + token, `{"topic":"a"}`, 400, "payload"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, text := r.push(t, test.authorization, test.body)
			require.Equal(t, test.status, status, text)
			require.Contains(t, text, test.says)
		})
	}
	request, err := http.NewRequest(http.MethodGet, r.feed+"/push", nil)
	require.NoError(t, err)
	status, _ := do(t, request)
	require.Equal(t, http.StatusMethodNotAllowed, status)

	// None of these has reached anybody.
	status, _ = r.push(t, "Bearer "+token, `{"topic":"a","payload":"the first"}`)
	require.Equal(t, http.StatusAccepted, status)
	require.JSONEq(t, `{"type":"push","topic":"a","payload":"the first"}`, c.NextText())
}

func TestClientsAreToldWhatIsWrong(t *testing.T) {
	r := start(t)
	c := r.subscribe(t, engine.WebSocket)
	for _, test := range []struct{ send, says string }{
		{"hello", "send {"},
		{`{"type":"subscribe","topic":"UPPER"}`, "a topic is"},
		{`{"type":"publish","topic":"a"}`, "subscribe or unsubscribe"},
	} {
		say(c, test.send)
		message := c.NextText()
		require.Contains(t, message, `"type":"error"`)
		require.Contains(t, message, test.says)
	}
	for n := range maxTopics + 1 {
		say(c, `{"type":"subscribe","topic":"topic-`+strings.Repeat("i", n+1)+`"}`)
		if message := c.NextText(); n < maxTopics {
			require.Contains(t, message, `"type":"subscribed"`)
		} else {
			require.Contains(t, message, "a client may have 50 topics")
		}
	}
}

// The line for crontab in the README, as cron gives it to the shell.
func TestTheLineForCrontabWorks(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^\*/5 \* \* \* \* (curl .*)$`).FindSubmatch(readme)
	require.NotNil(t, m, "the line is not in README.md")
	r := start(t)
	c := r.subscribe(t, engine.Polling, "disk/free")
	line := strings.ReplaceAll(string(m[1]), "http://127.0.0.1:3001", r.feed)
	require.NotEqual(t, string(m[1]), line)
	cmd := exec.Command("sh", "-c", line)
	cmd.Env = append(os.Environ(), "PUSHER_TOKEN="+token)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.JSONEq(t, `{"type":"push","topic":"disk/free","payload":{"percent":17}}`, c.NextText())

	cmd = exec.Command("sh", "-c", line)
	cmd.Env = append(os.Environ(), "PUSHER_TOKEN=wrong")
	require.Error(t, cmd.Run(), "cron would not hear of it")
}

// What was answered with 202 arrives, then sessions close, then the program ends.
func TestSIGTERMDeliversWhatWasTaken(t *testing.T) {
	r := start(t)
	c := r.subscribe(t, engine.WebSocket, "a")
	status, _ := r.push(t, "Bearer "+token, `{"topic":"a","payload":"the last"}`)
	require.Equal(t, http.StatusAccepted, status)
	r.Terminate()
	require.JSONEq(t, `{"type":"push","topic":"a","payload":"the last"}`, c.NextText())
	require.Equal(t, "close frame", c.Closed())
	require.Equal(t, 0, r.End(t), r.Output())
}

func TestPusherSaysWhatIsMissing(t *testing.T) {
	running := start(t)
	taken := strings.TrimPrefix(running.clients, "http://")
	for _, test := range []struct {
		name  string
		args  []string
		token string
		code  int
		says  string
	}{
		{"no token", nil, "", 1, "openssl rand"},
		{"short token", nil, "secret", 1, "16 characters"},
		{"taken address", []string{"-addr", taken}, token, 1, "-addr"},
		{"taken address of the feed", []string{"-addr", "127.0.0.1:0", "-feed-addr", taken}, token, 1, "-feed-addr"},
		{"bad origin", []string{"-origins", "https://example.com/page"}, token, 1, "example.com/page"},
		{"bad flag", []string{"-nonsense"}, token, 2, "-nonsense"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := trial.Self(t, test.args...)
			cmd.Env = append(cmd.Env, "PUSHER_TOKEN="+test.token)
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			require.Equal(t, test.code, cmd.ProcessState.ExitCode(), "%s", out)
			require.Contains(t, string(out), test.says)
		})
	}
}
