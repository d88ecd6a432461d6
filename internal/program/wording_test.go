package program

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"turbine/engine"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

func programFlags() []*kong.Flag {
	return newParser(&commands{}, "", io.Discard, io.Discard).Model.DefaultCmd.Flags
}

// The engine's errors and its records name flags to an operator.
func TestWording(t *testing.T) {
	w := newWording(programFlags())
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--max-payload=2000000000"}, "--max-payload of 2000000000 is above 1073741824"},
		{[]string{"--max-tls-handshakes=-1"}, "--max-tls-handshakes of -1 is below 1"},
		{[]string{"--health-path=healthz"}, `--health-path "healthz" does not begin with a slash`},
		{[]string{"--health-path=/healthz/"}, `--health-path "/healthz/" ends with a slash`},
		{[]string{"--health-path=/engine.io/healthz"}, `--health-path "/engine.io/healthz" is below --path`},
		{[]string{"--addr=3000"}, `--addr: "3000" is no address; :3000 is one, host:3000 and unix:PATH are others`},
		{[]string{"--addr=:80,:99999"}, `--addr: ":99999" is no address; :3000 is one, host:3000 and unix:PATH are others`},
		{[]string{"--tls-addr=443"}, `--tls-addr: "443" is no address; :3000 is one, host:3000 and unix:PATH are others`},
		{[]string{"--cors-credentials"}, `--cors-credentials: there are no pages to send cookies; name them by --cors-origin`},
		{[]string{"--origin=*"}, `--origin: for pages from anywhere set --any-origin instead of "*"`},
		{[]string{"--cors-origin=*", "--cors-credentials"}, `--cors-origin: browsers refuse "*" with --cors-credentials; list the origins`},
		{[]string{"--cookie=a b"}, "--cookie \"a b\": letters, digits and !#$%&'*+-.^_`|~ are allowed"},
		{[]string{"--revisions=2"}, "--revisions: 2 is not a protocol revision; there are 3 and 4"},
	} {
		f := parsed(t, c.args...)
		_, err := newServer(&f, &node{}, nil, nil)
		require.Error(t, err, c.args)
		require.Equal(t, c.want, w.usage(err))
	}

	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: w.attr}))
	logger.Warn("refused", "origin", "http://Origins", "help", "Limits.MaxSessionsPerIP or Limits.Exempt, Limits.MaxPending, Access.Bind")
	require.Contains(t, log.String(), `origin=http://Origins help="--max-sessions-per-ip or --exempt, Limits.MaxPending, --bind-ip"`)
}

// The options of docs/security.md are called as their flags, so that what the log
// names of them is a flag wherever there is one.
func TestWordingOfLimits(t *testing.T) {
	w := newWording(programFlags())
	text, err := os.ReadFile("../../docs/security.md")
	require.NoError(t, err)
	rows := 0
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, " | "); len(cells) == 6 && strings.HasPrefix(cells[2], "`--") {
			rows++
			require.Equal(t, strings.Trim(cells[2], "`"), w.inFlags(strings.Trim(cells[1], "`")))
		}
	}
	require.Greater(t, rows, 20)
	require.Less(t, rows, engine.NumLimits)
}
