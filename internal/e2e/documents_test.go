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

// section is the part of a document from a heading on.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + page)
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "\n"+heading+"\n")
	require.True(t, ok, "%s has no %q", page, heading)
	return rest
}

// block is the first block of code in that language.
func block(t *testing.T, text, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n```"+language+"\n")
	require.True(t, ok)
	code, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	return code
}

// What the documents say with curl is what a shell prints, except for the id.
func TestDocumentedConversation(t *testing.T) {
	s := serve(t)
	converse(t, s, block(t, curlBlock(t, section(t, "README.md", "## Run it")), ""))
	converse(t, s, block(t, section(t, "docs/troubleshooting.md", "## A session by hand"), ""))
}

// curlBlock is the text from the last line before its first block with a prompt on.
func curlBlock(t *testing.T, text string) string {
	t.Helper()
	at := strings.Index(text, "\n```\n$ curl")
	require.Positive(t, at)
	return text[at:]
}

func converse(t *testing.T, s *server, text string) {
	t.Helper()
	id := regexp.MustCompile(`"sid":"([^"]+)"`)
	documented := id.FindStringSubmatch(text)
	require.NotNil(t, documented)
	var sid string
	for part := range strings.SplitSeq(strings.TrimPrefix(text, "$ "), "\n$ ") {
		line, want, _ := strings.Cut(part, "\n")
		line = strings.NewReplacer("localhost:3000", s.addr, documented[1], sid).Replace(line)
		if strings.HasPrefix(line, "sid=") {
			continue // each line has a shell of its own, which is told
		}
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = append(os.Environ(), "sid="+sid)
		got, err := cmd.Output()
		require.NoError(t, err, line)
		if m := id.FindStringSubmatch(string(got)); m != nil {
			sid = m[1]
		}
		require.Equal(t, strings.TrimSpace(strings.ReplaceAll(want, documented[1], sid)), strings.TrimSpace(string(got)), line)
	}
	require.NotEmpty(t, sid)
}

// The client of README.md runs as it says.
func TestReadmeClient(t *testing.T) {
	require.DirExists(t, "clients/node_modules", "the clients are not installed: run make setup")
	s := serve(t)
	program := strings.NewReplacer("localhost:3000", s.addr, `"engine.io-client"`, `"engine.io-client-6"`).Replace(block(t, section(t, "README.md", "## In the browser"), "js"))
	program += `
let left = 2; // what is said
const said = () => --left || process.exit(0);
socket.once("message", said);
socket.once("upgrade", said);
`
	file, err := os.CreateTemp("clients", "readme-*.mjs")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.Remove(file.Name()) })
	_, err = file.WriteString(program)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "node", file.Name()).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "echo: hello\n")
	require.Contains(t, string(out), "now on websocket\n")
}

// The commands and the programs of the documents make a module that builds.
func TestDocumentedModules(t *testing.T) {
	if testing.Short() {
		t.Skip("builds modules")
	}
	inReadme := section(t, "README.md", "## In Go")
	makeModule(t, block(t, inReadme, ""), "package main\n\nimport (\n\"log\"\n\n\"turbine/engine\"\n)\n\nfunc main() {\n"+block(t, inReadme, "go")+"}\n")
	first := section(t, "docs/embedding.md", "## The first program")
	makeModule(t, block(t, first, ""), block(t, first, "go"))
}

func makeModule(t *testing.T, commands, program string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	commands = "set -e\ngo mod init example.com/yours\n" + strings.ReplaceAll(commands, "/path/to/turbine", root) + "go vet -unusedresult=false .\n"
	cmd := exec.Command("sh", "-c", commands)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}
