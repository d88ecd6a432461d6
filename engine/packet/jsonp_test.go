package packet

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The results are those of Node.js, JSON.stringify and the reference server's
// replacement of U+2028 and U+2029.
func TestAppendJSONP(t *testing.T) {
	for _, c := range []struct{ name, index, payload, want string }{
		{"handshake", "0", `0{"sid":"A"}`, `___eio[0]("0{\"sid\":\"A\"}");`},
		{"empty", "0", "", `___eio[0]("");`},
		{"no index", "", "2", `___eio[]("2");`},
		{"script in the index", "0](alert);//1", "2", `___eio[01]("2");`},
		{"short escapes", "1", "4\b\f\n\r\t\"\\/", `___eio[1]("4\b\f\n\r\t\"\\/");`},
		{"controls", "1", "\x00\x01\x0b\x0e\x1e\x1f\x7f", `___eio[1]("\u0000\u0001\u000b\u000e\u001e\u001f` + "\x7f" + `");`},
		{"record separator", "1", "4a\x1e4b", `___eio[1]("4a\u001e4b");`},
		{"line ends of JavaScript", "1", "a\u2028b\u2029c", `___eio[1]("a\u2028b\u2029c");`},
		{"beside them", "1", "\u2027\u202a", "___eio[1](\"\u2027\u202a\");"},
		{"no HTML", "1", "</script><!--&'", `___eio[1]("</script><!--&'");`},
		{"wide", "1", "é€😀\uffff", `___eio[1]("é€😀` + "\uffff" + `");`},
		{"invalid", "1", "a\xffb\xe2\x80", "___eio[1](\"a\uFFFDb\uFFFD\");"},
		{"surrogate", "1", "\xed\xa0\x80", "___eio[1](\"\uFFFD\uFFFD\uFFFD\");"},
		{"already replaced", "1", "\uFFFD", "___eio[1](\"\uFFFD\");"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, string(AppendJSONP(nil, []byte(c.index), []byte(c.payload))))
			require.Equal(t, "dst"+c.want, string(AppendJSONP([]byte("dst"), []byte(c.index), []byte(c.payload))))
		})
	}
}

func TestJSONPIndex(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0", "0"}, {"", ""}, {"abc12", "12"}, {"1.5e3", "153"}, {"-7", "7"},
		{"];alert(1);//", "1"}, {"%31", "31"}, {"٣", ""}, {"\xff0\x00", "0"}, {"00123456789", "00123456789"},
	} {
		require.Equal(t, c.want, string(JSONPIndex(nil, []byte(c.in))), "%q", c.in)
	}
}

// A browser gets back what was sent, whatever the text, and each code point
// comes to the same as in the standard library.
func TestJSONPRoundTrip(t *testing.T) {
	check := func(payload []byte) {
		out := AppendJSONP(nil, []byte("7"), payload)
		literal, ok := bytes.CutPrefix(out, []byte(`___eio[7](`))
		require.True(t, ok, "%q", out)
		literal, ok = bytes.CutSuffix(literal, []byte(`);`))
		require.True(t, ok, "%q", out)
		var got string
		require.NoError(t, json.Unmarshal(literal, &got), "%q", payload)
		require.Equal(t, string(appendReplaced(nil, payload)), got, "%q", payload)

		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		require.NoError(t, encoder.Encode(got))
		require.Equal(t, strings.TrimSuffix(want.String(), "\n"), string(literal), "%q", payload)
	}
	for r := range rune(0x3000) {
		check([]byte("x" + string(r) + "y"))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		payload := make([]byte, random.IntN(40))
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		check(payload)
	}
}

func TestJSONPBody(t *testing.T) {
	for _, c := range []struct {
		name, form, want string
		ok               bool
	}{
		{"message", "d=4hello", "4hello", true},
		{"percent", "d=4%22%5c%2B%e2%82%AC+x", "4\"\\+€ x", true},
		{"plain bytes", "d=4€\x1e4=b?;", "4€\x1e4=b?;", true},
		{"record separator", "d=4a%1E4b", "4a\x1e4b", true},
		{"a broken percent stands for itself", "d=%zz%4%", "%zz%4%", true},
		{"a percent late", "d=%2", "%2", true},
		{"decoded once", "d=%2531", "%31", true},
		{"empty", "d=", "", true},
		{"bare", "d", "", true},
		{"name in percents", "%64=1", "1", true},
		{"others beside it", "a=1&&d=4x&dd=2&D=3&=d&", "4x", true},

		{"none", "", "", false},
		{"missing", "a=1&b=2", "", false},
		{"empty pieces", "&&&", "", false},
		{"repeated", "d=1&d=2", "", false},
		{"repeated in percents", "d=1&%64=2", "", false},
		{"repeated bare", "d=1&a&d", "", false},
		{"name with plus", "+d=1", "", false},

		{"newline", `d=4a\nb`, "4a\nb", true},
		{"newline in percents", `d=4a%5Cnb`, "4a\nb", true},
		{"backslash n", `d=4a\\nb`, `4a\nb`, true},
		{"three and n", `d=4a\\\nb`, `4a\\nb`, true},
		{"four and n", `d=4a\\\\nb`, `4a\\\nb`, true},
		{"many", `d=\n\n\\n\n`, "\n\n\\n\n", true},
		{"other escapes stay", `d=\t\\t\`, `\t\\t\`, true},
		{"not joined", `d=\\\nn\`, `\\nn\`, true},
		{"capital", `d=\N`, `\N`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload, ok := JSONPBody([]byte(c.form))
			require.Equal(t, c.ok, ok)
			require.Equal(t, c.want, string(payload))
			for cut := range len(c.form) {
				requireJSONPBody(t, c.form[:cut])
			}
		})
	}
}

// What JSONPBody does not take is left alone.
func TestJSONPBodyKeepsOthers(t *testing.T) {
	for _, form := range []string{"d=%31&d=%32", "a=%31+\\n"} {
		p := []byte(form)
		_, ok := JSONPBody(p)
		require.False(t, ok)
		require.Equal(t, form, string(p))
	}
}

// The official client's form and back.
func TestJSONPPostRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pieces := append([]string{"\\n", "\\\\n", "\\", "n", "\n", "&", "+", "%", "%41", "d="}, alphabet...)
	for range 5000 {
		var text strings.Builder
		for range random.IntN(12) {
			text.WriteString(pieces[random.IntN(len(pieces))])
		}
		// The client doubles the backslash of backslash-n, and the browser's
		// form has no CR LF left to write.
		escaped := strings.ReplaceAll(text.String(), `\n`, `\\n`)
		if strings.Contains(text.String(), "\\\n") {
			continue // the client's own escape is ambiguous there
		}
		escaped = strings.ReplaceAll(escaped, "\n", `\n`)
		form := "d="
		for _, c := range []byte(escaped) {
			form += "%" + strconv.FormatUint(uint64(c)+0x100, 16)[1:]
		}
		got, ok := JSONPBody([]byte(form))
		require.True(t, ok)
		require.Equal(t, text.String(), string(got), "%q", form)
	}
}

var (
	percents    = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	slashes     = regexp.MustCompile(`(\\)?\\n`)
	doubleSlash = regexp.MustCompile(`\\\\n`)
)

// jsonpBody is JSONPBody as the reference server puts it.
func jsonpBody(form string) (string, bool) {
	decode := func(s string) string {
		return percents.ReplaceAllStringFunc(strings.ReplaceAll(s, "+", " "), func(s string) string {
			n, _ := strconv.ParseUint(s[1:], 16, 8)
			return string([]byte{byte(n)})
		})
	}
	var found []string
	for pair := range strings.SplitSeq(form, "&") {
		if key, value, _ := strings.Cut(pair, "="); decode(key) == "d" {
			found = append(found, decode(value))
		}
	}
	if len(found) != 1 {
		return "", false
	}
	text := slashes.ReplaceAllStringFunc(found[0], func(s string) string {
		if s == `\n` {
			return "\n"
		}
		return s
	})
	return doubleSlash.ReplaceAllString(text, `\n`), true
}

func requireJSONPBody(t *testing.T, form string) {
	t.Helper()
	want, wantOK := jsonpBody(form)
	got, ok := JSONPBody([]byte(form))
	require.Equal(t, wantOK, ok, "%q", form)
	require.Equal(t, want, string(got), "%q", form)
}

func FuzzJSONPBody(f *testing.F) {
	for _, form := range []string{
		"", "d=4hello", "a=1&d=%5Cn%5c%5Cn+", "d=1&d=2", "d", "%64=%", `d=\\\n\n`, "&&=&d=\xff%ff%1e",
	} {
		f.Add(form)
	}
	f.Fuzz(requireJSONPBody)
}

func TestJSONPAllocs(t *testing.T) {
	payload := []byte(strings.Repeat("4\"é\u2028\x00\xff plain", 20))
	dst := make([]byte, 0, 8*len(payload))
	form := []byte(`d=4a%22\nb\\n+c&x=1`)
	scratch := make([]byte, len(form))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		dst = AppendJSONP(dst[:0], []byte("0"), payload)
		copy(scratch, form)
		JSONPBody(scratch)
	}))
}

func BenchmarkAppendJSONP(b *testing.B) {
	payload := []byte(`4{"event":"message","text":"` + strings.Repeat("x", 900) + `"}`)
	dst := make([]byte, 0, 2*len(payload))
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendJSONP(dst[:0], []byte("0"), payload)
	}
}
