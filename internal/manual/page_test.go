package manual

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

var about = About{
	Version: "1.2.3", Date: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Summary: "a program for tests",
	Sections: []Section{{Title: "FILES", Text: `In "C:\etc".`, Terms: []Term{{"/etc/mint", "Settings. More than one."}}}},
}

// The page of the grammar for tests is the one in testdata.
func TestPage(t *testing.T) {
	const path = "testdata/mint.1"
	page := Page(model(t), about)
	if *rewrite {
		require.NoError(t, os.WriteFile(path, page, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(page), "go test ./internal/manual -run Page -rewrite writes it")
}

// troff has nothing to complain of, and prints texts as they are.
func TestPageInTroff(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff; install it to test man pages")
	}
	cmd := exec.Command(groff, "-man", "-Tascii", "-P-cbou", "-ww", "-rLL=200n")
	cmd.Stdin = strings.NewReader(string(Page(model(t), about)))
	var text, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &errs
	require.NoError(t, cmd.Run(), errs.String())
	require.Empty(t, errs.String())
	plain := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{
		"mint 1.2.3", "2026-01-02", "mint - a program for tests", "'Twas made for tests.", "--quick, --no-quick", "On by default.",
		"--app=echo|broadcast", "What's done [with messages].", "The default is echo. Variable: MINT_APP.", "--addr=ADDRESS",
		"config check", `Take \ for a fault.`, `In "C:\etc".`, "Certificate, such as .pem.",
	} {
		require.Contains(t, plain, want)
	}
	require.Equal(t, 1, strings.Count(plain, "Certificate, such as"), "a flag of two commands is told once")
}
