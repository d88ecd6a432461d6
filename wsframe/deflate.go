package wsframe

import (
	"bytes"
	"strconv"

	"github.com/gobwas/ws/wsflate"
)

// Deflate is what a server grants to clients that offer permessage-deflate
// (RFC 7692). The zero value keeps no compression context between messages in
// either direction, so that a connection costs no memory for it: the Compressor
// and the Decompressor belong to the loop.
//
// The server's window has the 15 bits of RFC 1951, or what the client asks for.
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

	serverBits uint8 // the window that the client asked us to keep to, 8 to 15; 0 when it did not
}

// Fits reports whether a message of n bytes may be compressed without a thought
// of the client's window: it is a full one, or holds all of the message.
func (p DeflateParams) Fits(n int) bool { return p.bits() == maxBits || n <= 1<<p.bits() }

// bits is the size of the client's window for our messages.
func (p DeflateParams) bits() int {
	if p.serverBits == 0 {
		return maxBits
	}
	return int(p.serverBits)
}

// Negotiate chooses from the client's offers, the value of
// Sec-WebSocket-Extensions, several joined by a comma. The first that can be
// accepted wins (RFC 7692, 5.1); without one the answer is the zero value, and
// the connection continues without compression. The only error is the
// *HandshakeError for a header that is no list of extensions. It borrows
// extensions; nil stands for no header.
func (d *Deflate) Negotiate(extensions []byte) (DeflateParams, error) {
	if !validExtensions(extensions) {
		return DeflateParams{}, errExtensions
	}
	for p := extensions; len(p) > 0; {
		// A quoted value is also a token, so no comma is inside of one.
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
// unknown, comes twice or has a wrong value (RFC 7692, 7). validExtensions has
// seen to the grammar.
func (d *Deflate) accept(parameters []byte) (p DeflateParams, ok bool) {
	var serverNo, clientNo, serverSeen, clientSeen bool
	var serverBits int
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
			serverBits = windowBits(value)
			seen, ok = &serverSeen, serverBits != 0
		case "client_max_window_bits":
			// RFC 7692, 7.1.2.2: the client's own limit, or its readiness to be
			// given one. It needs no answer: the inflater has room for any.
			seen, ok = &clientSeen, value == nil || windowBits(value) != 0
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
		serverBits:     uint8(serverBits),
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
	if bits < minBits || bits > maxBits {
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
	if p.serverBits != 0 { // RFC 7692, 7.1.2.1: the client is to hear that we keep to it
		dst = strconv.AppendInt(append(dst, "; server_max_window_bits="...), int64(p.serverBits), 10)
	}
	return append(dst, "\r\n"...)
}
