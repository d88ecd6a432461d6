package cluster

import (
	"hash/fnv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSubjects(t *testing.T) {
	s := subjectsOf("shop")
	for _, row := range []struct{ got, want string }{
		{s.nodes(), "turbine.shop.node"},
		{s.node(0xa1), "turbine.shop.node.000000a1"},
		{s.who(0xdeadbeef), "turbine.shop.who.deadbeef"},
		{s.query(), "turbine.shop.q"},
		{s.all(), "turbine.shop.all"},
		{s.users(), "turbine.shop.users"},
		{s.part(0), "turbine.shop.p.0.*"},
		{s.part(255), "turbine.shop.p.255.*"},
	} {
		require.Equal(t, row.want, row.got)
	}
}

// What stands in a subject is one token of NATS, whatever a group is called: no dots,
// wildcards, spaces or control characters, and never empty.
func TestGroupsHaveSubjectsOfTheirOwn(t *testing.T) {
	long := strings.Repeat("a", 64)
	names := []string{"room", "Room_1-x", long, long + "a", "", ".", "a.b", "*", ">", "a b", "a\r\nPUB x 0", "größe", "~", "\xff", "~n4bQgYhMfWWaL-qgxVrQFa"}
	seen := map[string]string{}
	for _, name := range names {
		token := groupToken(name)
		require.Equal(t, token == name, isToken(name, 64), "%q", name)
		require.True(t, isToken(strings.TrimPrefix(token, "~"), 64), "%q: %q", name, token)
		require.Empty(t, seen[token], "%q and %q", name, seen[token])
		seen[token] = name + "."
		require.Equal(t, subjectsOf("c").group(name), strings.TrimSuffix(subjectsOf("c").part(partOf(name)), "*")+token)
	}
	require.Equal(t, "~47DEQpj8HBSa-_TImW-5JC", groupToken(""))
}

func TestPartIsFNV1a(t *testing.T) {
	for _, name := range []string{"", "a", "room", "größe", strings.Repeat("x", 1000)} {
		h := fnv.New32a()
		h.Write([]byte(name))
		require.EqualValues(t, h.Sum32()%256, partOf(name), name)
	}
}
