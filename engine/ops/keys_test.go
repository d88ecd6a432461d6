package ops

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	keyOne = "one-0123456789abcdef"
	keyTwo = "two-0123456789abcdef"
)

func TestParseKeys(t *testing.T) {
	keys, err := ParseKeys([]byte("# comment\n\n  # another\r\nann health,drain " + keyOne + "\r\n\tbob\tread\t" + keyTwo + "\nann metrics -\ncarl publish,sessions,debug -"))
	require.NoError(t, err)
	for _, c := range []struct {
		key, name, may string
	}{
		{keyOne, "ann", "health drain"},
		{keyTwo, "bob", "read"},
		{noKey, "", ""},
		{"", "", ""},
		{keyOne + "x", "", ""},
		{keyOne[:19], "", ""},
	} {
		name, may, ok := keys.find(c.key)
		require.Equal(t, c.name != "", ok, "%q", c.key)
		require.Equal(t, c.name, name, "%q", c.key)
		require.Equal(t, c.may, namesOf(may), "%q", c.key)
	}
	for name, want := range map[string]string{"ann": "health metrics drain", "carl": "publish sessions debug", "": "", "eve": ""} {
		may, ok := keys.named(name)
		require.Equal(t, want != "", ok, name)
		require.Equal(t, want, namesOf(may), name)
	}
}

func namesOf(set scopes) string {
	var names []string
	for i := range Scope(numScopes) {
		if set.has(i) {
			names = append(names, i.String())
		}
	}
	return strings.Join(names, " ")
}

// What is wrong with a file is told with its line, what to write, and no key.
func TestParseKeysSaysWhatIsWrong(t *testing.T) {
	many := strings.Repeat("#\n", 6)
	for _, c := range []struct{ file, want string }{
		{"", "there is no key in the file; a line is: name scope,scope key"},
		{"# only\n", "there is no key in the file; a line is: name scope,scope key"},
		{many + "ann " + keyOne, "line 7: 2 words; want three: name scope,scope key"},
		{"ann health " + keyOne + " more", "line 1: 4 words; want three: name scope,scope key"},
		{"ann heath " + keyOne, `line 1: "heath" is no scope; there are health, metrics, read, publish, sessions, debug, drain, payloads`},
		{"ann health, " + keyOne, `line 1: "" is no scope; there are health, metrics, read, publish, sessions, debug, drain, payloads`},
		{"ann health secret", "line 1: the key is not 16 to 256 visible ASCII characters; `openssl rand -hex 32` makes one"},
		{"ann health secret-with-ümlaut", "line 1: the key is not 16 to 256 visible ASCII characters; `openssl rand -hex 32` makes one"},
		{"ann health " + strings.Repeat("x", 257), "line 1: the key is not 16 to 256 visible ASCII characters; `openssl rand -hex 32` makes one"},
		{strings.Repeat("n", 65) + " health " + keyOne, "line 1: the name is not 1 to 64 visible ASCII characters"},
		{"ann health " + keyOne + "\nbob drain " + keyOne, "line 2: the key is already that of ann; give each line a key of its own"},
		{strings.Repeat(" ", maxFile+1), "the file has 1048577 bytes; at most 1048576 are read"},
		{strings.Repeat("n health -\n", maxKeys+1), "line 1001: more than 1000 keys"},
	} {
		keys, err := ParseKeys([]byte(c.file))
		require.EqualError(t, err, c.want)
		require.Nil(t, keys)
		for _, secret := range []string{keyOne, "secret"} {
			require.NotContains(t, err.Error(), secret)
		}
	}
}

// Whatever is in a file, what is taken from it can be used, and an error is one line.
func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("ann health,drain " + keyOne + "\n# x\n"))
	f.Add([]byte("a b c d\n"))
	f.Add([]byte("a health -\na metrics -"))
	f.Fuzz(func(t *testing.T, file []byte) {
		keys, err := ParseKeys(file)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, len(err.Error()), 600)
			return
		}
		require.NotEmpty(t, keys.all)
		for _, k := range keys.all {
			require.NotZero(t, k.scopes)
			may, ok := keys.named(k.name)
			require.True(t, ok)
			require.Equal(t, k.scopes, k.scopes&may)
		}
	})
}

func TestScopes(t *testing.T) {
	for i := range Scope(numScopes) {
		scope, err := ParseScope(i.String())
		require.NoError(t, err)
		require.Equal(t, i, scope)
		require.True(t, allScopes.has(i))
	}
	require.Equal(t, "unknown", fmt.Sprint(Scope(numScopes)))
}
