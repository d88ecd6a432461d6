package program

import (
	"net/netip"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

func TestProxyFlagsReachOptions(t *testing.T) {
	for _, c := range []struct {
		args []string
		want engine.Options
	}{
		{nil, engine.Options{}},
		{[]string{"--trusted-proxy", "10.0.0.0/8,203.0.113.7"},
			engine.Options{Proxies: engine.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("203.0.113.7/32")}}}},
		{[]string{"--trusted-proxy", "unix", "--trusted-proxy", "::1"},
			engine.Options{Proxies: engine.Proxies{TrustUnixSockets: true, Trusted: []netip.Prefix{netip.MustParsePrefix("::1/128")}}}},
		{[]string{"--trusted-proxy", "unix", "--client-header", "X-Real-IP"}, engine.Options{Proxies: engine.Proxies{TrustUnixSockets: true, ClientHeader: "X-Real-IP"}}},
	} {
		f := parsed(t, c.args...)
		var o engine.Options
		require.NoError(t, f.proxyFlags.apply(&o), "%q", c.args)
		require.Equal(t, c.want, o, "%q", c.args)
		_, err := engine.New(o, engine.Events{})
		require.NoError(t, err)
	}
}
