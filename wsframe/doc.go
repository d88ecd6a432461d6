// Package wsframe is the wire of RFC 6455, seen from a server: frame headers,
// masks, whole messages out of the chunks a connection delivers, close frames
// and the opening handshake. It does no I/O and starts nothing; types and rules
// come from github.com/gobwas/ws, what works on byte slices is here.
//
// The contract, in three answers. A parser used n bytes; or it needs more,
// ErrIncomplete; or the peer is wrong, and the error carries what the peer is
// to be told: a *CloseError in a close frame, a *HandshakeError in an HTTP
// response. All of these are preallocated.
//
// Bytes that a function takes are borrowed unless its comment says otherwise.
// Reader.Next also writes to them: it unmasks in place.
//
//	var r wsframe.Reader // one a connection, 8 bytes
//
//	func data(p []byte) {
//		for {
//			m, rest, err := r.Next(p, wsframe.Limits{})
//			if err == wsframe.ErrIncomplete {
//				return // r has kept what it needs
//			}
//			if err != nil {
//				fail(err.(*wsframe.CloseError))
//				return
//			}
//			deliver(m) // m.Payload is borrowed
//			p = rest
//		}
//	}
//
// Of extensions there is permessage-deflate (RFC 7692), for programs that ask for it:
// Deflate negotiates, Limits.Compressed lets RSV1 pass, Compressor and Decompressor
// serve all connections of a loop, and a Takeover is what one connection pays for
// keeping its context. The deflate format (RFC 1951) is written by
// github.com/klauspost/compress/flate, level 1, and read here, where a message is one
// slice and becomes one, and its cost is bounded by its bytes.
package wsframe
