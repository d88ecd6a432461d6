package manual

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Zsh is the file for zsh, _NAME in a folder of fpath.
func Zsh(app *kong.Application) []byte {
	var b bytes.Buffer
	all := commandsOf(app)
	fmt.Fprintf(&b, `#compdef %s
# Completions of %[1]s for zsh.

local command="" last=1 i
for ((i = 2; i < CURRENT; i++)); do
    case "$command $words[i]" in
%[2]s    esac
done
# To _arguments the names of commands are arguments, which it does not expect.
words=("$words[1]" "${(@)words[last+1,-1]}")
((CURRENT -= last - 1))
case $command in
`, app.Name, paths(all, `    %s) command+=" $words[i]" last=$i ;;`))
	for _, c := range all {
		fmt.Fprintf(&b, "%q)\n    _arguments -S", c.path)
		for _, f := range c.flags {
			for _, name := range names(f) {
				fmt.Fprintf(&b, " \\\n        %s", zshFlag(f, name))
			}
		}
		if len(c.below) > 0 {
			var below []string
			for _, n := range c.below {
				text := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`", ":", `\:`).Replace(summary(n.Help))
				below = append(below, n.Name+`\:"`+zshQuote(text)+`"`)
			}
			fmt.Fprintf(&b, " \\\n        '*:command:((%s))'", strings.Join(below, " "))
		}
		b.WriteString("\n    ;;\n")
	}
	b.WriteString("esac\n")
	return b.Bytes()
}

// zshFlag is the argument of _arguments for one form of a flag.
func zshFlag(f *kong.Flag, name string) string {
	again, value := "", ""
	if f.IsSlice() {
		again = "*"
	}
	if takesValue(f) {
		name += "="
		value = ":" + f.Name + ":"
		switch {
		case choices(f) != nil:
			value += "(" + strings.Join(choices(f), " ") + ")"
		case isFile(f):
			value += "_files"
		default:
			value += " "
		}
	}
	text := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`).Replace(summary(f.Help))
	return "'" + again + name + "[" + zshQuote(text) + "]" + value + "'"
}

// zshQuote is s within single quotes.
func zshQuote(s string) string { return strings.ReplaceAll(s, "'", `'\''`) }
