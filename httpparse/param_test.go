package httpparse

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNextParam(t *testing.T) {
	cases := []struct {
		name, in string
		want     []string // key, value, key, value ...; "-" for a nil value
	}{
		{"nothing", "", nil},
		{"ampersands only", "&&&", nil},
		{"one", "a=b", []string{"a", "b"}},
		{"engine.io", "EIO=4&transport=polling&t=x.1", []string{"EIO", "4", "transport", "polling", "t", "x.1"}},
		{"empty pieces", "&&a=b&&&c=d&&", []string{"a", "b", "c", "d"}},
		{"no sign", "a&b=c&d", []string{"a", "-", "b", "c", "d", "-"}},
		{"empty value", "a=&b=", []string{"a", "", "b", ""}},
		{"empty key", "=a&=", []string{"", "a", "", ""}},
		{"two signs", "a=b=c", []string{"a", "b=c"}},
		{"same key", "a=1&a=2", []string{"a", "1", "a", "2"}},
		{"semicolon is no end", "a=1;b=2", []string{"a", "1;b=2"}},
		{"raw", "%61+=%3d%26&x", []string{"%61+", "%3d%26", "x", "-"}},
		{"mark", "?a=?", []string{"?a", "?"}},
	}
	for _, c := range cases {
		var got []string
		var key, value []byte
		for query := []byte(c.in); len(query) > 0; {
			if key, value, query = NextParam(query); key == nil {
				require.Empty(t, query)
				break
			}
			got = append(got, string(key), string(value))
			if value == nil {
				got[len(got)-1] = "-"
			}
		}
		require.Equal(t, c.want, got, "%s: %q", c.name, c.in)
	}
	key, value, rest := NextParam([]byte("&a=b&&"))
	require.Equal(t, "a b", string(key)+" "+string(value))
	require.Empty(t, rest)
}

func TestUnescape(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"nothing to do", "polling-._~*", "polling-._~*"},
		{"plus", "a+b++", "a b  "},
		{"percent", "%41%7a%4A", "AzJ"},
		{"any byte", "%00%ff%0d%0A", "\x00\xff\r\n"},
		{"escaped plus", "%2b%2B", "++"},
		{"escaped percent is not read again", "%2541", "%41"},
		{"cut short", "a%", "a%"},
		{"cut short by one", "a%4", "a%4"},
		{"no digits", "%zz%g1%1g", "%zz%g1%1g"},
		{"percent twice", "%%41", "%A"},
		{"percent thrice", "%%%", "%%%"},
		{"sign", "%+1%-1", "% 1%-1"},
		{"raw bytes stay", "\xc3\xa4\x00", "\xc3\xa4\x00"},
		{"front stays", "abc%20d", "abc d"},
		{"last three", "%20", " "},
	}
	for _, c := range cases {
		require.Equal(t, c.want, string(Unescape([]byte(c.in))), "%s: %q", c.name, c.in)
	}
	p := []byte("a%20b&next=%20")
	got := Unescape(p[:5])
	require.Same(t, &p[0], &got[0])
	require.Equal(t, "&next=%20", string(p[5:]), "writes only into its own bytes")
}

func FuzzParam(f *testing.F) {
	for _, in := range []string{"", "&", "EIO=4&transport=polling", "a=%41+b&&c", "%", "a=%zz;%4", "==&=", "%25%32%35"} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var want []string
		for piece := range strings.SplitSeq(string(in), "&") {
			if piece != "" {
				key, value, _ := strings.Cut(piece, "=")
				want = append(want, unescapeSlowly(key), unescapeSlowly(value))
			}
		}
		var got []string
		var key, value []byte
		p := bytes.Clone(in)
		for query := p; len(query) > 0; {
			if key, value, query = NextParam(query); key != nil {
				got = append(got, string(Unescape(key)), string(Unescape(value)))
			}
		}
		require.Equal(t, want, got, "%q", in)

		// Where the standard library understands the query, it says the same.
		if values, err := url.ParseQuery(string(in)); err == nil {
			mine := url.Values{}
			for i := 0; i < len(got); i += 2 {
				mine.Add(got[i], got[i+1])
			}
			require.Equal(t, values, mine, "%q", in)
		}
	})
}

// unescapeSlowly is Unescape by the letter of the standard.
func unescapeSlowly(s string) string {
	var b strings.Builder
	for s != "" {
		if len(s) >= 3 && s[0] == '%' {
			if one, err := url.PathUnescape(s[:3]); err == nil {
				b.WriteString(one)
				s = s[3:]
				continue
			}
		}
		b.WriteString(strings.Replace(s[:1], "+", " ", 1))
		s = s[1:]
	}
	return b.String()
}
