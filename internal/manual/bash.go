package manual

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Bash is the script for bash, from version 3.2 on, which macOS has.
func Bash(app *kong.Application) []byte {
	var b bytes.Buffer
	name := app.Name
	all := commandsOf(app)
	fmt.Fprintf(&b, `# Completions of %[1]s for bash.

_%[1]s() {
    local command="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$command ${COMP_WORDS[i]}" in
%[2]s        esac
    done
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    # Readline splits --flag=value into three words.
    if [[ $current == "=" ]]; then
        current=""
    elif [[ $before == "=" ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    local flags="" commands="" values="" files="" others=""
    case $command in
`, name, paths(all, `        %s) command+=" ${COMP_WORDS[i]}" ;;`))
	for _, c := range all {
		fmt.Fprintf(&b, "    %q)\n        flags=%q\n        commands=%q\n", c.path, strings.Join(flagNames(c.flags), " "), strings.Join(belowNames(c), " "))
		var files, others []string
		for _, f := range c.flags {
			switch {
			case !takesValue(f) || choices(f) != nil:
			case isFile(f):
				files = append(files, names(f)...)
			default:
				others = append(others, names(f)...)
			}
		}
		fmt.Fprintf(&b, "        files=%q\n        others=%q\n        case $before in\n", " "+strings.Join(files, " ")+" ", " "+strings.Join(others, " ")+" ")
		for _, f := range c.flags {
			if takesValue(f) && choices(f) != nil {
				fmt.Fprintf(&b, "        %s) values=%q ;;\n", strings.Join(names(f), " | "), strings.Join(choices(f), " "))
			}
		}
		b.WriteString("        esac\n        ;;\n")
	}
	fmt.Fprintf(&b, `    esac
    COMPREPLY=()
    if [[ -n $values ]]; then
        COMPREPLY=($(compgen -W "$values" -- "$current"))
    elif [[ $files == *" $before "* ]]; then
        compopt -o filenames 2>/dev/null
        local IFS=$'\n'
        COMPREPLY=($(compgen -f -- "$current"))
    elif [[ $others == *" $before "* ]]; then
        return
    elif [[ -n $commands && $current != -* ]]; then
        COMPREPLY=($(compgen -W "$commands" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$flags" -- "$current"))
    fi
}
complete -F _%[1]s %[1]s
`, name)
	return b.Bytes()
}

// paths are the arms of a case over all commands but the program itself, each made
// by format out of the quoted path.
func paths(all []command, format string) (arms string) {
	for _, c := range all[1:] {
		arms += fmt.Sprintf(format, fmt.Sprintf("%q", c.path)) + "\n"
	}
	return arms
}

func flagNames(flags []*kong.Flag) (all []string) {
	for _, f := range flags {
		all = append(all, names(f)...)
	}
	return all
}

func belowNames(c command) (all []string) {
	for _, n := range c.below {
		all = append(all, n.Name)
	}
	return all
}
