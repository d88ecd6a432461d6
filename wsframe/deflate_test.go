package wsframe

import (
	"net/http"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws/wsflate"
	"github.com/stretchr/testify/require"
)

func TestNegotiate(t *testing.T) {
	const (
		bothNo   = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
		both     = "permessage-deflate"
		serverNo = "permessage-deflate; server_no_context_takeover"
		clientNo = "permessage-deflate; client_no_context_takeover"
		bits15   = "; server_max_window_bits=15"
		bits9    = "; server_max_window_bits=9"
	)
	for _, c := range []struct {
		name, offers string
		without      string // the answer of the zero Deflate
		with         string // and with both directions of context takeover
	}{
		{"absent", "", "", ""},
		{"plain", "permessage-deflate", bothNo, both},
		{"browsers and ws", "permessage-deflate; client_max_window_bits", bothNo, both},
		{"space", " permessage-deflate ;\tclient_max_window_bits = 10", "error", "error"},
		{"more space", " permessage-deflate ;\tclient_max_window_bits=10 ", bothNo, both},
		{"names have case", "Permessage-Deflate", "", ""},
		{"longer name", "permessage-deflate2", "", ""},

		{"server_no", "permessage-deflate; server_no_context_takeover", bothNo, serverNo},
		{"client_no", "permessage-deflate; client_no_context_takeover", bothNo, clientNo},
		{"both no", "permessage-deflate; client_no_context_takeover; server_no_context_takeover", bothNo, bothNo},
		{"client bits 8", "permessage-deflate; client_max_window_bits=8", bothNo, both},
		{"client bits 15", "permessage-deflate; client_max_window_bits=15", bothNo, both},
		{"client bits quoted", `permessage-deflate; client_max_window_bits="12"`, bothNo, both},
		{"server bits 15", "permessage-deflate; server_max_window_bits=15", bothNo + bits15, both + bits15},
		{"server bits 15 quoted", `permessage-deflate; server_max_window_bits="15"`, bothNo + bits15, both + bits15},
		{"all four", "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15; client_max_window_bits=9", bothNo + bits15, bothNo + bits15},

		{"server bits 14", "permessage-deflate; server_max_window_bits=14", bothNo + "; server_max_window_bits=14", both + "; server_max_window_bits=14"},
		{"server bits 9", "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10", bothNo + bits9, both + bits9},
		{"server bits 8", "permessage-deflate; server_max_window_bits=8", bothNo + "; server_max_window_bits=8", both + "; server_max_window_bits=8"},
		{"server bits 7", "permessage-deflate; server_max_window_bits=7", "", ""},
		{"server bits 16", "permessage-deflate; server_max_window_bits=16", "", ""},
		{"server bits bare", "permessage-deflate; server_max_window_bits", "", ""},
		{"server bits 015", "permessage-deflate; server_max_window_bits=015", "", ""},
		{"server bits escaped", `permessage-deflate; server_max_window_bits="1\5"`, bothNo + bits15, both + bits15},
		{"server bits escaped 14", `permessage-deflate; server_max_window_bits="\1\4"`, bothNo + "; server_max_window_bits=14", both + "; server_max_window_bits=14"},
		{"server bits escaped 7", `permessage-deflate; server_max_window_bits="\7"`, "", ""},
		{"client bits escaped", `permessage-deflate; client_max_window_bits="8\x"`, "", ""},
		{"client bits 7", "permessage-deflate; client_max_window_bits=7", "", ""},
		{"client bits 16", "permessage-deflate; client_max_window_bits=16", "", ""},
		{"client bits 08", "permessage-deflate; client_max_window_bits=08", "", ""},
		{"client bits ten", "permessage-deflate; client_max_window_bits=ten", "", ""},
		{"client bits signed", "permessage-deflate; client_max_window_bits=+9", "", ""},
		{"client bits huge", "permessage-deflate; client_max_window_bits=18446744073709551625", "", ""},
		{"server_no with value", "permessage-deflate; server_no_context_takeover=1", "", ""},
		{"client_no with value", "permessage-deflate; client_no_context_takeover=true", "", ""},
		{"unknown", "permessage-deflate; x", "", ""},
		{"unknown with value", "permessage-deflate; level=9", "", ""},
		{"parameters have case", "permessage-deflate; Server_no_context_takeover", "", ""},
		{"server_no twice", "permessage-deflate; server_no_context_takeover; server_no_context_takeover", "", ""},
		{"client_no twice", "permessage-deflate; client_no_context_takeover; client_no_context_takeover", "", ""},
		{"server bits twice", "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15", "", ""},
		{"client bits twice", "permessage-deflate; client_max_window_bits=9; client_max_window_bits=9", "", ""},
		{"client bits twice, bare", "permessage-deflate; client_max_window_bits; client_max_window_bits", "", ""},
		{"client bits twice, one bare", "permessage-deflate; client_max_window_bits; client_max_window_bits=9", "", ""},
		{"ten parameters", "permessage-deflate" + strings.Repeat("; client_no_context_takeover", 10), "", ""},

		{"another first", "x-webkit-deflate-frame; no_context_takeover, permessage-deflate", bothNo, both},
		{"another only", "x-webkit-deflate-frame", "", ""},
		{"the first wins", "permessage-deflate; client_no_context_takeover, permessage-deflate", bothNo, clientNo},
		{"the first wins, with its 9 bits", "permessage-deflate; server_max_window_bits=9, permessage-deflate; client_max_window_bits", bothNo + bits9, both + bits9},
		{"the second, the first demands 7 bits", "permessage-deflate; server_max_window_bits=7, permessage-deflate; client_max_window_bits", bothNo, both},
		{"the third, two are invalid", "permessage-deflate; x=1,permessage-deflate; server_max_window_bits,permessage-deflate", bothNo, both},
		{"the 400th", strings.Repeat("permessage-deflate; x,", 399) + "permessage-deflate", bothNo, both},

		{"no name", "; client_max_window_bits", "error", "error"},
		{"no parameter", "permessage-deflate;", "error", "error"},
		{"empty value", "permessage-deflate; client_max_window_bits=", "error", "error"},
		{"empty elements", " ,permessage-deflate,,x,", bothNo, both},
		{"an offer behind empty elements", ",, \t, permessage-deflate; server_no_context_takeover", bothNo, serverNo},
		{"what proxies leave", "permessage-deflate, ", bothNo, both},
		{"empty elements only", ", ,", "", ""},
		{"hole in an offer", "permessage-deflate; ,x", "error", "error"},
		{"two words", "permessage-deflate x", "error", "error"},
		{"quote not closed", `permessage-deflate; client_max_window_bits="9`, "error", "error"},
		{"a fault behind an offer", "permessage-deflate, =", "error", "error"},
	} {
		for want, d := range map[string]*Deflate{"0" + c.without: {}, "1" + c.with: {ContextTakeover: true, ClientContextTakeover: true}} {
			want = want[1:]
			p, err := d.Negotiate([]byte(c.offers))
			if want == "error" {
				require.Equal(t, errExtensions, err, "%s: %s", c.name, c.offers)
				require.Zero(t, p)
				continue
			}
			require.NoError(t, err, "%s: %s", c.name, c.offers)
			if want == "" {
				require.Zero(t, p, "%s: %s", c.name, c.offers)
				require.Equal(t, "x", string(p.AppendHeader([]byte("x"))))
				continue
			}
			require.True(t, p.Accepted, "%s: %s", c.name, c.offers)
			require.Equal(t, "xSec-WebSocket-Extensions: "+want+"\r\n", string(p.AppendHeader([]byte("x"))), "%s: %s", c.name, c.offers)
		}
	}
	require.LessOrEqual(t, unsafe.Sizeof(DeflateParams{}), uintptr(4)) // one a connection
}

// One direction granted, the other not.
func TestNegotiateDirections(t *testing.T) {
	offer := []byte("permessage-deflate; client_max_window_bits")
	p, err := (&Deflate{ContextTakeover: true}).Negotiate(offer)
	require.NoError(t, err)
	require.Equal(t, DeflateParams{Accepted: true, ServerTakeover: true}, p)
	require.Equal(t, "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n", string(p.AppendHeader(nil)))

	p, err = (&Deflate{ClientContextTakeover: true}).Negotiate(offer)
	require.NoError(t, err)
	require.Equal(t, DeflateParams{Accepted: true, ClientTakeover: true}, p)
	require.Equal(t, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n", string(p.AppendHeader(nil)))
}

func TestNegotiateDoesNotAllocate(t *testing.T) {
	offers := []byte("permessage-deflate; x, permessage-deflate; client_max_window_bits")
	dst := make([]byte, 0, 200)
	var d Deflate
	noAllocs(t, "Negotiate", false, func() {
		p, _ := d.Negotiate(offers)
		p.AppendHeader(dst)
	})
}

// What is accepted, the extension of gobwas/ws accepts, and our answer is one
// that a client may get. httphead takes neither tabs nor all escapes.
func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{
		"permessage-deflate; client_max_window_bits", `a;b="c", permessage-deflate; server_max_window_bits="15"`,
		"permessage-deflate; server_max_window_bits=9, permessage-deflate", `permessage-deflate;client_max_window_bits="1\0"`,
	} {
		f.Add([]byte(s), true, false)
	}
	f.Fuzz(func(t *testing.T, in []byte, server, client bool) {
		before := string(in)
		p, err := (&Deflate{server, client}).Negotiate(in)
		require.Equal(t, before, string(in))
		if err != nil {
			require.Equal(t, errExtensions, err)
			require.Zero(t, p)
			return
		}
		if !p.Accepted {
			require.Zero(t, p)
			return
		}
		require.False(t, p.ServerTakeover && !server || p.ClientTakeover && !client)
		theirs, ok := httphead.ParseOptions([]byte(strings.NewReplacer("\t", " ", "\\", "").Replace(before)), nil)
		require.True(t, ok)
		accepted := false
		for _, option := range theirs {
			var params wsflate.Parameters
			accepted = accepted || string(option.Name) == wsflate.ExtensionName && params.Parse(option) == nil
		}
		require.True(t, accepted)

		name, value, _ := strings.Cut(string(p.AppendHeader(nil)), ": ")
		require.Equal(t, http.CanonicalHeaderKey("Sec-Websocket-Extensions"), http.CanonicalHeaderKey(name))
		ours, ok := httphead.ParseOptions([]byte(strings.TrimSuffix(value, "\r\n")), nil)
		require.True(t, ok)
		require.Len(t, ours, 1)
		var params wsflate.Parameters
		require.NoError(t, params.Parse(ours[0]))
		require.Equal(t, p.ServerTakeover, !params.ServerNoContextTakeover)
		require.Equal(t, p.ClientTakeover, !params.ClientNoContextTakeover)
		require.Equal(t, p.serverBits, uint8(params.ServerMaxWindowBits))
	})
}
