package engine

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCookieAppend(t *testing.T) {
	const sid = "0Aa-_9zZ"
	expires := time.Date(2030, time.January, 2, 4, 4, 5, 999, time.FixedZone("", 3600))
	for _, c := range []struct {
		name   string
		cookie Cookie
		want   string
	}{
		{"default", Cookie{}, "io=" + sid + "; Path=/; HttpOnly; SameSite=Lax"},
		{"name", Cookie{Name: "woot"}, "woot=" + sid + "; Path=/; HttpOnly; SameSite=Lax"},
		{"path", Cookie{Path: "/custom"}, "io=" + sid + "; Path=/custom; HttpOnly; SameSite=Lax"},
		{"no path", Cookie{NoPath: true}, "io=" + sid + "; HttpOnly; SameSite=Lax"},
		{"no HttpOnly", Cookie{NoHTTPOnly: true}, "io=" + sid + "; Path=/; SameSite=Lax"},
		{"strict", Cookie{SameSite: SameSiteStrict}, "io=" + sid + "; Path=/; HttpOnly; SameSite=Strict"},
		{"none", Cookie{SameSite: SameSiteNone, Secure: true}, "io=" + sid + "; Path=/; HttpOnly; Secure; SameSite=None"},
		{"omit", Cookie{SameSite: SameSiteOmit}, "io=" + sid + "; Path=/; HttpOnly"},
		{"old server", Cookie{EveryResponse: true, SameSite: SameSiteOmit}, "io=" + sid + "; Path=/; HttpOnly"},
		{"bare", Cookie{NoPath: true, NoHTTPOnly: true, SameSite: SameSiteOmit}, "io=" + sid},
		{"floored", Cookie{MaxAge: 1999 * time.Millisecond}, "io=" + sid + "; Max-Age=1; Path=/; HttpOnly; SameSite=Lax"},
		{"a year", Cookie{MaxAge: 365 * 24 * time.Hour}, "io=" + sid + "; Max-Age=31536000; Path=/; HttpOnly; SameSite=Lax"},
		{"all", Cookie{
			Name: "a", Path: "/b", SameSite: SameSiteNone, Domain: ".c.example", MaxAge: time.Minute,
			Expires: expires, Secure: true, Partitioned: true, Priority: "High",
		}, "a=" + sid + "; Max-Age=60; Domain=.c.example; Path=/b; Expires=Wed, 02 Jan 2030 03:04:05 GMT" +
			"; HttpOnly; Secure; Partitioned; Priority=High; SameSite=None"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, c.cookie.check())
			require.Equal(t, "x\r\nSet-Cookie: "+c.want+"\r\n", string(c.cookie.append([]byte("x\r\n"), []byte(sid), false)))
			got, err := http.ParseSetCookie(c.want)
			require.NoError(t, err)
			require.Equal(t, sid, got.Value)
			require.NoError(t, got.Valid())
		})
	}
	var none *Cookie
	require.NoError(t, none.check())
	require.Nil(t, none.append(nil, []byte(sid), false))
}

// The value is that of encodeURIComponent, so no id can end it.
func TestCookieValue(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"abcXYZ019", "abcXYZ019"},
		{"-_.!~*'()", "-_.!~*'()"},
		{` "#$%&+,/:;<=>?@[\]^` + "`{|}", "%20%22%23%24%25%26%2B%2C%2F%3A%3B%3C%3D%3E%3F%40%5B%5C%5D%5E%60%7B%7C%7D"},
		{"\r\n\x00\x7f", "%0D%0A%00%7F"},
		{"é€", "%C3%A9%E2%82%AC"},
	} {
		require.Equal(t, c.want, string(appendURIComponent(nil, []byte(c.in))), "%q", c.in)
	}
}

func TestCookieCheck(t *testing.T) {
	year := func(y int) time.Time { return time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC) }
	long := strings.Repeat("a", 64)
	rows := map[string]struct{ good, bad []Cookie }{
		"Name": {
			[]Cookie{{Name: "__Host-io"}, {Name: "!#$%&'*+-.^_`|~09azAZ"}},
			[]Cookie{{Name: "a b"}, {Name: "a;b"}, {Name: "a=b"}, {Name: "a\r\nb"}, {Name: "é"}, {Name: "a\x00"}, {Name: "a,"}, {Name: "[a]"}},
		},
		"Path": {
			[]Cookie{{Path: "/"}, {Path: "/a b/%20,=\"~"}},
			[]Cookie{{Path: "a"}, {Path: "/a;b"}, {Path: "/\r\n"}, {Path: "/\x7f"}, {Path: "/é"}, {Path: "/\xff"}, {Path: "; Domain=x"}, {Path: "/", NoPath: true}},
		},
		"NoPath":     {[]Cookie{{NoPath: true}}, nil},
		"NoHTTPOnly": {[]Cookie{{NoHTTPOnly: true}}, nil},
		"SameSite":   {[]Cookie{{SameSite: SameSiteOmit}}, []Cookie{{SameSite: SameSiteOmit + 1}}},
		"Domain": {
			[]Cookie{{Domain: "example.com"}, {Domain: ".example.com"}, {Domain: "localhost"}, {Domain: "A-1.b"}, {Domain: "127.0.0.1"}, {Domain: long[1:]}},
			[]Cookie{{Domain: "."}, {Domain: "a..b"}, {Domain: "a."}, {Domain: "..a"}, {Domain: "-a"}, {Domain: "a-.b"}, {Domain: long}, {Domain: "a b"}, {Domain: "a;b"}, {Domain: "a\r\n"}, {Domain: "é.fr"}, {Domain: "http://a"}},
		},
		"MaxAge": {
			[]Cookie{{MaxAge: time.Second}, {MaxAge: 1 << 62}},
			[]Cookie{{MaxAge: -time.Second}, {MaxAge: time.Second - 1}},
		},
		"Expires": {
			[]Cookie{{Expires: year(1601)}, {Expires: year(9999)}},
			[]Cookie{{Expires: year(1600)}, {Expires: year(10000)}, {Expires: year(-1)}},
		},
		"Secure":      {[]Cookie{{Secure: true}}, nil},
		"Partitioned": {[]Cookie{{Partitioned: true}}, nil},
		"Priority": {
			[]Cookie{{Priority: "Low"}, {Priority: "Medium"}, {Priority: "High"}},
			[]Cookie{{Priority: "low"}, {Priority: "x"}, {Priority: "High; Domain=x"}, {Priority: "\r\n"}},
		},
		"EveryResponse": {[]Cookie{{EveryResponse: true}}, nil},
	}
	for i := range reflect.TypeFor[Cookie]().NumField() {
		require.Contains(t, rows, reflect.TypeFor[Cookie]().Field(i).Name)
	}
	for field, row := range rows {
		for _, c := range row.good {
			require.NoError(t, c.check(), "%+v", c)
			out := string(c.append(nil, []byte("a\r\nb;c"), false))
			require.Equal(t, 1, strings.Count(out, "\r\n"), "%q", out)
		}
		for _, c := range row.bad {
			err := c.check()
			require.ErrorIs(t, err, ErrOptions, "%+v", c)
			require.ErrorContains(t, err, "Cookie."+field)
		}
	}
}

func TestCookieAllocs(t *testing.T) {
	c := Cookie{MaxAge: time.Hour, Expires: time.Unix(2e9, 0), Domain: "a", Secure: true, Priority: "Low"}
	sid, dst := []byte("0123456789abcdef;"), make([]byte, 0, 512)
	require.Zero(t, testing.AllocsPerRun(100, func() { dst = c.append(dst[:0], sid, false) }))
}
