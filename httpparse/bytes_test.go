package httpparse

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every byte at every place of every short length, against the rule in words.
func TestEightAtATime(t *testing.T) {
	for length := range 20 {
		for place := range length {
			for c := range 256 {
				for _, around := range []byte{' ', 'a', '~'} {
					p := bytes.Repeat([]byte{around}, length)
					p[place] = byte(c)
					value := c == '\t' || c >= ' ' && c != 0x7f
					line := c >= ' ' && c < 0x7f
					if value != valueBytes(p) || line != lineBytes(p) {
						t.Fatalf("%q: value %v line %v", p, value, line)
					}
				}
			}
		}
	}
	require.True(t, valueBytes([]byte("\t\xff\t\xff\t\xff\t\xff\t")))
}

func TestClass(t *testing.T) {
	want := map[uint8]string{
		isToken: "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
		isHost:  "-._~!$&'()*+,;=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
		isHex:   "0123456789abcdefABCDEF",
		isDigit: "0123456789",
	}
	for kind, members := range want {
		for c := range 256 {
			require.Equal(t, bytes.IndexByte([]byte(members), byte(c)) >= 0, class[c]&kind != 0, "%q in class %d", c, kind)
		}
	}
}
