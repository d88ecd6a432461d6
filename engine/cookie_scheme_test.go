package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where a trusted proxy says what its client speaks, the cookie goes by that.
func TestCookieByForwardedScheme(t *testing.T) {
	b := newSpec(t, 1, Options{Proxies: Proxies{Trusted: theWorld}, Cookie: &Cookie{}}, nil)
	for proto, want := range map[string]bool{"https": true, "http": false, "": false} {
		var headers []string
		if proto != "" {
			headers = append(headers, "X-Forwarded-Proto: "+proto)
		}
		r := b.fetch("GET", "EIO=4&transport=polling", headers...)
		require.Equal(t, 200, r.StatusCode)
		require.Equal(t, want, strings.Contains(r.Header.Get("Set-Cookie"), "; Secure"), proto)
	}
	b.finish()
}
