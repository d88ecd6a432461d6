package wsframe

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

var validTexts = []string{
	"",
	"Hello-µ@ßöäüàá-UTF-8!!",
	"κόσμε",
	"\x00", "\x7f", "\u0080", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff",
	"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", // around the surrogates, and U+FFFD itself
	"\xf4\x8f\xbf\xbf",
	"\xef\xbf\xbe", "\xf0\x9f\xbf\xbe", "\xf4\x8f\xbf\xbe", // noncharacters are characters
	"a\u0301\U0001f600z",
}

// invalidTexts: at is the number of bytes after which the text cannot become
// valid any more, 0 for one that is only cut off at its end.
var invalidTexts = []struct {
	text string
	at   int
}{
	{"\x80", 1}, {"\xbf", 1}, {"a\x80\xbfb", 2}, // continuation bytes of nothing
	{"\xc0\x20", 1}, {"\xc2\x20", 2}, {"\xe0\x20", 2}, {"\xf0\x20", 2}, // starts of nothing
	{"\xfe", 1}, {"\xff", 1}, {"\xf5\x80\x80\x80", 1}, {"\xf8\x88\x80\x80\x80", 1}, {"\xfc\x84\x80\x80\x80\x80", 1},
	{"\xc0\xaf", 1}, {"\xc1\xbf", 1}, {"\xe0\x80\xaf", 2}, {"\xe0\x9f\xbf", 2}, {"\xf0\x80\x80\xaf", 2}, {"\xf0\x8f\xbf\xbf", 2}, // overlong
	{"\xed\xa0\x80", 2}, {"\xed\xad\xbf", 2}, {"\xed\xbf\xbf", 2}, {"\xed\xa0\x80\xed\xb0\x80", 2}, // surrogates
	{"\xf4\x90\x80\x80", 2}, {"κόσμε\xf4\x90\x80\x80edited", 12}, {"κόσμε\xed\xa0\x80edited", 12}, // over U+10FFFF
	{"\xe2\x28\xa1", 2}, {"\xe2\x82\x28", 3}, {"\xf0\x90\x28\xbc", 3}, {"\xf0\x90\x80\x28", 4},
	{"\xc2", 0}, {"\xe2", 0}, {"\xe2\x82", 0}, {"\xf0", 0}, {"\xf0\x90", 0}, {"\xf0\x90\x80", 0}, {"abc\xf4\x8f\xbf", 0},
}

func TestCompleteRunes(t *testing.T) {
	for _, text := range validTexts {
		for i := range len(text) + 1 {
			n, ok := completeRunes([]byte(text[:i]))
			require.True(t, ok, "%x", text[:i])
			require.True(t, utf8.ValidString(text[:n]), "%x", text[:i])
			require.Less(t, i-n, utf8.UTFMax)
			if i == len(text) {
				require.Equal(t, i, n)
			}
		}
	}
	for _, c := range invalidTexts {
		for i := range len(c.text) + 1 {
			_, ok := completeRunes([]byte(c.text[:i]))
			require.Equal(t, c.at == 0 || i < c.at, ok, "%x cut at %d", c.text, i)
		}
	}
}

// What follows or precedes whole pieces of ASCII is also looked at.
func TestValidTextAmongASCII(t *testing.T) {
	ascii := []byte(strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", 4))
	texts := append([]string{}, validTexts...)
	for _, c := range invalidTexts {
		texts = append(texts, c.text)
	}
	for _, text := range texts {
		for at := range 70 {
			p := slices.Concat(ascii[:at], []byte(text), ascii[at:])
			require.Equal(t, utf8.Valid(p), ValidText(p), "%q", p)
		}
	}
	for bad := range 256 {
		for at := range 64 {
			p := slices.Clone(ascii[:64])
			p[at] = byte(bad)
			require.Equal(t, bad < 0x80, ValidText(p), "%x at %d", bad, at)
		}
	}
}

// Every prefix of up to three bytes can be completed if and only if some code
// point begins with it.
func TestCompleteRunesKnowsAllPrefixes(t *testing.T) {
	begins := map[string]bool{}
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if p := string(r); r != utf8.RuneError && len(p) > 1 {
			for i := 1; i < len(p); i++ {
				begins[p[:i]] = true
			}
		}
	}
	check := func(p ...byte) {
		if n, ok := completeRunes(p); n == 0 && ok != begins[string(p)] {
			t.Fatalf("%x: %v", p, ok)
		}
	}
	for a := 0x80; a < 0x100; a++ {
		check(byte(a))
		for b := range 0x100 {
			check(byte(a), byte(b))
			for _, c := range []byte{0, 'a', 0x80, 0x9f, 0xbf, 0xc0, 0xff} {
				check(byte(a), byte(b), c)
			}
		}
	}
}

// The same texts as messages: in one frame, cut into chunks, and as fragments
// of every size, with failure as early as the bytes allow.
func TestReaderText(t *testing.T) {
	givesBack(t)
	for _, text := range validTexts {
		want := []string{"1 " + text}
		everyCut(t, frame(ws.OpText, true, text), want, ErrIncomplete)
		for i := range len(text) + 1 {
			in := frame(ws.OpText, false, text[:i]) + frame(ws.OpContinuation, true, text[i:])
			got, err := feed([][]byte{[]byte(in)}, Limits{})
			require.Equal(t, want, got, "%x cut at %d", text, i)
			require.Equal(t, ErrIncomplete, err)
		}
	}
	for _, c := range invalidTexts {
		everyCut(t, frame(ws.OpText, true, c.text), nil, errText)
		for i := range len(c.text) + 1 {
			first := frame(ws.OpText, false, c.text[:i])
			_, err := feed([][]byte{[]byte(first)}, Limits{})
			if c.at == 0 || i < c.at {
				require.Equal(t, ErrIncomplete, err, "%x cut at %d", c.text, i)
			} else {
				require.Equal(t, errText, err, "%x cut at %d", c.text, i)
			}
			_, err = feed([][]byte{[]byte(first + frame(ws.OpContinuation, true, c.text[i:]))}, Limits{})
			require.Equal(t, errText, err, "%x cut at %d", c.text, i)

			// A byte a chunk: the very byte that makes it impossible ends it.
			if c.at > 0 {
				_, err = feed(bytewise(frame(ws.OpText, true, c.text+"more")[:6+c.at]), Limits{})
				require.Equal(t, errText, err, "%x", c.text)
				_, err = feed(bytewise(frame(ws.OpText, true, c.text+"more")[:6+c.at-1]), Limits{})
				require.Equal(t, ErrIncomplete, err, "%x", c.text)
			}
		}
	}
}
