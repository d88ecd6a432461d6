package program

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"turbine/engine"
	"turbine/engine/ops"

	"github.com/stretchr/testify/require"
)

func TestOpsFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // the error; "" for none
	}{
		{nil, ""},
		{[]string{"--ops-addr="}, ""},
		{[]string{"--ops-addr=", "--ops-tls-cert=cert"}, ""}, // nobody asks
		{[]string{"--ops-addr=", "--ops-keys=/dev/zero"}, ""},
		{[]string{"--ops-keys=/dev/zero"}, "--ops-tls-client-ca: /dev/zero is no regular file"},
		{[]string{"--ops-tls-cert=/dev/zero", "--ops-tls-key=b"}, "/dev/zero is no regular file"},
		{[]string{"--ops-addr=127.0.0.1:0"}, ""},
		{[]string{"--ops-addr=127.9.9.9:1"}, ""},
		{[]string{"--ops-addr=[::1]:3001"}, ""},
		{[]string{"--ops-addr=localhost:3001"}, ""},
		{[]string{"--ops-addr=unix:/run/turbine.sock"}, ""},
		{[]string{"--ops-addr=:3001", "--ops-keys=keys"}, ""},
		{[]string{"--ops-addr=:3001", "--ops-tls-cert=a", "--ops-tls-key=b", "--ops-tls-client-ca=c"}, ""},
		{[]string{"--ops-addr=:3001"}, "can be reached by other machines"},
		{[]string{"--ops-addr=0.0.0.0:3001"}, "can be reached by other machines"},
		{[]string{"--ops-addr=[::]:3001"}, "can be reached by other machines"},
		{[]string{"--ops-addr=10.0.0.1:3001"}, "can be reached by other machines"},
		{[]string{"--ops-addr=localhost.example:3001"}, "can be reached by other machines"},
		{[]string{"--ops-addr=3001"}, `--ops-addr: "3001" is no address`},
		{[]string{"--ops-tls-key=b"}, "--ops-tls-cert and --ops-tls-key go together"},
		{[]string{"--ops-tls-client-ca=c"}, "--ops-tls-client-ca needs --ops-tls-cert and --ops-tls-key"},
	} {
		f := parsed(t, c.args...)
		err := f.opsFlags.apply(&engine.Options{})
		if c.want == "" {
			require.NoError(t, err, "%q", c.args)
			continue
		}
		require.ErrorContains(t, err, c.want, "%q", c.args)
	}
}

func TestOpsOpen(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []ops.Scope
	}{
		{nil, []ops.Scope{ops.Health}},
		{[]string{"--ops-open=health,metrics"}, []ops.Scope{ops.Health, ops.Metrics}},
		{[]string{"--ops-open=none"}, []ops.Scope{}}, // nil would mean the default
	} {
		f := parsed(t, c.args...)
		require.Equal(t, c.want, f.open(), "%q", c.args)
	}
}

// The address of operations is none of the clients', whatever the system would let be.
func TestOpsAddressIsApart(t *testing.T) {
	for _, c := range []struct {
		clients net.Addr
		ops     string
		apart   bool
	}{
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3000}, "127.0.0.1:3000", false},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3000}, "127.0.0.1:3001", true},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3000}, "localhost:3000", false},
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 3000}, "localhost:3000", false},
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 3000}, "localhost:3000", true},
		{&net.TCPAddr{IP: net.IPv4zero, Port: 3000}, "localhost:3000", false},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3000}, ":3000", false},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3000}, "[::]:3000", false},
		{&net.TCPAddr{IP: net.IPv6zero, Port: 3000}, "127.0.0.1:3000", false},
		{&net.TCPAddr{IP: net.IPv4zero, Port: 3000}, "127.0.0.1:3000", false},
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 3000}, "127.0.0.1:3000", true},
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 3000}, "ops.example:3000", false}, // it may be the same
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 3000}, "127.0.0.1:0", true},
		{&net.UnixAddr{Name: "/run/a", Net: "unix"}, "127.0.0.1:3000", true},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3000}, "unix:/run/a", true},
	} {
		err := apart(c.ops, []*place{{Listener: listensOn{c.clients}}})
		require.Equal(t, c.apart, err == nil, "%v and %s: %v", c.clients, c.ops, err)
	}
}

// listensOn is a listener of which only the address is asked for.
type listensOn struct{ at net.Addr }

func (l listensOn) Addr() net.Addr            { return l.at }
func (l listensOn) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (l listensOn) Close() error              { return nil }

// What the operator may change is what was set, in the form in which it was set.
func TestSettings(t *testing.T) {
	level := levelSetting{&logging{logger: slog.New(slog.DiscardHandler)}}
	require.Equal(t, "info", level.Get())
	require.NoError(t, level.Set("debug"))
	require.Equal(t, "debug", level.Get())
	require.EqualError(t, level.Set("loud"), `"loud" is no level; debug, info, warn and error are`)
	require.ErrorContains(t, level.Set(strings.Repeat("a", 60_000)), strings.Repeat("a", 40)+`" is no level`) // and no more of it
	require.Equal(t, "debug", level.Get())

	server, err := engine.New(engine.Options{}, engine.Events{})
	require.NoError(t, err)
	debug := &debugSetting{server: server, logger: slog.Default(), pattern: "engine*"}
	require.Equal(t, "engine*", debug.Get())
	for _, pattern := range []string{"engine:ws", "engine*,-engine:ws", " engine , engine:polling ", ""} {
		require.NoError(t, debug.Set(pattern), "%q", pattern)
		require.Equal(t, pattern, debug.Get())
	}
	for _, pattern := range []string{"engine:sw", "engine,express*", "-socket", "["} {
		require.ErrorContains(t, debug.Set(pattern), "there are engine, engine:socket, engine:transport, engine:polling, engine:ws", "%q", pattern)
		require.Empty(t, debug.Get())
	}
}

// A file that cannot be used changes nothing, whichever of them it is.
func TestOpsFilesThatAreBad(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	write(t, keys, "ann read 0123456789abcdef\n")
	server, err := engine.New(engine.Options{}, engine.Events{})
	require.NoError(t, err)
	f := parsed(t, "--ops-keys="+keys)
	require.Equal(t, []string{keys}, f.opsFiles())
	off := parsed(t, "--ops-addr=", "--ops-keys="+keys)
	require.Empty(t, off.opsFiles())
	o, err := newOperations(&f.opsFlags, true, ops.Options{Server: server})
	require.NoError(t, err)
	require.NoError(t, used(o.prepare()))
	write(t, keys, "ann read 0123456789abcdef\n\nbob reed 0123456789abcdee\n")
	require.EqualError(t, used(o.prepare()), keys+`: line 3: "reed" is no scope; there are health, metrics, read, publish, sessions, debug, drain, payloads`)
	require.NoError(t, os.Remove(keys))
	require.ErrorIs(t, used(o.prepare()), os.ErrNotExist)
	_, err = newOperations(&f.opsFlags, true, ops.Options{Server: server})
	require.ErrorContains(t, err, "--ops-keys: ")
}
