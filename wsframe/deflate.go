package wsframe

import (
	"bytes"

	"github.com/gobwas/ws/wsflate"
)

// Deflate is what a server grants to clients that offer permessage-deflate
// (RFC 7692). The zero value keeps no compression context between messages in
// either direction, so that a connection costs no memory for it: the Compressor
// and the Decompressor belong to the loop.
//
// Windows always have 15 bits, the only ones that the compressor makes.
type Deflate struct {
	// ContextTakeover lets the server refer to its earlier messages. It saves
	// most on small messages that resemble each other, and costs a compressor
	// of about 0.8 MB for every connection that sends a compressed message.
	ContextTakeover bool

	// ClientContextTakeover lets clients do the same. It costs a window of
	// 32 KB for every connection that receives a compressed message.
	ClientContextTakeover bool
}

// DeflateParams is the outcome of a negotiation. The zero value stands for a
// connection without compression.
type DeflateParams struct {
	Accepted       bool
	ServerTakeover bool // the server keeps its context: Compress with a Takeover
	ClientTakeover bool // the client keeps its: Decompress with a Takeover

	window15 bool // the client asked for server_max_window_bits=15 and is to hear of it
}

// Negotiate chooses from the client's offers, the value of
// Sec-WebSocket-Extensions, several joined by a comma. The first that can be
// accepted wins (RFC 7692, 5.1); without one the answer is the zero value, and
// the connection goes on without compression. The only error is the
// *HandshakeError for a header that is no list of extensions. It borrows
// extensions; nil and empty stand for no header.
func (d *Deflate) Negotiate(extensions []byte) (DeflateParams, error) {
	if len(extensions) == 0 {
		return DeflateParams{}, nil
	}
	if !validExtensions(extensions) {
		return DeflateParams{}, errExtensions
	}
	for p := extensions; len(p) > 0; {
		// A quoted value is a token, too, so no comma is inside of one.
		offer, rest, _ := bytes.Cut(p, comma)
		if name, parameters := cutToken(skipSpace(offer)); string(name) == wsflate.ExtensionName {
			if params, ok := d.accept(parameters); ok {
				return params, nil
			}
		}
		p = rest
	}
	return DeflateParams{}, nil
}

// accept judges one offer by its parameters. It declines those with one that is
// unknown, comes twice or has a wrong value (RFC 7692, 7), and those that demand
// what the compressor cannot do. validExtensions has seen to the grammar.
func (d *Deflate) accept(parameters []byte) (p DeflateParams, ok bool) {
	var serverNo, clientNo, serverBits, clientBits bool
	for rest := skipSpace(parameters); len(rest) > 0; rest = skipSpace(rest) {
		var name, value []byte
		name, rest = cutToken(skipSpace(rest[1:])) // behind the semicolon
		if len(rest) > 0 && rest[0] == '=' {
			value = rest[1:]
			rest, _ = skipValue(value)
			value = value[:len(value)-len(rest)]
		}
		var seen *bool
		switch string(name) {
		case "server_no_context_takeover":
			seen, ok = &serverNo, value == nil
		case "client_no_context_takeover":
			seen, ok = &clientNo, value == nil
		case "server_max_window_bits":
			// RFC 7692, 7.1.2.1: who cannot keep to a smaller window declines.
			seen, ok = &serverBits, windowBits(value) == 15
		case "client_max_window_bits":
			// RFC 7692, 7.1.2.2: the client's own limit, or its readiness to be
			// given one. It needs no answer: the inflater has room for any.
			seen, ok = &clientBits, value == nil || windowBits(value) != 0
		}
		if seen == nil || *seen || !ok {
			return p, false
		}
		*seen = true
	}
	return DeflateParams{
		Accepted:       true,
		ServerTakeover: d.ContextTakeover && !serverNo,
		// RFC 7692, 7.1.1.2: in an offer it is a promise, so there is nothing
		// to keep a window for.
		ClientTakeover: d.ClientContextTakeover && !clientNo,
		window15:       serverBits,
	}, true
}

// windowBits parses a value of 8 to 15 without leading zeros (RFC 7692, 7.1.2),
// maybe in quotes. 0 stands for any other.
func windowBits(value []byte) (bits int) {
	for _, c := range value {
		switch {
		case c == '"', c == '\\': // validExtensions has seen to their places
		case c < '0' || '9' < c || c == '0' && bits == 0 || bits > 1:
			return 0
		default:
			bits = 10*bits + int(c-'0')
		}
	}
	if bits < 8 || bits > 15 {
		return 0
	}
	return bits
}

// AppendHeader appends the line of the handshake's response that tells the
// client, and nothing when no offer was accepted (RFC 7692, 5.1 and 7.1).
func (p DeflateParams) AppendHeader(dst []byte) []byte {
	if !p.Accepted {
		return dst
	}
	dst = append(dst, "Sec-WebSocket-Extensions: "+wsflate.ExtensionName...)
	if !p.ServerTakeover {
		dst = append(dst, "; server_no_context_takeover"...)
	}
	if !p.ClientTakeover {
		dst = append(dst, "; client_no_context_takeover"...)
	}
	if p.window15 {
		dst = append(dst, "; server_max_window_bits=15"...)
	}
	return append(dst, "\r\n"...)
}
