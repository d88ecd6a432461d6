package packet

import (
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The results are those of Node.js, whose decoder the reference server uses.
func TestDecodeBase64(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"A", ""},
		{"AQ", "01"},
		{"AQI", "0102"},
		{"AQID", "010203"},
		{"AQ==", "01"},
		{"AQ=ID", "01"},
		{"AQ==AQID", "01"},
		{"=AQID", ""},
		{"====", ""},
		{"A Q\nI D", "010203"},
		{"-_-_", "fbffbf"},
		{"+/+/", "fbffbf"},
		{"-/+_", "fbffbf"},
		{"AQIDA", "010203"},
		{"A=QID", ""},
		{"A!Q?ID", "010203"},
		{"AQI€D", "010203"},
		{"AQIDBA= ", "01020304"},
		{"AR==", "01"},
		{"AQJ=", "0102"},
		{"A=", ""},
		{"AQID=AQID", "010203"},
		{"A===", ""},
		{"\x00\xffAQ\x80ID\x1e", "010203"},
		{"AQIDAQIDAQ ID", "010203010203010203"},
		{"AQID AQIDAQID", "010203010203010203"},
		{"!!!!", ""},
		{strings.Repeat("=bad", 100), ""},
	} {
		require.Equal(t, c.want, hex.EncodeToString(decodeBase64([]byte(c.in))), "%q", c.in)
	}
}

func TestBase64AllLengths(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		encoded := appendBase64(nil, data)
		require.Equal(t, base64.StdEncoding.EncodeToString(data), string(encoded))
		require.Len(t, encoded, base64Len(n))

		for _, form := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			in := form.EncodeToString(data)
			require.Equal(t, data, append([]byte{}, decodeBase64([]byte(in))...), in)

			var noisy strings.Builder // stray characters change nothing
			for i := range len(in) {
				noisy.WriteByte(in[i])
				noisy.WriteString([]string{"", "", "\r\n", " ", "\xff", "*"}[random.IntN(6)])
			}
			require.Equal(t, data, append([]byte{}, decodeBase64([]byte(noisy.String()))...), "%q", noisy.String())
		}
	}
}

func TestEveryBase64Character(t *testing.T) {
	for i := range 256 {
		std, err := base64.RawStdEncoding.DecodeString("A" + string([]byte{byte(i)}))
		url, err2 := base64.RawURLEncoding.DecodeString("A" + string([]byte{byte(i)}))
		got := decodeBase64([]byte{'A', byte(i)})
		switch {
		case err == nil:
			require.Equal(t, std, got, "%q", i)
		case err2 == nil:
			require.Equal(t, url, got, "%q", i)
		default:
			require.Empty(t, got, "%q", i)
		}
	}
}
