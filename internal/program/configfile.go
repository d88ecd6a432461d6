package program

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v4"
)

// maxConfig is the limit of a configuration file, in bytes: it is read whole.
const maxConfig = 1 << 20

// maxFaults is how many lines with faults are told of one file.
const maxFaults = 20

// An entry is what a configuration file says of one flag: texts as they could stand
// behind the flag in a command line.
type entry struct {
	texts []string
	line  int
}

// decode sets target, which is zero and of the flag's type.
func (e entry) decode(flag *kong.Flag, target reflect.Value) error {
	for _, text := range e.texts {
		if err := flag.Parse(kong.Scan().PushTyped(text, kong.FlagValueToken), target); err != nil {
			return errors.Unwrap(err) // without the flag's name
		}
	}
	return nil
}

// A configReader reads one configuration file: a mapping of flags' names to values.
type configReader struct {
	path    string
	flags   []*kong.Flag
	entries map[string]entry
	wrong   []error
}

// readConfig reads what a configuration file says of flags. The error has a line for
// each fault, which begins with the file's name and the number of the line there.
func readConfig(path string, flags []*kong.Flag) (map[string]entry, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	r := &configReader{path: path, flags: flags, entries: map[string]entry{}}
	r.read(text)
	return r.entries, errors.Join(r.wrong...)
}

// readBounded reads a file of at most maxConfig bytes.
func readBounded(path string) ([]byte, error) {
	file, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("%s is above %d bytes", path, maxConfig)
	}
	return text, err
}

// fault notes what is wrong in a line, 0 for one that is not known.
func (r *configReader) fault(line int, format string, args ...any) {
	place := r.path
	if line > 0 {
		place = fmt.Sprintf("%s:%d", r.path, line)
	}
	r.wrong = append(r.wrong, fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...)))
}

func (r *configReader) read(text []byte) {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		r.fault(0, "%v", err)
		return
	}
	var first, second yaml.Node
	if err := loader.Load(&first); errors.Is(err, io.EOF) {
		return // comments alone
	} else if err != nil {
		r.syntax(err)
		return
	}
	if err := loader.Load(&second); err == nil {
		r.fault(second.Line, "a second document begins; want one")
		return
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
		return
	}
	r.document(&first)
}

// syntax notes an error of the YAML.
func (r *configReader) syntax(err error) {
	var at *yaml.LoadError
	if !errors.As(err, &at) {
		r.fault(0, "%v", err)
		return
	}
	message := at.Message
	if at.ContextMsg != "" {
		message = at.ContextMsg + ": " + message
	}
	r.fault(max(at.Mark.Line, at.ContextMark.Line), "%s", message)
}

func (r *configReader) document(n *yaml.Node) {
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
	case n.Kind != yaml.MappingNode:
		r.fault(n.Line, "want the name of a flag and its value in each line, such as ping-interval: 25s")
	default:
		for i := 0; i+1 < len(n.Content); i += 2 {
			r.pair(n.Content[i], n.Content[i+1])
			if len(r.wrong) > maxFaults {
				r.wrong = r.wrong[:maxFaults]
				r.fault(n.Content[i].Line, "there are more faults, from here on")
				return
			}
		}
	}
}

// pair reads the key and the value of a line.
func (r *configReader) pair(key, value *yaml.Node) {
	if key.Kind != yaml.ScalarNode {
		r.fault(key.Line, "want the name of a flag in front of the colon")
		return
	}
	i := slices.IndexFunc(r.flags, func(f *kong.Flag) bool { return f.Name == key.Value && isSetting(f) })
	if i < 0 {
		r.unknown(key)
		return
	}
	if before, twice := r.entries[key.Value]; twice {
		r.fault(key.Line, "%s is given twice, first in line %d", key.Value, before.line)
		return
	}
	flag, e := r.flags[i], entry{line: key.Line}
	r.entries[flag.Name] = e
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	values := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		if !flag.IsSlice() {
			r.fault(value.Line, "%s takes one value, not a list", flag.Name)
			return
		}
		values = value.Content
	}
	want := wanted(flag)
	for _, v := range values {
		text, ok := want.text(v)
		if !ok {
			r.fault(v.Line, "%s: want %s, not %s", flag.Name, want.what, shown(v))
			return
		}
		e.texts = append(e.texts, text)
	}
	r.entries[flag.Name] = e
	scratch := reflect.New(flag.Target.Type()).Elem()
	if err := e.decode(flag, scratch); err != nil {
		r.fault(value.Line, "%s: %s", flag.Name, want.explain(value, err))
		return
	}
	if bad, ok := outside(flag, scratch); !ok {
		r.fault(value.Line, "%s: %q is none of %s", flag.Name, bad, choices(flag))
	}
}

// unknown notes a key that is not the name of a flag.
func (r *configReader) unknown(key *yaml.Node) {
	var names []string
	for _, flag := range r.flags {
		if flag.Name == key.Value {
			r.fault(key.Line, "%s cannot be set in a configuration file", key.Value)
			return
		}
		if isSetting(flag) {
			names = append(names, flag.Name)
		}
	}
	if near := nearest(key.Value, names, ""); near != "" {
		r.fault(key.Line, "there is no flag %s; the nearest is %s", shown(key), near)
		return
	}
	r.fault(key.Line, "there is no flag %s", shown(key))
}

// A want is what the value of a flag has to be in YAML.
type want struct {
	what string
	tags []string // of a scalar
}

var (
	anyText     = []string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}
	textDecoder = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// wanted looks at the flag's type, at that of an element if it takes several values.
func wanted(flag *kong.Flag) want {
	kind := flag.Target.Type()
	list := flag.IsSlice()
	if list {
		kind = kind.Elem()
	}
	w := want{"a text", anyText}
	switch {
	case kind == reflect.TypeFor[time.Duration]():
		w.what = "a time with a unit, such as 25s, 300ms or 1m30s"
	case reflect.PointerTo(kind).Implements(textDecoder):
	case kind.Kind() == reflect.Bool:
		w = want{"true or false", []string{"!!bool"}}
	case kind.Kind() >= reflect.Int && kind.Kind() <= reflect.Uint64:
		w.what = "a whole number"
		if !list { // 4,3 is a text
			w.tags = []string{"!!int"}
		}
	case kind.Kind() == reflect.Float32, kind.Kind() == reflect.Float64:
		w = want{"a number", []string{"!!int", "!!float"}}
	}
	return w
}

// text is what a value says as it is written, without quotes: a number keeps its
// digits.
func (w want) text(v *yaml.Node) (text string, ok bool) {
	if v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	return v.Value, v.Kind == yaml.ScalarNode && slices.Contains(w.tags, v.ShortTag())
}

// explain says why a value that looks like one of the flag's cannot be read.
func (w want) explain(v *yaml.Node, err error) string {
	if w.what == "a text" {
		return err.Error() // of a type of ours, which says what there is
	}
	return fmt.Sprintf("want %s, not %s", w.what, shown(v))
}

// shown is a value in an error.
func shown(v *yaml.Node) string {
	const most = 60
	switch {
	case v.Kind == yaml.MappingNode:
		return "a mapping"
	case v.Kind == yaml.SequenceNode:
		return "a list"
	case v.Kind == yaml.ScalarNode && v.ShortTag() == "!!null":
		return "nothing"
	case len(v.Value) > most:
		return fmt.Sprintf("%.*q...", most, v.Value)
	}
	return fmt.Sprintf("%q", v.Value)
}

// outside is a value that is none of those the flag may have, if there is one.
func outside(flag *kong.Flag, value reflect.Value) (bad string, ok bool) {
	if flag.Enum == "" {
		return "", true
	}
	allowed := flag.EnumSlice()
	if !flag.IsSlice() {
		text := fmt.Sprint(value)
		return text, slices.Contains(allowed, text)
	}
	for i := range value.Len() {
		if text := fmt.Sprint(value.Index(i)); !slices.Contains(allowed, text) {
			return text, false
		}
	}
	return "", true
}

// choices are the values that the flag may have, in words.
func choices(flag *kong.Flag) string {
	all := slices.DeleteFunc(flag.EnumSlice(), func(s string) bool { return s == "" })
	return strings.Join(all, ", ")
}
