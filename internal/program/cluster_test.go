package program

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"turbine/engine"
	"turbine/internal/certs"

	"github.com/stretchr/testify/require"
)

// What is wrong with the flags of a cluster is said in flags, with what to do.
func TestClusterFlags(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	key := "--cluster-key=" + file("key", strings.Repeat("k", 32), 0o600)
	short := file("short", "secret", 0o600)
	open := file("open", strings.Repeat("k", 32), 0o644)
	cert, certKey := certs.New(t).Issue(t, "localhost", nil).Write(t, dir)
	tls := []string{"--cluster-tls-cert=" + cert, "--cluster-tls-key=" + certKey, "--cluster-tls-ca=" + cert}
	const a = "--cluster=a"
	for _, c := range []struct {
		args []string
		want string // the error; "" for none
	}{
		{nil, ""},
		{[]string{"--node-name=paris-1"}, ""}, // for metrics
		{[]string{a}, ""},
		{[]string{a, "--cluster-join=127.0.0.1:6222,dns:localhost:6223", "--cluster-nats-listen=[::1]:6223", "--cluster-listen=localhost:7222"}, ""},
		{[]string{a, key, "--cluster-insecure", "--cluster-listen=0.0.0.0:7222", "--cluster-advertise=10.0.0.1:7222", "--cluster-nats-listen=0.0.0.0:6222", "--cluster-join=dns:turbine:6222"}, ""},
		{append([]string{a, key, "--cluster-listen=10.0.0.1:7222"}, tls...), ""},
		{[]string{a, "--cluster-nats=nats://user:secret@127.0.0.1:4222,tls://nats.example:4222"}, ""},

		{[]string{key}, "--cluster-key is for a node of a cluster; name the cluster by --cluster"},
		{[]string{"--cluster-join=127.0.0.1:6222"}, "--cluster-join is for a node of a cluster"},
		{[]string{"--cluster-listen=127.0.0.1:1"}, "--cluster-listen is for a node"},
		{[]string{"--cluster-nats=nats://127.0.0.1"}, "--cluster-nats is for a node"},
		{[]string{"--cluster-insecure"}, "--cluster-insecure is for a node"},
		{[]string{"--max-relays=5"}, "--max-relays is for a node"},
		{[]string{"--cluster=a b"}, `--cluster is "a b": it needs 1 to 64 letters`},
		{[]string{a, "--node-name=a\nb"}, "--node-name has more than 255 bytes, or control characters"},
		{[]string{a, "--max-relays=0"}, "--max-relays of 0 is below 1"},
		{[]string{a, "--cluster-key=" + short}, "the key has fewer than 32 bytes: make one with"},
		{[]string{a, "--cluster-key=" + open}, "--cluster-key: "},
		{[]string{a, "--cluster-key=/nowhere/key"}, "no such file"},
		{[]string{a, "--cluster-key=/dev/zero"}, "/dev/zero is no regular file"},
		{[]string{a, "--cluster-listen=10.0.0.1:7222"}, "--cluster-listen is 10.0.0.1:7222, which other machines reach, and there is no --cluster-key: give all nodes the same key"},
		{[]string{a, key, "--cluster-listen=10.0.0.1:7222"}, "there is no --cluster-tls-cert: give --cluster-tls-cert, or give --cluster-insecure if only the nodes are on that network"},
		{[]string{a, key, "--cluster-insecure", "--cluster-listen=:7222"}, "say in --cluster-advertise how other nodes reach this one"},
		{[]string{a, "--cluster-nats-listen=6222"}, `--cluster-nats-listen is "6222", and has to be host:port`},
		{[]string{a, "--cluster-join=dns:turbine"}, `--cluster-join is "turbine", and has to be host:port`},
		{[]string{a, "--cluster-nats=4222"}, "--cluster-nats: "},
		{[]string{a, "--cluster-nats=nats://127.0.0.1:4222", "--cluster-join=127.0.0.1:6222"}, "--cluster-join is for --cluster-nats embedded"},
		{[]string{a, tls[0], tls[1]}, "--cluster-tls-cert, --cluster-tls-key and --cluster-tls-ca go together"},
		{[]string{a, tls[0], tls[1], "--cluster-tls-ca=" + certKey}, "has no certificate in PEM"},
		{[]string{a, "--cluster-tls-cert=" + certKey, tls[1], tls[2]}, "--cluster-tls-cert, --cluster-tls-key: "},
	} {
		f := parsed(t, c.args...)
		err := f.clusterFlags.apply(&engine.Options{})
		if err == nil {
			_, err = f.newCluster("")
		}
		if c.want == "" {
			require.NoError(t, err, "%q", c.args)
			continue
		}
		require.ErrorContains(t, err, c.want, "%q", c.args)
		require.NotContains(t, err.Error(), "Options.", "%q", c.args)
		require.NotContains(t, err.Error(), "cluster: ", "%q", c.args)
	}
}

// A password in a URL is in no error.
func TestClusterFlagsKeepSecrets(t *testing.T) {
	f := parsed(t, "--cluster=a", "--cluster-nats=http://user:secret@nats.example:4222")
	_, err := f.newCluster("")
	require.ErrorContains(t, err, "nats.example:4222")
	require.NotContains(t, err.Error(), "secret")
}

// A server is called what its operator says, or what others can find it by.
func TestNodeNames(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	at := func(a net.Addr) []*place { return []*place{{Listener: listensOn{a}}} }
	for _, c := range []struct {
		args         []string
		at           net.Addr
		before, then string // it listens
	}{
		{nil, nil, host, ""},
		{[]string{"--node-name=n"}, nil, "n", ""},
		{[]string{"--cluster=a", "--node-name=n"}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 3000}, "n", "n"},
		{[]string{"--cluster=a"}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 3000}, "", "10.0.0.1:3000"},
		{[]string{"--cluster=a"}, &net.TCPAddr{IP: net.IPv6unspecified, Port: 3000}, "", net.JoinHostPort(host, "3000")},
		{[]string{"--cluster=a"}, &net.UnixAddr{Name: "/run/a", Net: "unix"}, "", host + ":/run/a"},
	} {
		f := parsed(t, c.args...)
		require.Equal(t, c.before, f.aloneName(), "%q", c.args)
		if c.at != nil {
			require.Equal(t, c.then, f.nodeName(at(c.at)), "%q", c.args)
		}
	}
}

// Without a cluster nothing of one is made, and the engine is told nothing.
func TestAlone(t *testing.T) {
	f := parsed(t)
	n, err := newNode(&f, "")
	require.NoError(t, err)
	require.Nil(t, n.cluster)
	require.Nil(t, n.shown())
	var o engine.Options
	n.options(&o)
	require.Nil(t, o.Node)
	require.NoError(t, n.join(nil, "", nil, nil))
	n.handOver()
	<-n.leave(t.Context())
}
