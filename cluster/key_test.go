package cluster

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeyFile(t *testing.T) {
	good := strings.Repeat("k", 32)
	for _, row := range []struct {
		name, text string
		mode       os.FileMode
		want       string // the key, or
		fails      string
	}{
		{"as long as needed", good, 0o600, good, ""},
		{"read only", good, 0o400, good, ""},
		{"for a group that reads", good, 0o640, good, ""},
		{"with a line end", good + "\n", 0o600, good, ""},
		{"with the line end of Windows", good + "\r\n", 0o600, good, ""},
		{"with bytes of any kind", good + "\x00\xff \n", 0o600, good + "\x00\xff ", ""},
		{"for everybody to read", good, 0o644, "", "mode 0644"},
		{"for others to read", good, 0o604, "", "chmod 600"},
		{"for a group to write", good, 0o660, "", "chmod 600"},
		{"too short", good[1:], 0o600, "", "fewer than 32 bytes"},
		{"too short without its line ends", good[1:] + "\n\n", 0o600, "", "fewer than 32 bytes"},
		{"empty", "", 0o600, "", "fewer than 32 bytes"},
		{"a disk image", strings.Repeat("k", maxKey+1), 0o600, "", "probably not a key"},
	} {
		if runtime.GOOS == "windows" && row.mode&0o037 != 0 {
			continue
		}
		path := filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(path, []byte(row.text), 0o600))
		require.NoError(t, os.Chmod(path, row.mode)) // whatever the umask is
		key, err := ReadKey(path)
		if row.fails != "" {
			require.ErrorContains(t, err, row.fails, row.name)
			require.ErrorContains(t, err, path, row.name)
			require.Nil(t, key)
			continue
		}
		require.NoError(t, err, row.name)
		require.Equal(t, row.want, string(key), row.name)
	}
	_, err := ReadKey(t.TempDir())
	require.ErrorContains(t, err, "regular file")
	_, err = ReadKey(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Two nodes that run different versions have to derive the same keys, so the values are
// part of the contract. They are of Python's hmac, by RFC 5869's two steps.
func TestKeysAreDerived(t *testing.T) {
	secret := []byte(strings.Repeat("k", 32))
	k, err := deriveKeys(secret, "shop")
	require.NoError(t, err)
	require.Equal(t, "90b1facd8f5c94ba82041f49e6fc772f39a738d3593ef19530fc2f41f055466a", hex.EncodeToString(k.link))
	require.Equal(t, "cXOrSvBCL7v52vHkTHF_ImBpRoidKPaUNW6rqPXp7YQ", k.route)
	require.Equal(t, "DHeiV27pzjhzVZVm1KX_Vg8dNBN1fIw029RGSDGw3FY", k.client)
	other, err := deriveKeys(secret, "shop2")
	require.NoError(t, err)
	require.NotEqual(t, k.link, other.link)
	require.NotEqual(t, k.route, other.route)
	changed, err := deriveKeys(append(secret, 'k'), "shop")
	require.NoError(t, err)
	require.NotEqual(t, k.client, changed.client)
	none, err := deriveKeys(nil, "shop")
	require.NoError(t, err)
	require.Len(t, none.link, 32)
}
