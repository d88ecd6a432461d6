package report

import (
	"bytes"
	"fmt"
	"strings"
)

func (d document) markdown(charts map[string][]byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n", d.title)
	for _, s := range d.sections {
		fmt.Fprintf(&b, "\n## %s\n", s.title)
		for _, p := range s.text {
			fmt.Fprintf(&b, "\n%s\n", p)
		}
		if charts[s.chart] != nil {
			fmt.Fprintf(&b, "\n![%s](%s.svg)\n", s.title, s.chart)
		}
		for i, row := range s.table {
			if i == 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", len(row)))
			}
		}
		if len(s.list) > 0 {
			b.WriteByte('\n')
		}
		for _, item := range s.list {
			fmt.Fprintf(&b, "- %s\n", item)
		}
	}
	return b.Bytes()
}
