package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Sec-WebSocket-Extensions is for compression: without it nobody looks at the
// field, and with it empty elements of the list, as proxies leave them, do not
// matter.
func TestExtensionsField(t *testing.T) {
	for _, c := range []struct {
		name, field string
		without     string // compression
		with        string
	}{
		{"empty", "", "101 [no Sec-WebSocket-Extensions]", "101 [no Sec-WebSocket-Extensions]"},
		{"blanked behind", "permessage-deflate, ", "101 [no Sec-WebSocket-Extensions]", "101 [Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover]"},
		{"blanked in front", ", ,permessage-deflate", "101 [no Sec-WebSocket-Extensions]", "101 [Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover]"},
		{"commas", ",,", "101 [no Sec-WebSocket-Extensions]", "101 [no Sec-WebSocket-Extensions]"},
		{"odd", "permessage-deflate; =", "101 [no Sec-WebSocket-Extensions]", "400 [no Sec-WebSocket-Extensions] Invalid or unacceptable Sec-WebSocket-Extensions header"},
		{"no list", "=", "101 [no Sec-WebSocket-Extensions]", "400 [no Sec-WebSocket-Extensions] Invalid or unacceptable Sec-WebSocket-Extensions header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for want, o := range map[string]Options{"0" + c.without: {}, "1" + c.with: {PerMessageDeflate: &PerMessageDeflate{}}} {
				b := newSpec(t, 1, o, nil)
				ask := ` "header=Sec-WebSocket-Extensions: ` + c.field + `" show=Sec-WebSocket-Extensions`
				require.Equal(t, "w: "+want[1:], b.play(hsWebSocket + ask)[0])
				second := "AB"[len(b.sessions):][:1] // none has begun where the first was refused
				require.Equal(t, "200", b.play(hsPolling)[0][:3])
				require.Equal(t, "u: "+want[1:], b.play("ws sid=" + second + " conn=u" + ask)[0], "upgrade")
				b.finish()
			}
		})
	}
}
