package program

import (
	"net/netip"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

func TestListenFlagsReachOptions(t *testing.T) {
	for _, c := range []struct {
		args []string
		want engine.Options
	}{
		{nil, engine.Options{}},
		{[]string{"--trusted-proxy", "10.0.0.0/8,203.0.113.7"},
			engine.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("203.0.113.7/32")}}},
		{[]string{"--trusted-proxy", "unix", "--trusted-proxy", "::1"},
			engine.Options{TrustUnixSockets: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("::1/128")}}},
		{[]string{"--trusted-proxy", "unix", "--client-header", "X-Real-IP"}, engine.Options{TrustUnixSockets: true, ClientHeader: "X-Real-IP"}},
	} {
		f := parsed(t, c.args...)
		var o engine.Options
		require.NoError(t, f.applyListening(&o), "%q", c.args)
		require.Equal(t, c.want, o, "%q", c.args)
		_, err := engine.New(o, engine.Events{})
		require.NoError(t, err)
	}
}

func TestAddresses(t *testing.T) {
	require.Equal(t, []string{":3000"}, parsed(t).Addr)
	require.Equal(t, []string{":1", "unix:/a", "[::1]:2"}, parsed(t, "--addr", ":1,unix:/a", "--addr", "[::1]:2").Addr)
}

func TestSocketMode(t *testing.T) {
	for text, want := range map[string]uint32{"660": 0o660, "0600": 0o600, "777": 0o777, "0": 0, "1777": 0, "8": 0, "": 0, "rw": 0, "-1": 0} {
		mode, err := (&listenFlags{SocketMode: text}).mode()
		require.EqualValues(t, want, mode, "%q", text)
		require.Equal(t, want == 0, err != nil, "%q", text)
	}
}
