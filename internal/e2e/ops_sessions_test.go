package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What differs each time in the answers about sessions, and what stands in its place.
var sessionDetails = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`"127\.0\.0\.1:\d+"`), `"127.0.0.1:PORT"`},
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`), `"TIME"`},
	{regexp.MustCompile(`"cursor":"[0-9a-z]+"`), `"cursor":"CURSOR"`},
}

func withoutDetails(text string) string {
	for _, d := range sessionDetails {
		text = d.what.ReplaceAllString(text, d.name)
	}
	return strings.TrimSpace(text)
}

var (
	documentedCommands = regexp.MustCompile("(?m)^```\n((?:\\$ .*\n(?:[^`].*\n)*)+)```$")
	publicID           = regexp.MustCompile(`"id":"([\w-]{22})"`)
	pageCursor         = regexp.MustCompile(`"cursor":"([0-9a-z]+)"`)
)

// The commands of docs/operate.md about sessions print what stands there, for two clients
// as they are described.
func TestDocumentedSessions(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	keysFile := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keysFile, []byte("ann read,sessions "+key), 0o600))
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--loops", "1", "--ops-addr", "127.0.0.1:0", "--ops-keys", keysFile))
	newOpsClient(t, "http://"+s.opsAddr(t), nil).until("/healthz", 200)
	socket, _ := s.websocket(t, 4)
	s.poll4(t)
	text, _, _ := strings.Cut(section(t, "docs/operate.md", "## List and end sessions"), "\n## ")

	// Ids and cursors of the page are those of this server, in the order in which they come.
	ours := map[string]string{}
	learn := func(find *regexp.Regexp, want, got string) {
		shown, came := find.FindAllStringSubmatch(want, -1), find.FindAllStringSubmatch(got, -1)
		require.Len(t, came, len(shown), got)
		for i := range shown {
			if known, ok := ours[shown[i][1]]; ok {
				require.Equal(t, known, came[i][1])
			}
			ours[shown[i][1]] = came[i][1]
		}
	}
	commands := 0
	for _, m := range documentedCommands.FindAllStringSubmatch(text, -1) {
		for part := range strings.SplitSeq(strings.TrimPrefix(m[1], "$ "), "\n$ ") {
			line, want, _ := strings.Cut(part, "\n")
			line = strings.ReplaceAll(line, "localhost:3001", s.opsAddr(t))
			for shown, came := range ours {
				line = regexp.MustCompile(`(sessions/|cursor=)`+shown+`\b`).ReplaceAllString(line, "${1}"+came)
			}
			cmd := exec.Command("sh", "-c", line)
			cmd.Env = append(os.Environ(), "KEY="+key)
			got, err := cmd.Output()
			require.NoError(t, err, line)
			learn(publicID, want, string(got))
			learn(pageCursor, want, string(got))
			for shown, came := range ours {
				if len(shown) > 20 { // an id
					want = strings.ReplaceAll(want, shown, came)
				}
			}
			require.Equal(t, withoutDetails(want), withoutDetails(string(got)), line)
			commands++
			if strings.Contains(line, "-X DELETE") { // the next command is about what has become of it
				first, payload := socket.frame()
				require.EqualValues(t, fin|closing, first)
				require.Equal(t, "\x0f\xa1kicked", payload, "code 4001 and the reason")
				socket.write(masked(fin|closing, payload))
				socket.ended()
			}
		}
	}
	require.Greater(t, commands, 6)
	require.Len(t, ours, 3, "two sessions and a cursor")
}
