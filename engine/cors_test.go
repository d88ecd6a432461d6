package engine

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"turbine/httpparse"
)

func corsRequest(headers string) *httpparse.Request {
	r := &httpparse.Request{}
	for line := range strings.SplitSeq(headers, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			r.Headers = append(r.Headers, httpparse.Header{Name: []byte(name), Value: []byte(value)})
		}
	}
	return r
}

// lines makes a table's row of a response's header fields.
func lines(dst []byte) string {
	return strings.ReplaceAll(strings.TrimSuffix(string(dst), "\r\n"), "\r\n", "\n")
}

// The results are those of the express middleware cors, which the reference
// server uses.
func TestCORSHeaders(t *testing.T) {
	const methods = "Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE\n"
	const allow, credentials = "Access-Control-Allow-Origin: ", "Access-Control-Allow-Credentials: true\n"
	pattern := []*regexp.Regexp{regexp.MustCompile(`^https://[a-z]+\.good\.com$`)}
	for _, c := range []struct {
		name      string
		cors      CORS
		request   string
		actual    string
		preflight string
	}{
		{"any", CORS{Origins: []string{"*"}}, "Origin: https://a\nAccess-Control-Request-Headers: my-header",
			allow + "*\n",
			allow + "*\n" + methods + "Vary: Access-Control-Request-Headers\nAccess-Control-Allow-Headers: my-header\n"},
		{"any, no Origin", CORS{Origins: []string{"*"}}, "",
			allow + "*\n",
			allow + "*\n" + methods + "Vary: Access-Control-Request-Headers\n"},
		{"any, fixed headers", CORS{Origins: []string{"*"}, Headers: []string{"a", "b"}}, "",
			allow + "*\n",
			allow + "*\n" + methods + "Access-Control-Allow-Headers: a,b\n"},
		{"echo", CORS{AnyOrigin: true, Headers: []string{"my-header"}, Credentials: true}, "Origin: https://a",
			allow + "https://a\nVary: Origin\n" + credentials,
			allow + "https://a\nVary: Origin\n" + credentials + methods + "Access-Control-Allow-Headers: my-header\n"},
		{"echo null", CORS{AnyOrigin: true}, "origin: null",
			allow + "null\nVary: Origin\n",
			allow + "null\nVary: Origin, Access-Control-Request-Headers\n" + methods},
		{"echo, no Origin", CORS{AnyOrigin: true}, "",
			"Vary: Origin\n",
			"Vary: Origin, Access-Control-Request-Headers\n" + methods},
		{"list without match", CORS{Origins: []string{"https://good.com"}}, "Origin: https://bad.com",
			"Vary: Origin\n",
			"Vary: Origin, Access-Control-Request-Headers\n" + methods},
		{"list without match, credentials", CORS{Origins: []string{"https://good.com"}, Credentials: true}, "Origin: https://bad.com",
			"Vary: Origin\n" + credentials,
			"Vary: Origin, Access-Control-Request-Headers\n" + credentials + methods},
		{"list", CORS{Origins: []string{"https://good.com", "http://other:81"}}, "Origin: http://other:81",
			allow + "http://other:81\nVary: Origin\n",
			allow + "http://other:81\nVary: Origin, Access-Control-Request-Headers\n" + methods},
		{"case counts", CORS{Origins: []string{"https://good.com"}}, "Origin: https://Good.com", "Vary: Origin\n",
			"Vary: Origin, Access-Control-Request-Headers\n" + methods},
		{"no prefix", CORS{Origins: []string{"https://good.com"}}, "Origin: https://good.com.bad.com", "Vary: Origin\n",
			"Vary: Origin, Access-Control-Request-Headers\n" + methods},
		{"pattern", CORS{Patterns: pattern}, "Origin: https://sub.good.com",
			allow + "https://sub.good.com\nVary: Origin\n",
			allow + "https://sub.good.com\nVary: Origin, Access-Control-Request-Headers\n" + methods},
		{"pattern without match", CORS{Patterns: pattern}, "Origin: https://good.com", "Vary: Origin\n",
			"Vary: Origin, Access-Control-Request-Headers\n" + methods},
		{"asked", CORS{Origins: []string{"https://b"}, Patterns: pattern, Allow: func(o string) bool { return o == "https://a" }}, "Origin: https://a",
			allow + "https://a\nVary: Origin\n",
			allow + "https://a\nVary: Origin, Access-Control-Request-Headers\n" + methods},
		{"refused", CORS{Allow: func(string) bool { return false }}, "Origin: https://a", "Vary: Origin\n",
			"Vary: Origin, Access-Control-Request-Headers\n" + methods},
		{"not asked without Origin", CORS{Allow: func(string) bool { panic("asked") }}, "Origin: \nHost: a", "Vary: Origin\n",
			"Vary: Origin, Access-Control-Request-Headers\n" + methods},
		{"zero", CORS{}, "Origin: https://a", "Vary: Origin\n",
			"Vary: Origin, Access-Control-Request-Headers\n" + methods},
		{"empty request headers", CORS{AnyOrigin: true}, "Origin: https://a\nAccess-Control-Request-Headers: ",
			allow + "https://a\nVary: Origin\n",
			allow + "https://a\nVary: Origin, Access-Control-Request-Headers\n" + methods},
		{"full", CORS{
			Origins: []string{"https://a"}, Methods: []string{"GET", "PUT"}, Headers: []string{"my-header", "x"},
			ExposedHeaders: []string{"e1", "e2"}, Credentials: true, MaxAge: 123900 * time.Millisecond, PreflightStatus: 200,
		}, "Origin: https://a\nAccess-Control-Request-Headers: other",
			allow + "https://a\nVary: Origin\n" + credentials + "Access-Control-Expose-Headers: e1,e2\n",
			allow + "https://a\nVary: Origin\n" + credentials + "Access-Control-Allow-Methods: GET,PUT\nAccess-Control-Allow-Headers: my-header,x\n" +
				"Access-Control-Max-Age: 123\nAccess-Control-Expose-Headers: e1,e2\n"},
		{"nothing splits the response", CORS{AnyOrigin: true}, "Origin: https://a\r\rX: b\x00\nAccess-Control-Request-Headers: a\r b",
			allow + "https://a  X: b \nVary: Origin\n",
			allow + "https://a  X: b \nVary: Origin, Access-Control-Request-Headers\n" + methods + "Access-Control-Allow-Headers: a  b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, c.cors.check())
			r := corsRequest(c.request)
			allowed := c.cors.allowsPage(r)
			require.Equal(t, strings.TrimSuffix("x\n"+c.actual, "\n"), lines(c.cors.appendHeaders([]byte("x\r\n"), r, allowed)))
			require.Equal(t, strings.TrimSuffix("x\n"+c.preflight, "\n"), lines(c.cors.appendPreflight([]byte("x\r\n"), r, allowed)))
		})
	}
	require.Equal(t, 204, (&CORS{}).preflightStatus())
	require.Equal(t, 200, (&CORS{PreflightStatus: 200}).preflightStatus())
	var none *CORS
	require.NoError(t, none.check())
	require.Nil(t, none.appendHeaders(nil, corsRequest("Origin: a"), false))
	require.False(t, none.allowsPage(corsRequest("Origin: a")))
	require.Nil(t, none.appendPreflight(nil, corsRequest("Origin: a"), false))
}

func TestCORSCheck(t *testing.T) {
	origins := func(o ...string) CORS { return CORS{Origins: o} }
	headers := []string{"X-A", "*", "!#$%&'*+-.^_`|~09azAZ"}
	bad := []string{"", "a b", "a,b", "a:", "a\r\nb", "é", "a\x00"}
	rows := map[string]struct{ good, bad []CORS }{
		"Origins": {
			[]CORS{
				origins("*"), origins("null"), origins("https://example.com", "http://localhost:3000"), origins("http://[::1]:80"),
				origins("capacitor://localhost"), origins("file://"), {Origins: []string{"https://a"}, Credentials: true},
			},
			[]CORS{
				origins(""), origins("example.com"), origins("https://example.com/"), origins("https://a/b"), origins("https://a?b"),
				origins("https://u@a"), origins("https://*.a"), origins("https://a b"), origins("https://a\r\nb"), origins("https://é"),
				origins("https://a", "http://b,http://c"), origins("://a"), origins("a b://c"), origins("//a"),
				origins("*", "https://a"), {Origins: []string{"*"}, Credentials: true}, {Origins: []string{"*"}, AnyOrigin: true},
				{Origins: []string{"*"}, Allow: func(string) bool { return true }},
				{Origins: []string{"*"}, Patterns: []*regexp.Regexp{regexp.MustCompile("a")}},
			},
		},
		"Patterns":       {[]CORS{{Patterns: []*regexp.Regexp{regexp.MustCompile("a")}}}, []CORS{{Patterns: []*regexp.Regexp{nil}}}},
		"Allow":          {[]CORS{{Allow: func(string) bool { return false }}}, nil},
		"AnyOrigin":      {[]CORS{{AnyOrigin: true, Credentials: true}}, nil},
		"Methods":        {[]CORS{{Methods: headers}}, nil},
		"Headers":        {[]CORS{{Headers: headers}}, nil},
		"ExposedHeaders": {[]CORS{{ExposedHeaders: headers}}, nil},
		"Credentials":    {[]CORS{{Credentials: true}}, nil},
		"MaxAge": {
			[]CORS{{MaxAge: time.Second}, {MaxAge: 1 << 62}},
			[]CORS{{MaxAge: time.Second - 1}, {MaxAge: -time.Hour}},
		},
		"PreflightStatus": {
			[]CORS{{PreflightStatus: 200}, {PreflightStatus: 299}},
			[]CORS{{PreflightStatus: 199}, {PreflightStatus: 300}, {PreflightStatus: -1}},
		},
		"PreflightContinue": {[]CORS{{PreflightContinue: true}}, nil},
	}
	for _, value := range bad {
		for _, list := range []string{"Methods", "Headers", "ExposedHeaders"} {
			var c CORS
			reflect.ValueOf(&c).Elem().FieldByName(list).Set(reflect.ValueOf([]string{"ok", value}))
			row := rows[list]
			row.bad = append(row.bad, c)
			rows[list] = row
		}
	}
	for i := range reflect.TypeFor[CORS]().NumField() {
		require.Contains(t, rows, reflect.TypeFor[CORS]().Field(i).Name)
	}
	for field, row := range rows {
		for _, c := range row.good {
			require.NoError(t, c.check(), "%+v", c)
		}
		for _, c := range row.bad {
			err := c.check()
			require.ErrorIs(t, err, ErrOptions, "%+v", c)
			require.ErrorContains(t, err, "CORS."+field)
		}
	}
}

func TestCORSAllocs(t *testing.T) {
	c := CORS{
		Origins: []string{"https://b", "https://a"}, Methods: []string{"GET"}, ExposedHeaders: []string{"e"},
		Credentials: true, MaxAge: time.Hour,
	}
	r := corsRequest("Origin: https://a\nAccess-Control-Request-Headers: x")
	dst := make([]byte, 0, 512)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		dst = c.appendPreflight(c.appendHeaders(dst[:0], r, c.allowsPage(r)), r, true)
	}))
}
