package program

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// configured are the settings of a file with that text, and of a command line.
func configured(t *testing.T, text string, args ...string) (s *settings, path string, err error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "turbine.yaml")
	write(t, path, text)
	s, err = readSettings(append([]string{"serve", "--config", path}, args...), "", io.Discard, io.Discard)
	return s, path, err
}

// Each fault of a file is said with its line.
func TestFaultsOfConfigFiles(t *testing.T) {
	const number = "want a whole number, not "
	const moment = "want a time with a unit, such as 25s, 300ms or 1m30s, not "
	for _, c := range []struct {
		text string
		want []string // without the file's name
	}{
		{"orign: https://example.com", []string{`1: there is no flag "orign"; the nearest is origin`}},
		{"ping_interval: 25s", []string{`1: there is no flag "ping_interval"; the nearest is ping-interval`}},
		{"# first\n\npingInterval: 25s", []string{`3: there is no flag "pingInterval"; the nearest is ping-interval`}},
		{"--addr: :3000", []string{`1: there is no flag "--addr"; the nearest is addr`}},
		{"no-compression: true", []string{`1: there is no flag "no-compression"; the nearest is compression`}},
		{"fragrance: 1", []string{`1: there is no flag "fragrance"`}},
		{strings.Repeat("x", 100) + ": 1", []string{`1: there is no flag "` + strings.Repeat("x", 60) + `"...`}},
		{"config: other.yaml", []string{`1: config cannot be set in a configuration file`}},
		{"version: true", []string{`1: version cannot be set in a configuration file`}},
		{"max-conns: many", []string{`1: max-conns: ` + number + `"many"`}},
		{`max-conns: "5"`, []string{`1: max-conns: ` + number + `"5"`}},
		{"max-conns: 1.5", []string{`1: max-conns: ` + number + `"1.5"`}},
		{"max-conns: 99999999999999999999", []string{`1: max-conns: ` + number + `"99999999999999999999"`}},
		{"max-conns: true", []string{`1: max-conns: ` + number + `"true"`}},
		{"max-conns:", []string{`1: max-conns: ` + number + `nothing`}},
		{"max-conns: [5]", []string{`1: max-conns takes one value, not a list`}},
		{"revisions: [4, x]", []string{`1: revisions: ` + number + `a list`}},
		{"revisions: four", []string{`1: revisions: ` + number + `"four"`}},
		{"compression: yes", []string{`1: compression: want true or false, not "yes"`}},
		{"compression: 1", []string{`1: compression: want true or false, not "1"`}},
		{"compression: 'true'", []string{`1: compression: want true or false, not "true"`}},
		{"ping-interval: 25", []string{`1: ping-interval: ` + moment + `"25"`}},
		{"ping-interval: soon", []string{`1: ping-interval: ` + moment + `"soon"`}},
		{"ping-interval: {seconds: 25}", []string{`1: ping-interval: ` + moment + `a mapping`}},
		{"origin:", []string{`1: origin: want a text, not nothing`}},
		{"origin: {a: b}", []string{`1: origin: want a text, not a mapping`}},
		{"origin:\n  - https://a.example\n  - [b]", []string{`3: origin: want a text, not a list`}},
		{"origin:\n  - https://a.example\n  -", []string{`3: origin: want a text, not nothing`}},
		{"app: !secret echo", []string{`1: app: want a text, not "echo"`}},
		{"app: chat", []string{`1: app: "chat" is none of echo, broadcast`}},
		{"client-header: Host", []string{`1: client-header: "Host" is none of X-Forwarded-For, Forwarded, X-Real-IP`}},
		{"transports: [polling, pigeon]", []string{`1: transports: "pigeon" is none of polling, websocket`}},
		{"log-level: loud", []string{`1: log-level: "loud" is no level; debug, info, warn and error are`}},
		{"app: echo\naddr: :1\napp: echo", []string{`3: app is given twice, first in line 1`}},
		{"app: chat\napp: echo", []string{`1: app: "chat" is none of echo, broadcast`, `2: app is given twice, first in line 1`}},
		{"- addr", []string{`1: want the name of a flag and its value in each line, such as ping-interval: 25s`}},
		{"\naddr", []string{`2: want the name of a flag and its value in each line, such as ping-interval: 25s`}},
		{"? [a, b]\n: c", []string{`1: want the name of a flag in front of the colon`}},
		{"<<: {app: echo}", []string{`1: there is no flag "<<"`}},
		{"app: echo\n---\napp: echo", []string{`2: a second document begins; want one`}},
		{"orign: x\nmax-conns: many\napp: echo\npath: /\npath: /", []string{
			`1: there is no flag "orign"; the nearest is origin`, `2: max-conns: ` + number + `"many"`, `5: path is given twice, first in line 4`,
		}},
	} {
		_, path, err := configured(t, c.text)
		require.Error(t, err, "%q", c.text)
		require.Equal(t, path+":"+strings.Join(c.want, "\n"+path+":"), err.Error(), "%q", c.text)
	}
}

// A file that is none of ours is said to be wrong in a few lines, in a moment.
func TestConfigFilesWithManyFaults(t *testing.T) {
	const text = "time: 1\n"
	for _, c := range []struct {
		lines, said int
		more        bool
	}{
		{maxFaults - 1, maxFaults - 1, false},
		{maxFaults, maxFaults, false},
		{maxFaults + 1, maxFaults, true},
		{maxConfig / len(text), maxFaults, true},
	} {
		_, path, err := configured(t, strings.Repeat(text, c.lines))
		require.Error(t, err)
		said := strings.Split(err.Error(), "\n")
		if c.more {
			require.Equal(t, fmt.Sprintf("%s:%d: there are more faults, from here on", path, maxFaults+1), said[len(said)-1])
			said = said[:len(said)-1]
		}
		require.Len(t, said, c.said)
	}
}

// What is no YAML is said with a line also; the words are the parser's.
func TestConfigFilesThatAreNoYAML(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"app: echo\naddr: [a, b", `:[23]: `},
		{"app: echo\n\taddr: x", `:2: `},
		{"app: 'echo", `:[12]: `},
		{"app: echo: x", `:1: `},
		{"app: *none", `:1: `},
		{"app: echo\n--- &\n", `:2: `},
		{"app: \x00", `: `},
		{"app: \xff\xfe", `: `},
		{strings.Repeat("[", 20_000), `:1: `},
		{"app: &a [*a]", `:1: `},
	} {
		_, path, err := configured(t, c.text)
		require.Error(t, err, "%.40q", c.text)
		rest, ok := strings.CutPrefix(err.Error(), path)
		require.True(t, ok, err)
		require.Regexp(t, "^"+c.want+`\S`, rest, "%.40q", c.text)
	}
}

// A file that is missing or too large is said, and no more of it is read than that.
func TestConfigFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	write(t, large, strings.Repeat("# comment\n", maxConfig/10+1))
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "none"), "no such file or directory"},
		{dir, "is a directory"},
		{large, large + " is above 1048576 bytes"},
		{"/dev/zero", "/dev/zero is no regular file"},
		{pipe, pipe + " is no regular file"},
	} {
		_, err := readSettings([]string{"--config", c.path}, "", io.Discard, io.Discard)
		require.ErrorContains(t, err, "--config: ")
		require.ErrorContains(t, err, c.want)
	}
}

// Values are read as they are written, in each of YAML's forms.
func TestValuesOfConfigFiles(t *testing.T) {
	for _, c := range []struct {
		text, flag, want string
	}{
		{"", "app", `"echo"`},
		{"# nothing\n", "app", `"echo"`},
		{"---\n", "app", `"echo"`},
		{"\ufeffapp: broadcast\r\naddr: :1\r\n", "addr", `[":1"]`},
		{"app: broadcast", "app", `"broadcast"`},
		{"addr: :3001", "addr", `[":3001"]`},
		{"addr: ':3001,:3002'", "addr", `[":3001", ":3002"]`},
		{"addr: [':3001', 'unix:/run/a b']", "addr", `[":3001", "unix:/run/a b"]`},
		{"addr:\n- :3001\n- unix:/run/turbine", "addr", `[":3001", "unix:/run/turbine"]`},
		{"addr: []", "addr", `[]`},
		{"revisions: [4]", "revisions", `[4]`},
		{"revisions: 3", "revisions", `[3]`},
		{"revisions: 4,3", "revisions", `[4, 3]`},
		{"socket-mode: 0600", "socket-mode", `"0600"`},
		{"tls-min-version: 1.3", "tls-min-version", `"1.3"`},
		{"cookie: null_", "cookie", `"null_"`},
		{`cookie: ""`, "cookie", `""`},
		{"max-conns: 0x10", "max-conns", `16`},
		{"conn-rate: -1", "conn-rate", `-1`},
		{"slow-callback: -1s", "slow-callback", `-1s`},
		{"ping-interval: 1500ms", "ping-interval", `1.5s`},
		{"drain-delay: 0", "drain-delay", `0s`},
		{"compression: false", "compression", `false`},
		{"log-level: WARN", "log-level", `warn`},
		{"initial-packet: |\n  two\n  lines\n", "initial-packet", `"two\nlines\n"`},
		{"origin: &o [https://a.example]\ncors-origin: *o", "cors-origin", `["https://a.example"]`},
		{"exempt: none", "exempt", `["none"]`},
	} {
		s, _, err := configured(t, c.text)
		require.NoError(t, err, "%q", c.text)
		require.Equal(t, c.want, s.texts()[c.flag], "%q", c.text)
	}
}

// The environment wins over the file, and the command line over both. A list is not
// added to, but replaced.
func TestOrderOfSettings(t *testing.T) {
	const file = "app: broadcast\naddr: [':1', ':2']\ncompression: false\nping-interval: 1s\n"
	for _, c := range []struct {
		variable, arg      string
		flag, want, source string
	}{
		{"", "", "app", `"broadcast"`, ":1"},
		{"TURBINE_APP=echo", "", "app", `"echo"`, byEnvironment},
		{"TURBINE_APP=broadcast", "--app=echo", "app", `"echo"`, byFlag},
		{"", "--app=echo", "app", `"echo"`, byFlag},
		{"", "", "addr", `[":1", ":2"]`, ":2"},
		{"TURBINE_ADDR=:3,:4", "", "addr", `[":3", ":4"]`, byEnvironment},
		{"TURBINE_ADDR=:3,:4", "--addr=:5", "addr", `[":5"]`, byFlag},
		{"", "", "compression", `false`, ":3"},
		{"TURBINE_COMPRESSION=true", "", "compression", `true`, byEnvironment},
		{"", "--compression", "compression", `true`, byFlag},
		{"TURBINE_COMPRESSION=true", "--no-compression", "compression", `false`, byFlag},
		{"", "", "ping-interval", `1s`, ":4"},
		{"TURBINE_PING_INTERVAL=2s", "", "ping-interval", `2s`, byEnvironment},
		{"TURBINE_PING_INTERVAL=2s", "--ping-interval=3s", "ping-interval", `3s`, byFlag},
		{"TURBINE_PING_TIMEOUT=2s", "", "ping-timeout", `2s`, byEnvironment},
		{"", "", "ping-timeout", `20s`, byDefault},
	} {
		name := fmt.Sprint(c.variable, " ", c.arg, " ", c.flag)
		t.Run(name, func(t *testing.T) {
			if variable, value, set := strings.Cut(c.variable, "="); set {
				t.Setenv(variable, value)
			}
			var args []string
			if c.arg != "" {
				args = []string{c.arg}
			}
			s, path, err := configured(t, file, args...)
			require.NoError(t, err)
			require.Equal(t, c.want, s.texts()[c.flag])
			if strings.HasPrefix(c.source, ":") {
				c.source = path + c.source
			}
			require.Equal(t, c.source, s.source[c.flag])
		})
	}
}

// The file may be named in the environment.
func TestConfigFileOfTheEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	write(t, path, "app: broadcast")
	t.Setenv("TURBINE_CONFIG", path)
	for _, args := range [][]string{nil, {"serve"}, {"--addr=:1"}, {"config", "print"}, {"config", "check"}} {
		s, err := readSettings(args, "", io.Discard, io.Discard)
		require.NoError(t, err)
		require.Equal(t, "broadcast", s.flags.App, "%q", args)
	}
}

// The command may be left out.
func TestServeIsTheDefault(t *testing.T) {
	for _, c := range []struct {
		args    []string
		command string
		app     string
	}{
		{nil, "serve", "echo"},
		{[]string{"serve"}, "serve", "echo"},
		{[]string{"--app", "broadcast"}, "serve", "broadcast"},
		{[]string{"serve", "--app", "broadcast"}, "serve", "broadcast"},
		{[]string{"config", "print", "--app", "broadcast"}, "config print", "broadcast"},
		{[]string{"config", "check", "--app", "broadcast"}, "config check", "broadcast"},
	} {
		s, err := readSettings(c.args, "", io.Discard, io.Discard)
		require.NoError(t, err, "%q", c.args)
		require.Equal(t, c.command, s.command, "%q", c.args)
		require.Equal(t, c.app, s.flags.App, "%q", c.args)
	}
	s, err := readSettings([]string{"config", "default"}, "", io.Discard, io.Discard)
	require.NoError(t, err)
	require.Nil(t, s.flags)

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sevre"}, "unexpected argument sevre"},
		{[]string{"config"}, "expected one of"},
		{[]string{"config", "chek"}, "unexpected argument chek"},
		{[]string{"config", "default", "--app", "echo"}, "unknown flag --app"},
		{[]string{"--app", "echo", "config", "print"}, "flag --app applies to the default command"},
		{[]string{"--orign", "x"}, "unknown flag --orign"},
	} {
		_, err := readSettings(c.args, "", io.Discard, io.Discard)
		require.ErrorContains(t, err, c.want, "%q", c.args)
		require.ErrorContains(t, err, "(see turbine --help)", "%q", c.args)
	}
}

// Each flag that has an environment variable can be set by the file.
func TestEachFlagInAFile(t *testing.T) {
	plain, _, err := configured(t, "")
	require.NoError(t, err)
	defaults, all := plain.texts(), 0
	for _, flag := range programFlags() {
		if flag.Name == "config" || len(flag.Envs) == 0 {
			continue
		}
		all++
		text := otherValue(t, flag)
		s, path, err := configured(t, "\n"+flag.Name+": "+text+"\n")
		require.NoError(t, err, "%s: %s", flag.Name, text)
		require.Equal(t, path+":2", s.source[flag.Name], flag.Name)
		for name, value := range s.texts() {
			if name == flag.Name {
				require.Equal(t, text, value, name)
				require.NotEqual(t, defaults[name], value, name)
				continue
			}
			require.Equal(t, defaults[name], value, "%s, while %s is set", name, flag.Name)
			require.Equal(t, byDefault, s.source[name])
		}
	}
	require.Len(t, defaults, all)
	require.Greater(t, all, 60)
}

// otherValue is one that the flag does not have by default, as a file has it.
func otherValue(t *testing.T, flag *kong.Flag) string {
	t.Helper()
	kind := flag.Target.Type()
	if flag.IsSlice() {
		kind = kind.Elem()
	}
	value := reflect.New(kind).Elem()
	switch {
	case flag.Enum != "":
		for _, choice := range flag.EnumSlice() {
			if choice != "" && choice != flag.Default {
				value.SetString(choice)
			}
		}
	case kind == reflect.TypeFor[logLevel]():
		return "warn"
	case kind == reflect.TypeFor[time.Duration]():
		value.SetInt(int64(77 * time.Second))
	case kind.Kind() == reflect.Bool:
		value.SetBool(flag.Default != "true")
	case kind.Kind() == reflect.String:
		value.SetString("/7")
	case value.CanInt():
		value.SetInt(7)
	case value.CanUint():
		value.SetUint(7)
	case value.CanFloat():
		value.SetFloat(0.7)
	default:
		require.Fail(t, "no value for a flag", "--%s", flag.Name)
	}
	if flag.IsSlice() {
		return "[" + valueText(value) + "]"
	}
	return valueText(value)
}

// What the server says of an option names the flag, and the line that has set it.
func TestFaultsOfSettings(t *testing.T) {
	for _, c := range []struct {
		text string
		args []string
		want string // FILE is its name
	}{
		{"app: echo\nmax-payload: 2000000000", nil, "--max-payload of 2000000000 is above 1073741824 (set in FILE:2)"},
		{"max-payload: 5", []string{"--max-payload=2000000000"}, "--max-payload of 2000000000 is above 1073741824"},
		{"origin: ['*']", nil, `--origin: for pages from anywhere set --any-origin instead of "*" (set in FILE:1)`},
		{"cors-origin: '*'\ncors-credentials: true", nil, `--cors-origin: browsers refuse "*" with --cors-credentials; list the origins (set in FILE:1, FILE:2)`},
		{"revisions: [5]", nil, "--revisions: 5 is not a protocol revision; there are 3 and 4 (set in FILE:1)"},
		{"tls-cert: none.pem", nil, "--tls-cert and --tls-key go together (set in FILE:1)"},
		{"tls-cert: none.pem\ntls-key: none.pem", nil, "TLS: certificate none.pem with key none.pem: open none.pem: no such file or directory"},
	} {
		s, path, err := configured(t, c.text, c.args...)
		require.NoError(t, err)
		err = s.check(nil)
		require.Error(t, err, "%q", c.text)
		require.Equal(t, strings.ReplaceAll(c.want, "FILE", path), err.Error())
		_, err = newServer(s.flags, &node{}, nil, nil)
		require.Equal(t, strings.ReplaceAll(c.want, "FILE", path), s.explain(err), "the start says the same")
	}
}

// The exit code and the words of config check.
func TestConfigCheck(t *testing.T) {
	for _, c := range []struct {
		text string
		args []string
		code int
		out  string
		err  string
	}{
		{"app: echo", nil, 0, "turbine: FILE can be used\n", ""},
		{"pth: echo\nmax-conns: x", nil, 2, "", "turbine: FILE:1: there is no flag \"pth\"; the nearest is path\nturbine: FILE:2: max-conns: want a whole number, not \"x\"\n"},
		{"path: x", nil, 2, "", "turbine: --path \"x\" does not begin with a slash (set in FILE:1)\n"},
		{"path: x", []string{"--path=/y"}, 0, "turbine: FILE can be used\n", ""},
		{"path: /x", []string{"--path=y"}, 2, "", "turbine: --path \"y\" does not begin with a slash\n"},
		{"", []string{"--nonsense"}, 2, "", "turbine: unknown flag --nonsense (see turbine --help)\n"},
	} {
		path := filepath.Join(t.TempDir(), "turbine.yaml")
		write(t, path, c.text)
		var out, errs strings.Builder
		code := configure(append([]string{"config", "check", "--config", path}, c.args...), &out, &errs)
		require.Equal(t, c.code, code, "%q %q: %s", c.text, c.args, errs.String())
		require.Equal(t, strings.ReplaceAll(c.out, "FILE", path), out.String())
		require.Equal(t, strings.ReplaceAll(c.err, "FILE", path), errs.String())
	}
	var out strings.Builder
	require.Equal(t, 0, configure([]string{"config", "check"}, &out, io.Discard))
	require.Equal(t, "turbine: what the command line and the environment say can be used\n", out.String())
}

// configure runs a command of config.
func configure(args []string, out, errs io.Writer) int {
	s, err := readSettings(args, "", out, errs)
	if err != nil {
		return refuse(errs, err)
	}
	code, ok := s.beside(out, errs)
	if !ok {
		panic(errors.New("no command of config"))
	}
	return code
}

// config default has each flag with its description, which config check takes as it
// is, and with all settings in use: then they have their defaults.
func TestConfigDefault(t *testing.T) {
	t.Setenv("TURBINE_APP", "broadcast") // is none of its business
	var out strings.Builder
	require.Equal(t, 0, configure([]string{"config", "default"}, &out, io.Discard))
	require.NoError(t, os.Unsetenv("TURBINE_APP"))
	plain, err := readSettings(nil, "", io.Discard, io.Discard)
	require.NoError(t, err)
	defaults := plain.texts()

	var inUse strings.Builder
	settings := 0
	for line := range strings.Lines(out.String()) {
		require.LessOrEqual(t, len(line), defaultWidth+1, line)
		if setting, ok := strings.CutPrefix(line, "#"); ok && setting[0] >= 'a' && setting[0] <= 'z' {
			settings++
			line = setting
		}
		inUse.WriteString(line)
	}
	require.Len(t, defaults, settings)
	for _, text := range []string{out.String(), inUse.String()} {
		s, path, err := configured(t, text)
		require.NoError(t, err)
		require.NoError(t, s.check(nil))
		require.Equal(t, defaults, s.texts())
		require.Equal(t, 0, configure([]string{"config", "check", "--config", path}, io.Discard, io.Discard))
		require.Equal(t, text == inUse.String(), len(s.places) == settings)
	}
	said := strings.ReplaceAll(out.String(), "\n# ", " ")
	for _, flag := range programFlags() {
		if isSetting(flag) {
			require.Contains(t, said, flag.Help, "--%s", flag.Name)
		}
	}
}

// What config print says is a file with the same settings, and where each of them
// comes from.
func TestConfigPrint(t *testing.T) {
	t.Setenv("TURBINE_PING_TIMEOUT", "7s")
	path := filepath.Join(t.TempDir(), "turbine.yaml")
	write(t, path, "app: broadcast\norigin: ['https://a.example', 'https://b.example']\ninitial-packet: \"a # \\\"b\\\"\\n\\u00e9\"\nlog-level: warn\n")
	args := []string{"--config", path, "--no-compression", "--addr=:1,unix:/x y", "--slow-callback=-1s"}
	var out strings.Builder
	require.Equal(t, 0, configure(append([]string{"config", "print"}, args...), &out, io.Discard))
	for _, want := range []string{
		`^app: "broadcast" +# ` + path + `:1$`,
		`^origin: \["https://a.example", "https://b.example"\] +# ` + path + `:2$`,
		`^ping-timeout: 7s +# environment TURBINE_PING_TIMEOUT$`,
		`^compression: false +# command line$`,
		`^addr: \[":1", "unix:/x y"\] +# command line$`,
		`^slow-callback: -1s +# command line$`,
		`^ping-interval: 25s +# default$`,
		`^log-level: warn +# ` + path + `:4$`,
	} {
		require.Regexp(t, "(?m)"+want, out.String())
	}
	before, err := readSettings(args, "", io.Discard, io.Discard)
	require.NoError(t, err)
	require.NoError(t, os.Unsetenv("TURBINE_PING_TIMEOUT"))
	after, _, err := configured(t, out.String())
	require.NoError(t, err)
	require.Equal(t, before.texts(), after.texts())
}

// --help of each command has the flags that it takes, and no others.
func TestHelpOfCommands(t *testing.T) {
	for _, c := range []struct {
		args  []string
		has   []string
		flags bool // those of the program
	}{
		{[]string{"--help"}, []string{"Usage: turbine <command> [flags]", "\n  serve [flags]", "\n  config check [flags]", "\n  config default\n"}, true},
		{[]string{"serve", "--help"}, []string{"Usage: turbine serve [flags]", "Serve clients until"}, true},
		{[]string{"config", "--help"}, []string{"Usage: turbine config <command>", "\n  config check [flags]", "\n  config print [flags]"}, false},
		{[]string{"config", "check", "--help"}, []string{"Usage: turbine config check [flags]", "The exit code"}, true},
		{[]string{"config", "print", "--help"}, []string{"Usage: turbine config print [flags]"}, true},
		{[]string{"config", "default", "--help"}, []string{"Usage: turbine config default"}, false},
	} {
		var help strings.Builder
		parser := newParser(&commands{}, "", &help, io.Discard)
		parser.Exit = func(int) {}
		_, _ = parser.Parse(c.args)
		for _, want := range c.has {
			require.Contains(t, help.String(), want, "%q", c.args)
		}
		require.Equal(t, c.flags, strings.Contains(help.String(), "--ping-interval=25s"), "%q", c.args)
		require.Equal(t, c.flags, strings.Contains(help.String(), "($TURBINE_PING_INTERVAL)"), "%q", c.args)
	}
}
