package manual

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// About is what a man page says that no flag does.
type About struct {
	Version  string
	Date     time.Time
	Summary  string    // the line that whatis and apropos show
	Sections []Section // behind the flags
}

// A Section is a chapter of a man page: a text, or terms with what they mean, or both.
type Section struct {
	Title string
	Text  string
	Terms []Term
}

// A Term is a word with what it means.
type Term struct{ Word, Means string }

// Page is the man page, in the macros of man(7).
func Page(app *kong.Application, about About) []byte {
	var p page
	p.macro("TH", strings.ToUpper(app.Name), "1", about.Date.UTC().Format(time.DateOnly), app.Name+" "+about.Version, "User Commands")
	p.macro("SH", "NAME")
	p.text(app.Name + " - " + about.Summary)
	p.macro("SH", "SYNOPSIS")
	all := commandsOf(app)
	for i, c := range all {
		if i > 0 {
			p.WriteString(".br\n")
		}
		p.WriteString(`\fB` + escape(app.Name+c.path) + `\fR [\fIflags\fR]` + argsOf(c) + "\n")
	}
	p.macro("SH", "DESCRIPTION")
	p.text(app.Help)
	for _, c := range all[1:] {
		if c.path == all[1].path {
			p.macro("SH", "COMMANDS")
		}
		p.macro("TP")
		p.WriteString(`\fB` + escape(strings.TrimPrefix(c.path, " ")) + `\fR` + argsOf(c) + "\n")
		p.text(c.help)
	}
	p.macro("SH", "OPTIONS")
	told := map[[2]string]bool{} // by name and text: commands may have the same flags
	for i, c := range all {
		flags := c.own
		if i == 0 {
			flags = c.flags // and those of a default command, which belong to the program as well
		}
		p.flags(c, flags, told)
	}
	for _, s := range about.Sections {
		p.macro("SH", s.Title)
		if s.Text != "" {
			p.text(s.Text)
		}
		for _, t := range s.Terms {
			p.macro("TP")
			p.WriteString(`\fB` + escape(t.Word) + "\\fR\n")
			p.text(t.Means)
		}
	}
	return p.Bytes()
}

// argsOf is what follows the name of a command.
func argsOf(c command) (text string) {
	for _, a := range c.args {
		text += ` \fI` + escape(a.Name) + `\fR`
	}
	if len(c.below) > 0 && c.path != "" {
		text += ` \fIcommand\fR`
	}
	return text
}

// A page is the text of a man page.
type page struct{ bytes.Buffer }

// macro writes a line with a macro and its arguments.
func (p *page) macro(name string, args ...string) {
	p.WriteString("." + name)
	for _, a := range args {
		p.WriteString(` "` + strings.ReplaceAll(escape(a), `"`, `\(dq`) + `"`)
	}
	p.WriteString("\n")
}

// text writes a paragraph. Each sentence has a line of its own: troff sets the space
// between sentences where a line ends.
func (p *page) text(s string) {
	for line := range strings.Lines(strings.ReplaceAll(strings.TrimSpace(s), ". ", ".\n")) {
		line = escape(strings.TrimSpace(line))
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") { // would be a macro
			line = `\&` + line
		}
		p.WriteString(line + "\n")
	}
}

// flags writes the flags of a command in their groups.
func (p *page) flags(c command, flags []*kong.Flag, told map[[2]string]bool) {
	title := ""
	for _, f := range flags {
		if told[[2]string{f.Name, f.Help}] {
			continue
		}
		told[[2]string{f.Name, f.Help}] = true
		group := "Of " + strings.TrimPrefix(c.path, " ")
		switch {
		case c.path == "" && f.Group != nil:
			group = f.Group.Title
		case c.path == "":
			group = "General"
		case f.Group != nil:
			group += ": " + f.Group.Title
		}
		if group != title {
			title = group
			p.macro("SS", title)
		}
		p.macro("TP")
		p.WriteString(`\fB` + escape(strings.Join(names(f), ", ")) + `\fR`)
		if takesValue(f) {
			p.WriteString(`=\fI` + escape(valueName(f)) + `\fR`)
		}
		p.WriteString("\n")
		p.text(f.Help)
		p.text(origin(f))
	}
}

// valueName is how the value of a flag is called: by its place holder, or by the flag.
func valueName(f *kong.Flag) string {
	if f.PlaceHolder != "" {
		return f.PlaceHolder
	}
	if all := choices(f); all != nil {
		return strings.Join(all, "|")
	}
	return strings.ToUpper(f.Name[strings.LastIndex(f.Name, "-")+1:])
}

// origin says where the value of a flag comes from if it is not given.
func origin(f *kong.Flag) (text string) {
	switch {
	case f.IsBool() && f.Default == "true":
		text = "On by default. "
	case takesValue(f) && f.Default != "":
		text = fmt.Sprintf("The default is %s. ", f.Default)
	}
	if len(f.Envs) > 0 {
		text += "Variable: " + strings.Join(f.Envs, ", ") + "."
	}
	return text
}

// escape has troff print s as it is: a minus that can be copied, no escapes.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
}
