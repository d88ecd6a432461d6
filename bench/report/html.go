package report

import (
	"bytes"
	_ "embed"
	"html/template"
)

//go:embed report.html.tmpl
var page string

var pageTemplate = template.Must(template.New("report").Parse(page))

// html is one page without anything outside of it: styles and charts are in it.
func (d document) html(charts map[string][]byte) []byte {
	type part struct {
		Title string
		Text  []string
		List  []string
		Head  []string
		Rows  [][]string
		Chart template.HTML
	}
	var parts []part
	for _, s := range d.sections {
		p := part{Title: s.title, Text: s.text, List: s.list}
		if len(s.table) > 0 {
			p.Head, p.Rows = s.table[0], s.table[1:]
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
