package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is kept of a refused request is what an operator needs, and no secret.
func TestLastRefusedSaysWhy(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name     string
		options  Options
		commands []string // the last one is refused
		want     RefusedRequest
	}{
		{"a page of another origin", Options{}, []string{hsPolling + " header=Origin:https://shop.example"}, RefusedRequest{Cause: CauseForeignOrigin, Value: "https://shop.example", Host: "turbine"}},
		{"that on WebSocket", Options{}, []string{hsWebSocket + " header=Origin:https://shop.example"}, RefusedRequest{Cause: CauseForeignOrigin, Value: "https://shop.example", Host: "turbine"}},
		{"a script element", Options{}, []string{hsPolling + " header=Sec-Fetch-Site:cross-site"}, RefusedRequest{Cause: CauseForeignOrigin, Host: "turbine"}},
		{"an origin that is long", Options{}, []string{hsPolling + " header=Origin:" + long}, RefusedRequest{Cause: CauseForeignOrigin, Value: long[:100] + "...", Host: "turbine"}},
		{"an origin that is no text", Options{}, []string{hsPolling + " header=Origin:\xff\xfe<b>"}, RefusedRequest{Cause: CauseForeignOrigin, Value: "\uFFFD<b>", Host: "turbine"}},
		{"a transport", Options{}, []string{"get EIO=4&transport=tube"}, RefusedRequest{Cause: CauseTransport, Value: "tube"}},
		{"a revision", Options{}, []string{"get EIO=5&transport=polling"}, RefusedRequest{Cause: CauseRevision, Value: "5"}},
		{"a method", Options{}, []string{"post EIO=4&transport=polling 4x"}, RefusedRequest{Cause: CauseMethod, Value: "POST"}},
		{"a session that is not there", Options{}, []string{"get EIO=4&transport=polling&sid=secret"}, RefusedRequest{Cause: CauseSID}},
		{"no place", Options{Limits: Limits{MaxSessions: 1}}, []string{hsPolling, hsWebSocket}, RefusedRequest{Cause: CauseSessions}},
		{"a binding", Options{Access: Access{Bind: BindHeader("Authorization")}}, []string{hsPolling, "post sid=A 4x header=Authorization:other"}, RefusedRequest{Cause: CauseBinding}},
	} {
		t.Run(c.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, loops int) {
				b := newSpec(t, loops, c.options, nil)
				last := len(c.commands) - 1
				b.play(c.commands[:last]...)
				require.Empty(t, b.server.LastRefused())
				b.play(c.commands[last])
				got := b.server.LastRefused()
				require.Len(t, got, 1)
				require.False(t, got[0].Time.IsZero())
				_, err := netip.ParseAddrPort(got[0].Client)
				require.NoError(t, err)
				got[0].Time, got[0].Client = time.Time{}, ""
				require.Equal(t, c.want, got[0])
				b.finish()
			})
		})
	}
}

// One a second of each cause is kept, and the newest is in front.
func TestLastRefusedKeepsOneASecond(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	from := func(origin string) string { return hsPolling + " header=Origin:" + origin }
	values := func() (all []string) {
		for _, r := range b.server.LastRefused() {
			all = append(all, r.Cause.String()+" "+r.Value)
		}
		return all
	}
	b.play(from("a"), from("b"), "get EIO=4&transport=tube", "get EIO=4&transport=pipe")
	require.Equal(t, []string{"transport_unknown tube", "foreign_origin a"}, values())
	b.play("advance 1s", from("c"))
	require.Equal(t, []string{"foreign_origin c", "transport_unknown tube", "foreign_origin a"}, values())
	b.play("advance 1s", from("a"))
	require.Equal(t, []string{"foreign_origin a", "foreign_origin c", "transport_unknown tube"}, values(), "the same is not kept twice")
	b.finish()
}

// A client that is refused for ever new values takes a bounded place, and none of that
// of other causes.
func TestLastRefusedIsBounded(t *testing.T) {
	var kept refusedRequests
	kept.keep(RefusedRequest{Cause: CauseTransport, Value: "tube"})
	for i := range 100 {
		kept.keep(RefusedRequest{Cause: CauseForeignOrigin, Value: fmt.Sprint(i)})
	}
	require.Len(t, kept.last, maxRefusedOfCause+1)
	require.Equal(t, "99", kept.last[0].Value)
	require.Equal(t, "tube", kept.last[maxRefusedOfCause].Value)
	for why := Cause(1); int(why) < NumCauses; why++ {
		kept.keep(RefusedRequest{Cause: why})
	}
	require.Len(t, kept.last, maxRefused)
	require.Equal(t, CauseUpgrade, kept.last[0].Cause)
	require.Equal(t, CauseUpgrade-maxRefused+1, kept.last[maxRefused-1].Cause)
}

// Of a request that is not at hand, the client is not said to be the proxy that has sent it.
func TestLastRefusedDoesNotNameAProxy(t *testing.T) {
	for trusted, named := range map[bool]bool{false: true, true: false} {
		o := Options{NoUpgrades: true}
		if trusted {
			o.Proxies.Trusted = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		}
		b := newSpec(t, 1, o, nil)
		b.play(hsPolling, "ws sid=A conn=a")
		require.Len(t, b.server.LastRefused(), 1)
		require.Equal(t, named, b.server.LastRefused()[0].Client != "")
		b.finish()
	}
}
