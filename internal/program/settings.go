package program

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"turbine/engine"
	"turbine/engine/ops"

	"github.com/alecthomas/kong"
)

// Where a flag's value can come from, in addition to a line of the file.
const (
	byDefault     = "default"
	byEnvironment = "environment"
	byFlag        = "command line"
)

// settings are what a command line, the environment and the file of --config say
// together.
type settings struct {
	command string            // with spaces between its words: "config check"
	flags   *flags            // nil for a command that has others
	list    []*kong.Flag      // those of flags, in order; without values if flags is nil
	source  map[string]string // where a flag's value comes from, by the flag's name
	places  map[string]string // the lines of the file that are in use, by the same
	file    [sha256.Size]byte // what the file held, for the watch
	words   wording
}

// readSettings reads a command line, without the name of the program in front, the
// environment, and the file that they name. The error is for whoever wrote these.
func readSettings(args []string, version string, stdout, stderr io.Writer) (*settings, error) {
	parser := newParser(&commands{}, version, stdout, stderr)
	context, err := parser.Parse(args)
	if err != nil {
		return nil, fmt.Errorf("%w (see turbine --help)", err)
	}
	s := &settings{command: context.Command(), list: parser.Model.DefaultCmd.Flags, source: map[string]string{}, places: map[string]string{}}
	s.words = newWording(s.list)
	node := context.Selected()
	f, ok := node.Target.Addr().Interface().(*flags)
	if !ok {
		return s, nil
	}
	s.flags, s.list = f, node.Flags
	for _, flag := range s.list {
		s.source[flag.Name] = byDefault
		if _, set := variableOf(flag); set {
			s.source[flag.Name] = byEnvironment
		}
	}
	for _, step := range context.Path {
		if step.Flag != nil {
			s.source[step.Flag.Name] = byFlag
		}
	}
	if f.Config == "" {
		return s, nil
	}
	return s, s.addFile(f.Config)
}

// addFile gives the flags that nothing else sets the values that the file has.
func (s *settings) addFile(path string) error {
	s.file = (&watched{files: []string{path}}).sum() // before it is read: a change in between is seen later
	entries, err := readConfig(path, s.list)
	if err != nil {
		return err
	}
	for _, flag := range s.list {
		e, ok := entries[flag.Name]
		if !ok || s.source[flag.Name] != byDefault {
			continue
		}
		flag.Target.SetZero() // a list would be added to
		if err := e.decode(flag, flag.Target); err != nil {
			return err
		}
		s.places[flag.Name] = fmt.Sprintf("%s:%d", path, e.line)
		s.source[flag.Name] = s.places[flag.Name]
	}
	return nil
}

// check finds what the settings cannot mean, as the start of the server does: what
// they say alone, and the files that they name. It logs what is no error.
func (s *settings) check(logger *slog.Logger) error {
	o, err := s.flags.options()
	if err == nil {
		var n *node
		if n, err = newNode(s.flags, ""); err == nil {
			n.options(&o)
		}
	}
	if err == nil {
		o.Logger = logger
		var server *engine.Server
		if server, err = engine.New(o, engine.Events{}); err == nil {
			_, err = newOperations(&s.flags.opsFlags, false, ops.Options{Server: server})
		}
	}
	if err != nil {
		return errors.New(s.explain(err))
	}
	return nil
}

// flagName is a flag in the text of an error.
var flagName = regexp.MustCompile(`--([a-z][a-z0-9-]*)`)

// explain is the text of an error that the settings are to blame for, with the
// lines of the file that have set the flags it names.
func (s *settings) explain(err error) string {
	text := s.words.usage(err)
	var places []string
	for _, m := range flagName.FindAllStringSubmatch(text, -1) {
		if place := s.places[m[1]]; place != "" && !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		return text
	}
	return fmt.Sprintf("%s (set in %s)", text, strings.Join(places, ", "))
}

// texts are the values of all flags as a configuration file has them, by name.
func (s *settings) texts() map[string]string {
	texts := map[string]string{}
	for _, flag := range s.list {
		if isSetting(flag) {
			texts[flag.Name] = valueText(flag.Target)
		}
	}
	return texts
}

// isSetting reports whether a configuration file may set the flag: not those that
// end the program, and not the one that names the file.
func isSetting(flag *kong.Flag) bool { return len(flag.Envs) > 0 && flag.Name != "config" }
