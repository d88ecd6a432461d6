package manual

import (
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// grammar is a program with each kind of flag and command.
type grammar struct {
	Serve struct {
		Addr  []string `default:":3000" placeholder:"ADDRESS" help:"Addresses to listen on. Several are comma-separated." group:"Listening"`
		App   string   `default:"echo" enum:"echo,broadcast" env:"MINT_APP" help:"What's done [with messages]." group:"Application"`
		Cert  string   `placeholder:"FILE" help:"Certificate, such as .pem." group:"TLS"`
		Quick bool     `default:"true" negatable:"" help:"Be quick." group:"TLS"`
		Old   bool     `hidden:"" help:"Be old."`
	} `cmd:"" default:"withargs" help:"Serve clients."`
	Config struct {
		Check struct {
			Cert   string `placeholder:"FILE" help:"Certificate, such as .pem." group:"TLS"`
			Strict bool   `short:"s" help:"Take \\ for a fault."`
		} `cmd:"" help:"Say what's wrong: \"nothing\" is best. Else fail."`
		Print struct {
			Format string `arg:"" help:"Format."`
		} `cmd:"" help:"Print all."`
	} `cmd:"" help:"Look at the configuration."`
	Secret struct{} `cmd:"" hidden:"" help:"Not told."`
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	return kong.Must(&grammar{}, kong.Name("mint"), kong.Description("A program.\n'Twas made for tests.")).Model
}

// completions are what each shell offers at the end of a command line.
var completions = []struct {
	line string
	want []string
}{
	{"mint --ap", []string{"--app"}},
	{"mint c", []string{"config"}},
	{"mint se", []string{"serve"}}, // not secret
	{"mint --app b", []string{"broadcast"}},
	{"mint --app ", []string{"broadcast", "echo"}},
	{"mint --o", nil},
	{"mint --no", []string{"--no-quick"}},
	{"mint --addr ", nil},
	{"mint --addr :80 serve --ap", []string{"--app"}},
	{"mint config ", []string{"check", "print"}},
	{"mint config check --s", []string{"--strict"}},
	{"mint config check --app", nil},
	{"mint --cert testdata/cert", []string{"testdata/cert.pem"}},
	{"mint --quick --cer", []string{"--cert"}},
}

// What is hidden is told nowhere.
func TestHiddenIsNotTold(t *testing.T) {
	for name, text := range map[string][]byte{
		"man": Page(model(t), About{}), "bash": Bash(model(t)), "zsh": Zsh(model(t)), "fish": Fish(model(t)),
	} {
		require.NotContains(t, string(text), "secret", name)
		require.NotContains(t, string(text), "old", name)
		require.Contains(t, string(text), "strict", name)
	}
}
