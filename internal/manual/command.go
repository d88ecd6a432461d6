package manual

import (
	"strings"

	"github.com/alecthomas/kong"
)

// A command is a place on a command line: the program itself, or one of its commands.
type command struct {
	path  string // the names up to here, each with a space in front; empty for the program
	help  string
	own   []*kong.Flag // its flags
	flags []*kong.Flag // what may be given here: its own, those of all above, those of a default command
	args  []*kong.Positional
	below []*kong.Node // its commands
}

// commandsOf are the program and all its commands, each before those below it.
func commandsOf(app *kong.Application) []command {
	return appendCommands(nil, app.Node, "")
}

func appendCommands(all []command, node *kong.Node, path string) []command {
	c := command{path: path, help: node.Help, args: node.Positional, own: shown(node.Flags)}
	for _, flags := range node.AllFlags(true) {
		c.flags = append(c.flags, flags...)
	}
	if node.DefaultCmd != nil && node.DefaultCmd.Tag.Default == "withargs" {
		c.flags = append(c.flags, shown(node.DefaultCmd.Flags)...)
	}
	for _, child := range node.Children {
		if child.Type == kong.CommandNode && !child.Hidden {
			c.below = append(c.below, child)
		}
	}
	all = append(all, c)
	for _, child := range c.below {
		all = appendCommands(all, child, path+" "+child.Name)
	}
	return all
}

func shown(flags []*kong.Flag) (kept []*kong.Flag) {
	for _, f := range flags {
		if !f.Hidden {
			kept = append(kept, f)
		}
	}
	return kept
}

// names are the forms of a flag.
func names(f *kong.Flag) []string {
	all := []string{"--" + f.Name}
	if f.Short != 0 {
		all = append([]string{"-" + string(f.Short)}, all...)
	}
	switch f.Tag.Negatable {
	case "":
	case "_": // how kong calls the name that is made of the flag's
		all = append(all, "--no-"+f.Name)
	default:
		all = append(all, "--"+f.Tag.Negatable)
	}
	return all
}

// takesValue reports whether a value has to follow the flag.
func takesValue(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }

// isFile reports whether the value of the flag is the name of a file.
func isFile(f *kong.Flag) bool { return f.PlaceHolder == "FILE" || f.Tag.Type == "existingfile" }

// choices are the values that a flag may have, if there is a list of them.
func choices(f *kong.Flag) (all []string) {
	if f.Enum == "" {
		return nil
	}
	for _, value := range f.EnumSlice() {
		if value != "" {
			all = append(all, value)
		}
	}
	return all
}

// summary is the first sentence of a help text, without its full stop.
func summary(help string) string {
	first, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(first, ".")
}
