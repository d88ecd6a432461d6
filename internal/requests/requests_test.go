package requests

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoad(t *testing.T) {
	cases, err := Load()
	require.NoError(t, err)
	page, err := os.ReadFile("../../docs/conformance.md")
	require.NoError(t, err)
	require.Contains(t, string(page), fmt.Sprintf("holds %d requests", len(cases)), "the page and the table")

	for _, row := range counted(cases) {
		require.Contains(t, string(page), row, "the page and the table")
	}

	names, texts := map[string]bool{}, map[string]string{}
	for _, c := range cases {
		name := c.Topic + ": " + c.Name
		require.False(t, names[name], "two rows are called %q", name)
		names[name] = true
		require.Empty(t, texts[c.text], "%s is the same request", name)
		texts[c.text] = name
		require.Regexp(t, `^(9110|9112|9113|6455|6874|3986|1945|7617) [\d.]+$`, c.Section, name)
		require.Equal(t, c.Status == 0, c.Fate == Mute || c.Fate == Wait, name)
		require.False(t, c.Lenient && (c.Strict || c.Payload != "" || c.Opens), name)
	}
}

// counted is what the page says of how many rows have what verdict.
func counted(cases []Case) []string {
	var served, kept, closed, mute, waits, stricter, lenient int
	for _, c := range cases {
		switch {
		case c.Fate == Mute:
			mute++
		case c.Fate == Wait:
			waits++
		case c.Status < 400:
			served++
		case c.Fate == Keep:
			kept++
		default:
			closed++
		}
		if c.Lenient {
			stricter++
		}
		if c.Strict {
			lenient++
		}
	}
	return []string{
		fmt.Sprintf("| served as asked | %d |", served),
		fmt.Sprintf("an unknown id | %d |", kept),
		fmt.Sprintf("500, 501, 505 | %d |", closed),
		fmt.Sprintf("somebody else's upgrade | %d |", mute),
		fmt.Sprintf("more has to come | %d |", waits),
		fmt.Sprintf("| compared with `net/http` | %d mean the same", len(cases)-stricter-lenient),
		fmt.Sprintf(" %d it takes and we do not, %d we take", stricter, lenient),
	}
}

func TestUnescape(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`GET / HTTP/1.1\r\n`, "GET / HTTP/1.1\r\n"},
		{`\0\t\x80\xff\\`, "\x00\t\x80\xff\\"},
		{`{a*3}{\r\n*2}`, "aaa\r\n\r\n"},
		{`{*5}`, ""},
		{`{path}`, "/engine.io/?EIO=4&transport=polling"},
	} {
		got, err := unescape(c.in)
		require.NoError(t, err, c.in)
		require.Equal(t, c.want, got)
	}
	for _, in := range []string{`\`, `\x8`, `\q`, `{`, `{what}`, `{a*b}`, `\u00e4`} {
		_, err := unescape(in)
		require.Error(t, err, in)
	}
}

func TestParseCase(t *testing.T) {
	c, err := parseCase(`200 keep 4a | 9112 6.3 | a | b`, `POST {session}{}c`)
	require.NoError(t, err)
	require.Equal(t, "POST /engine.io/?EIO=4&transport=polling&sid=Xbc", string(c.Request("X")))
	require.Equal(t, "POST", c.Method())
	require.Equal(t, Case{Name: "a", Section: "9112 6.3", Status: 200, Fate: Keep, Payload: "4a", text: c.text}, c)

	for _, line := range []string{"200 keep | a | b", "keep | a | b | c", "200 | a | b | c", "200 go | a | b | c", "200 keep a | a | b | c", `400 close | a | b | \`} {
		_, err := parseCase(line, "{}")
		require.Error(t, err, line)
	}
}
