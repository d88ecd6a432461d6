package program

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// valueText is the value of a flag in a configuration file. Texts are in quotes: JSON
// is YAML, and says nothing that could be taken for something else.
func valueText(value reflect.Value) string {
	if value.Kind() == reflect.Slice {
		texts := make([]string, value.Len())
		for i := range texts {
			texts[i] = valueText(value.Index(i))
		}
		return "[" + strings.Join(texts, ", ") + "]"
	}
	switch v := value.Interface().(type) {
	case time.Duration:
		return v.String()
	case encoding.TextMarshaler:
		if text, err := v.MarshalText(); err == nil {
			return string(text)
		}
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	_ = e.Encode(value.Interface()) // strings, numbers and booleans can be encoded
	return strings.TrimSuffix(text.String(), "\n")
}

// defaultText is valueText of what the flag is without anybody setting it.
func defaultText(flag *kong.Flag) (string, error) {
	value := reflect.New(flag.Target.Type()).Elem()
	if flag.HasDefault {
		if err := (entry{texts: []string{flag.Default}}).decode(flag, value); err != nil {
			return "", fmt.Errorf("the default of --%s: %w", flag.Name, err)
		}
	}
	return valueText(value), nil
}

// print writes the settings as a configuration file, with where each comes from.
func (s *settings) print(out io.Writer) {
	texts, width := s.texts(), 0
	for name, text := range texts {
		width = max(width, len(name)+len(text))
	}
	width = min(width, 40)
	for _, flag := range s.list {
		text, ok := texts[flag.Name]
		if !ok {
			continue
		}
		source := s.source[flag.Name]
		if source == byEnvironment {
			name, _ := variableOf(flag)
			source += " " + name
		}
		_, _ = fmt.Fprintf(out, "%s: %s%*s # %s\n", flag.Name, text, max(width-len(flag.Name)-len(text), 0), "", source)
	}
}

// defaultHead is what the file of config default begins with.
const defaultHead = `# Configuration of turbine, in YAML. Each key is the name of a flag.
# A variable of the environment wins over this file, a flag in the command line over both.
# A setting that is commented out has its default: to change it, remove the # in front of it.
# turbine config check --config FILE says what is wrong with the file.
`

// defaultWidth is that of the comments in it.
const defaultWidth = 100

// printDefault writes a configuration file with the defaults of all flags, commented
// out, under their descriptions.
func printDefault(flags []*kong.Flag, out io.Writer) error {
	var file strings.Builder
	file.WriteString(defaultHead)
	group := ""
	for _, flag := range flags {
		if !isSetting(flag) {
			continue
		}
		if flag.Group != nil && flag.Group.Title != group {
			group = flag.Group.Title
			fmt.Fprintf(&file, "\n## %s\n", group)
		}
		text, err := defaultText(flag)
		if err != nil {
			return err
		}
		fmt.Fprintf(&file, "\n%s#%s: %s\n", comment(flag.Help), flag.Name, text)
	}
	_, err := io.WriteString(out, file.String())
	return err
}

// comment is text in lines of comments.
func comment(text string) string {
	var lines strings.Builder
	length := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case length == 0:
			lines.WriteString("# ")
			length = 2
		case length+1+len(word) > defaultWidth:
			lines.WriteString("\n# ")
			length = 2
		default:
			lines.WriteString(" ")
			length++
		}
		lines.WriteString(word)
		length += len(word)
	}
	return lines.String() + "\n"
}
