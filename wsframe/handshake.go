package wsframe

import (
	"crypto/sha1" // #nosec G505 -- the constant of RFC 6455, 1.3, asks for it; it guards nothing
	"encoding/base64"
)

// Handshake is the client's half of the opening handshake (RFC 6455, 4.2.1):
// header values, borrowed from the request, nil when the header is absent. That
// Connection lists "upgrade" and Upgrade "websocket" is what makes a request one:
// without, it is plain HTTP and not for this package.
type Handshake struct {
	Method     []byte // of the request line
	Key        []byte // Sec-WebSocket-Key
	Version    []byte // Sec-WebSocket-Version
	Protocol   []byte // Sec-WebSocket-Protocol
	Extensions []byte // Sec-WebSocket-Extensions
}

// HandshakeError refuses a handshake with what the peer is told (RFC 6455,
// 4.2.2). The values are shared by all connections; nobody writes to them.
type HandshakeError struct {
	Status  int    // of the HTTP response
	Text    string // its body
	Version bool   // the response carries Sec-WebSocket-Version: 13, 8
}

// Error is Text.
func (e *HandshakeError) Error() string { return e.Text }

// The reference server's words, which clients may look for.
var (
	errMethod     = &HandshakeError{Status: 405, Text: "Invalid HTTP method"}
	errKey        = &HandshakeError{Status: 400, Text: "Missing or invalid Sec-WebSocket-Key header"}
	errVersion    = &HandshakeError{Status: 400, Text: "Missing or invalid Sec-WebSocket-Version header", Version: true}
	errSubproto   = &HandshakeError{Status: 400, Text: "Invalid Sec-WebSocket-Protocol header"}
	errExtensions = &HandshakeError{Status: 400, Text: "Invalid or unacceptable Sec-WebSocket-Extensions header"}
)

// keySize is the length in bytes of a Sec-WebSocket-Key: 16 bytes in base64.
const keySize = 24

// acceptGUID is the constant of RFC 6455, 1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// maxProtocols is the number of subprotocols that one client may offer. Each is
// compared with those before it; the bound keeps a long header from making
// that expensive. Clients offer a handful.
const maxProtocols = 64

// Check applies the rules of RFC 6455, 4.2.1, in the reference server's order.
// The error is a *HandshakeError. Version 8, the last draft, has the same
// frames as 13. At most 64 subprotocols may be offered. Empty elements of a list
// are skipped (RFC 9110, 5.6.1.2): proxies leave some behind.
func (h *Handshake) Check() error {
	switch {
	case string(h.Method) != "GET":
		return errMethod
	case !validKey(h.Key):
		return errKey
	case string(h.Version) != "13" && string(h.Version) != "8":
		return errVersion
	case h.Protocol != nil && !validProtocols(h.Protocol):
		return errSubproto
	case h.Extensions != nil && !validExtensions(h.Extensions):
		return errExtensions
	}
	return nil
}

// firstProtocol shares the first subprotocol in the client's order of
// preference, the one that AppendResponse selects, nil when none is offered
// (RFC 6455, 4.2.2 item 5). It is a token, whatever the header contains.
func (h *Handshake) firstProtocol() []byte {
	if first, _ := cutToken(skipEmpty(h.Protocol)); len(first) > 0 {
		return first
	}
	return nil
}

// AppendAcceptKey appends the 28 bytes that answer a Sec-WebSocket-Key (RFC
// 6455, 4.2.2 item 5.4). It borrows key.
func AppendAcceptKey(dst, key []byte) []byte {
	var room [keySize + len(acceptGUID)]byte // on the stack, for every key that Check passed
	// #nosec G401 -- as at the import
	sum := sha1.Sum(append(append(room[:0], key...), acceptGUID...))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// AppendResponse appends the answer to a handshake that passed Check, without
// the empty line that ends it: the caller may add headers before (RFC 6455,
// 4.2.2). The first subprotocol is accepted; DeflateParams.AppendHeader adds the
// extension.
func (h *Handshake) AppendResponse(dst []byte) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\n"+
		"Upgrade: websocket\r\n"+
		"Connection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "...)
	dst = AppendAcceptKey(dst, h.Key)
	if first := h.firstProtocol(); first != nil {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, first...)
	}
	return append(dst, "\r\n"...)
}
