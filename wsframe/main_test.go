package wsframe

import (
	"fmt"
	"os"
	"testing"

	"turbine/internal/invariants"
	"turbine/internal/race"
	"turbine/pool"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

var key = [4]byte{0x37, 0xfa, 0x21, 0x3d}

func TestMain(m *testing.M) {
	code := m.Run()
	if n := pool.Outstanding(); code == 0 && n != 0 {
		fmt.Fprintln(os.Stderr, "buffers not given back:", n)
		code = 1
	}
	os.Exit(code)
}

// givesBack makes the test fail when it ends with a Buf on loan.
func givesBack(t testing.TB) {
	t.Cleanup(func() { require.Zero(t, pool.Outstanding(), "buffers not given back") })
}

// client appends a frame as the tests' client sends it.
func client(dst []byte, op ws.OpCode, fin bool, payload string) []byte {
	return AppendMaskedFrame(dst, op, fin, key, []byte(payload))
}

// frame is one frame from the client.
func frame(op ws.OpCode, fin bool, payload string) string {
	return string(client(nil, op, fin, payload))
}

// marked is a frame from the client with RSV1.
func marked(op ws.OpCode, fin bool, payload string) string {
	p := client(nil, op, fin, payload)
	p[0] |= rsv1Bit
	return string(p)
}

// noAllocs fails when f allocates. The race detector makes sync.Pool drop
// items at random, and invariants quarantines every Buf.
func noAllocs(t *testing.T, name string, pooled bool, f func()) {
	t.Helper()
	if pooled && (race.Enabled || invariants.Enabled) {
		return
	}
	f()
	require.Zero(t, testing.AllocsPerRun(200, f), name)
}
