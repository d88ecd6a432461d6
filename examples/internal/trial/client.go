package trial

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// npm are the folders, below the repository, that Node finds packages in.
var npm = []string{"examples/migration/node/node_modules", "internal/e2e/browser/node_modules"}

// Node is the command that runs a script, whose path is relative to the folder
// of examples, with engine.io, engine.io-client and playwright-core at hand.
func Node(t testing.TB, script string, args ...string) *exec.Cmd {
	t.Helper()
	examples, err := filepath.Abs("..") // of the test's package
	require.NoError(t, err)
	paths := ""
	for _, folder := range npm {
		path := filepath.Join(filepath.Dir(examples), folder)
		require.DirExists(t, path, "what Node needs is not installed: run make setup")
		paths += path + string(filepath.ListSeparator)
	}
	cmd := exec.Command("node", append([]string{filepath.Join(examples, script)}, args...)...) // #nosec G204 -- scripts of the examples
	cmd.Env = append(os.Environ(), "NODE_PATH="+paths)
	return cmd
}

// Options are those of the official client; the zero value is its defaults.
type Options struct {
	Path       string            `json:"path,omitempty"`
	Transports []string          `json:"transports,omitempty"`
	Query      map[string]string `json:"query,omitempty"`
	Headers    map[string]string `json:"extraHeaders,omitempty"`
}

// An Event is one of the official client, as client.js prints it.
type Event struct {
	Event     string // open, upgrade, message, error, close
	Transport string // of open and upgrade
	Data      string // of message
	Status    int    // of error: what HTTP said
	Reason    string // of error and close
}

// A Client is the official client for JavaScript in a process of its own. Its
// methods are for one goroutine.
type Client struct {
	events  chan Event
	command *json.Encoder
}

// Connect opens a session. When the test ends, the session ends as well.
func Connect(t testing.TB, url string, o Options) *Client {
	t.Helper()
	options, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := Node(t, "internal/trial/client.js", url, string(options))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	c := &Client{events: make(chan Event, 1000), command: json.NewEncoder(stdin)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(c.events)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var e Event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				c.events <- e
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
	}()
	t.Cleanup(func() {
		_ = stdin.Close() // it closes the session and ends
		late := time.AfterFunc(Patience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		for range c.events { // what nobody has asked for
		}
		<-read
		_ = cmd.Wait()
	})
	return c
}

// Send sends a text message.
func (c *Client) Send(t testing.TB, text string) {
	t.Helper()
	require.NoError(t, c.command.Encode(map[string]string{"send": text}))
}

// Close closes the session from the client's side.
func (c *Client) Close(t testing.TB) {
	t.Helper()
	require.NoError(t, c.command.Encode(map[string]bool{"close": true}))
}

// Until returns the next event of that name, and passes over upgrades to get
// there. Any other event is a failure.
func (c *Client) Until(t testing.TB, name string) Event {
	t.Helper()
	for {
		select {
		case e, ok := <-c.events:
			require.True(t, ok, "the client has ended; waiting for %s", name)
			if e.Event == "upgrade" && name != "upgrade" {
				continue
			}
			require.Equal(t, name, e.Event, "%+v", e)
			return e
		case <-time.After(Patience):
			require.FailNow(t, "no event in time", "waiting for %s", name)
		}
	}
}

// Message returns the next message.
func (c *Client) Message(t testing.TB) string {
	t.Helper()
	return c.Until(t, "message").Data
}
