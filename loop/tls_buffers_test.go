package loop

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The buffers of a tls.Conn are used only where they are what they are known to
// be.
func TestFindTLSBuffers(t *testing.T) {
	for _, c := range []struct {
		conn  reflect.Type
		known bool
	}{
		{reflect.TypeFor[tls.Conn](), true},
		{reflect.TypeFor[struct {
			first          int
			rawInput, hand bytes.Buffer
		}](), true},
		{reflect.TypeFor[struct{ rawInput bytes.Buffer }](), false},
		{reflect.TypeFor[struct {
			rawInput bytes.Buffer
			hand     *bytes.Buffer
		}](), false},
		{reflect.TypeFor[struct {
			rawInput bytes.Reader
			hand     bytes.Buffer
		}](), false},
		{reflect.TypeFor[struct{ tls.Conn }](), false},
		{reflect.TypeFor[struct{}](), false},
	} {
		found := findTLSBuffers(c.conn)
		require.Equal(t, c.known, found.known, "%v", c.conn)
		if c.known {
			raw, _ := c.conn.FieldByName("rawInput")
			require.Equal(t, raw.Offset, found.raw)
		} else {
			require.Zero(t, found)
		}
	}
}

func TestWholeRecords(t *testing.T) {
	record := func(n int) string {
		return "\x17\x03\x03" + string([]byte{byte(n >> 8), byte(n)}) + strings.Repeat("x", n)
	}
	two := record(3) + record(0)
	for _, c := range []struct {
		in   string
		want int
	}{
		{"", 0}, {record(3)[:4], 0}, {record(3)[:7], 0}, {record(3), 8}, {two, 13}, {two + "\x17", 13}, {two + record(100)[:104], 13},
		{record(maxTLSPlain + 2048), maxTLSRecord}, {record(maxTLSPlain + 2048)[:100], 0},
		{record(maxTLSPlain + 2049)[:7], 5}, {"GET / ", 5}, // what crypto/tls needs to see what they are
	} {
		require.Equal(t, c.want, wholeRecords([]byte(c.in)), "%.20q", c.in)
	}
}
