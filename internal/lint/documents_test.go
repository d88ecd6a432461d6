package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pages are the documents that readers are led to.
func pages(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		names = append(names, found...)
	}
	require.Greater(t, len(names), 15)
	return names
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// README.md is a landing page: what it is, for what, three ways in, and where to go.
func TestReadmeIsShort(t *testing.T) {
	atRoot(t)
	require.LessOrEqual(t, len(strings.Fields(document(t, "README.md"))), 900)
}

// prose is a page without its blocks of code.
func prose(text string) string {
	var kept strings.Builder
	code := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			code = !code
			continue
		}
		if !code {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

var (
	headingLine = regexp.MustCompile(`(?m)^(#{1,4}) (.+)$`)
	link        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are those that a page's headings have.
func anchors(text string) (all []string) {
	for _, m := range headingLine.FindAllStringSubmatch(prose(text), -1) {
		anchor := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(m[2]), ""), " ", "-")
		all = append(all, anchor)
	}
	return all
}

// Each link of a page to another file, or to a heading, leads somewhere.
func TestLinks(t *testing.T) {
	atRoot(t)
	for _, page := range append(pages(t), "bench/results/report.md") {
		text := prose(document(t, page))
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			_, err := os.Stat(target)
			if err != nil {
				t.Errorf("%s: no %s", page, m[1])
			} else if anchor != "" && !slices.Contains(anchors(document(t, target)), anchor) {
				t.Errorf("%s: no heading for %s", page, m[1])
			}
		}
	}
}

// A page with more than five headings below its title has a table of contents, and
// each of these headings is in it, in order.
func TestContents(t *testing.T) {
	atRoot(t)
	for _, page := range pages(t) {
		text := document(t, page)
		if filepath.Base(page) == "README.md" || filepath.Base(page) == "CONTRIBUTING.md" {
			continue // short enough to be seen whole, held by their own tests
		}
		var want []string
		for _, m := range headingLine.FindAllStringSubmatch(prose(text), -1) {
			if m[1] == "##" {
				want = append(want, "- ["+strings.ReplaceAll(m[2], "`", "")+"](#"+anchors("## " + m[2])[0]+")")
			}
		}
		if len(want) > 5 && !strings.Contains(text, "**Contents**\n\n"+strings.Join(want, "\n")+"\n") {
			t.Errorf("%s: want a table of contents:\n**Contents**\n\n%s", page, strings.Join(want, "\n"))
		}
	}
}

// Each page opens with its reader and the question that it answers.
func TestPagesSayForWhom(t *testing.T) {
	atRoot(t)
	for _, page := range pages(t) {
		if page == "README.md" || strings.HasPrefix(page, "examples/") {
			continue
		}
		title, rest, _ := strings.Cut(document(t, page), "\n")
		require.Regexp(t, `^# \w`, title, page)
		require.Regexp(t, `^\n(For|This page is for) `, rest, page)
	}
}

// Prose in documents has one sentence a line, so that a change of a sentence is a
// change of a line. A sentence may follow a lead in bold letters.
func TestOneSentenceALine(t *testing.T) {
	atRoot(t)
	span := regexp.MustCompile("`[^`]*`")
	two := regexp.MustCompile(`[a-z)x][.?!] +[A-Z]`)
	for _, page := range pages(t) {
		for line := range strings.Lines(prose(document(t, page))) {
			if strings.HasPrefix(line, "|") {
				continue
			}
			if short := span.ReplaceAllString(line, "x"); two.MatchString(short) {
				t.Errorf("%s: two sentences in a line: %s", page, line)
			}
		}
	}
}

// docs/README.md leads to every page.
func TestIndexIsWhole(t *testing.T) {
	atRoot(t)
	index := document(t, "docs/README.md")
	for _, page := range pages(t) {
		switch name := filepath.ToSlash(page); {
		case name == "docs/README.md", name == "README.md", name == "CHANGELOG.md":
		case filepath.Dir(name) == ".":
			require.Contains(t, index, "(../"+name+")")
		case filepath.Dir(name) == "docs":
			require.Contains(t, index, "("+filepath.Base(name))
		case strings.HasPrefix(name, "docs/"):
			require.Contains(t, index, "("+strings.TrimPrefix(name, "docs/"))
		}
	}
	require.Contains(t, document(t, "README.md"), "(CHANGELOG.md)")
}

// The version of Go that the documents ask for is that of go.mod.
func TestGoVersionIsDocumented(t *testing.T) {
	atRoot(t)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(document(t, "go.mod"))
	require.NotNil(t, version)
	for _, page := range []string{"README.md", "CONTRIBUTING.md"} {
		require.Contains(t, document(t, page), "Go "+version[1]+" or newer", page)
	}
}
