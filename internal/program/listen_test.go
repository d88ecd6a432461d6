package program

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddresses(t *testing.T) {
	require.Equal(t, []string{":3000"}, parsed(t).Addr)
	require.Equal(t, []string{":1", "unix:/a", "[::1]:2"}, parsed(t, "--addr", ":1,unix:/a", "--addr", "[::1]:2").Addr)
}

// What is right on some machine is left to listen.
func TestAddressesThatMayBe(t *testing.T) {
	require.NoError(t, checkAddresses("--addr", []string{":0", ":http", "127.0.0.1:65535", "[::1]:3000", "no.such.host:1", "unix:relative", "unix:/a:b"}))
}

func TestSocketMode(t *testing.T) {
	for text, want := range map[string]uint32{"660": 0o660, "0600": 0o600, "777": 0o777, "0": 0, "1777": 0, "8": 0, "": 0, "rw": 0, "-1": 0} {
		mode, err := (&listenFlags{SocketMode: text}).mode()
		require.EqualValues(t, want, mode, "%q", text)
		require.Equal(t, want == 0, err != nil, "%q", text)
	}
}
