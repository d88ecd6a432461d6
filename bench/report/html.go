package report

import (
	"bytes"
	_ "embed"
	"html/template"
	"slices"
	"strings"
)

//go:embed report.html.tmpl
var page string

var pageTemplate = template.Must(template.New("report").Parse(page))

// html is one page without anything outside of it: styles and charts are in it.
func (d document) html(charts map[string][]byte) []byte {
	type part struct {
		Title template.HTML
		Text  []template.HTML
		List  []template.HTML
		Head  []cell
		Rows  [][]cell
		Chart template.HTML
	}
	var parts []part
	for _, s := range d.sections {
		p := part{Title: inline(s.title), Text: inlines(s.text), List: inlines(s.list)}
		for i, row := range s.table {
			var cells []cell
			for k, text := range row {
				cells = append(cells, cellOf(text, s.wordy(k)))
			}
			if i == 0 {
				p.Head = cells
				continue
			}
			p.Rows = append(p.Rows, cells)
		}
		if svg := charts[s.chart]; svg != nil {
			if i := bytes.Index(svg, []byte("<svg")); i > 0 {
				svg = svg[i:] // a page has no place for the XML declaration
			}
			p.Chart = template.HTML(svg) // made by us, from numbers and our own names
		}
		parts = append(parts, p)
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, map[string]any{"Title": d.title, "Parts": parts}); err != nil {
		panic(err) // the template is ours and the buffer takes all
	}
	return b.Bytes()
}

// cell is a cell of a table. What stands behind a number is on a line of its own: ten
// columns of numbers with their spread would be wider than a screen.
type cell struct {
	Class string
	Text  template.HTML
	Note  string
}

// wordy reports whether column k holds sentences, not numbers.
func (s *section) wordy(k int) bool {
	return slices.ContainsFunc(s.table[1:], func(row []string) bool { return len(row[k]) > 30 && !numeric(row[k]) })
}

func numeric(text string) bool { return text != "" && text[0] >= '0' && text[0] <= '9' }

func cellOf(text string, wordy bool) cell {
	c := cell{}
	switch {
	case text == "yes" || text == "short":
		c.Class = text
	case text == doNotCompare:
		c.Class = "short"
	case wordy:
		c.Class = "words"
	}
	if numeric(text) {
		for _, mark := range []string{" (", " · "} {
			if i := strings.Index(text, mark); i > 0 {
				text, c.Note = text[:i], strings.TrimPrefix(text[i+1:], "· ")
				break
			}
		}
	}
	c.Text = inline(text)
	return c
}

// inline is text as HTML; what stands between backticks is code.
func inline(text string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		part = template.HTMLEscapeString(part)
		if i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		b.WriteString(part)
	}
	return template.HTML(b.String()) // escaped above
}

func inlines(texts []string) []template.HTML {
	all := make([]template.HTML, len(texts))
	for i, text := range texts {
		all[i] = inline(text)
	}
	return all
}
