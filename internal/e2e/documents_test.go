package e2e

import (
	"bytes"
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

// The commands and the programs of the documents make a module that builds, and a
// program that serves. The documented test passes there.
func TestDocumentedModules(t *testing.T) {
	if testing.Short() {
		t.Skip("builds modules")
	}
	inReadme := section(t, "README.md", "## In Go")
	first := section(t, "docs/embedding.md", "## The first program")
	inTest := block(t, section(t, "docs/embedding.md", "## Tests of your handlers"), "go")
	end := block(t, section(t, "docs/embedding.md", "## The end"), "go")
	for _, m := range []struct{ name, commands, program, test string }{
		{"README.md", block(t, inReadme, ""), "package main\n\nimport (\n\"log\"\n\n\"turbine/engine\"\n)\n\nfunc main() {\n" + block(t, inReadme, "go") + "}\n", ""},
		{"docs/embedding.md", block(t, first, ""), block(t, first, "go"), `package main

import (
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"
)

var events = engine.Events{Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }}

func TestDocumented(t *testing.T) {
` + inTest + "}\n"},
		{"docs/embedding.md, the end", block(t, first, ""), end, ""},
	} {
		t.Run(m.name, func(t *testing.T) {
			module := makeModule(t, m.commands, m.program, m.test)
			module.run(t, "go vet -unusedresult=false .")
			if m.test != "" {
				module.run(t, "go test -v . | grep -- '^--- PASS: TestDocumented'")
				require.NotContains(t, module.run(t, "go list -deps -test ."), "testify")
			}
			said := module.echoes(t, m.program)
			require.NotContains(t, said, "invalid", "of an address")
			require.NotContains(t, said, "cut off")
		})
	}
}

// A module is a folder with a module of an embedder.
type module string

// makeModule makes one in the way of the documents.
func makeModule(t *testing.T, commands, program, test string) module {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	m := module(t.TempDir())
	m.write(t, "main.go", program)
	if test != "" {
		m.write(t, "main_test.go", test)
	}
	require.Contains(t, commands, "/path/to/turbine")
	m.run(t, "set -e\ngo mod init example.com/yours\n"+strings.ReplaceAll(commands, "/path/to/turbine", root))
	return m
}

func (m module) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(string(m), name), []byte(text), 0o600))
}

// run runs commands of a shell and returns what they print.
func (m module) run(t *testing.T, commands string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", commands)
	cmd.Dir = string(m)
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// echoes builds the program, on a free port in place of 3000, has a message sent back
// by it and the session end, and returns what the program logs. Asked to end, it does.
func (m module) echoes(t *testing.T, program string) (logged string) {
	t.Helper()
	addr := freeAddr(t)
	require.Contains(t, program, `(":3000")`)
	m.write(t, "main.go", strings.Replace(program, ":3000", addr, 1))
	m.run(t, "go build -o yours .")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(string(m), "yours"))
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	url := "http://" + addr + "/engine.io/?EIO=4&transport=polling"
	open := m.run(t, "curl -sS --retry 60 --retry-delay 1 --retry-connrefused '"+url+"'")
	sid := regexp.MustCompile(`"sid":"([^"]+)"`).FindStringSubmatch(open)
	require.NotNil(t, sid, open)
	url += "&sid=" + sid[1]
	require.Equal(t, "ok", m.run(t, "curl -sS -d 4hello '"+url+"'"))
	require.Equal(t, "4hello", m.run(t, "curl -sS '"+url+"'"))
	require.Equal(t, "ok", m.run(t, "curl -sS -d 1 '"+url+"'"))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	err := cmd.Wait()
	if strings.Contains(program, "Shutdown") {
		require.NoError(t, err, log.String())
	}
	return log.String()
}
