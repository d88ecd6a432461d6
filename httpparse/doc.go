// Package httpparse reads and writes the wire form of HTTP/1.1 for a server
// (RFC 9112, RFC 9110): request heads, chunked bodies, query parameters in;
// response heads out. It does no I/O, starts nothing, locks nothing.
//
// Bytes in, values out. [Parse] has three answers: a head of n bytes, "only a
// part so far" ([ErrIncomplete]), or an [*Error] with the status the peer is
// told. Everything it hands out borrows the bytes it was given; nothing is
// copied, and nothing is allocated once a [Request] is warm.
//
// It is strict. Whatever two parsers could read in two ways is refused: bare
// CR and LF, folded fields, space before a colon, repeated or odd
// Content-Length, Transfer-Encoding with it or other than "chunked", more
// than one Host. After any Error the connection cannot be trusted to be in
// step and must be closed.
//
// A caller whose head arrives in pieces keeps them in one slice:
//
//	n, err := httpparse.Parse(p, &r, limits)
//	for err == httpparse.ErrIncomplete {
//		seen := len(p)
//		for httpparse.HeadEnd(p, seen) < 0 && len(p) <= limits.Head() {
//			seen = len(p)
//			p = more(p)
//		}
//		n, err = httpparse.Parse(p, &r, limits)
//	}
//
// so that each byte is looked at a fixed number of times, however slow the
// sender, and p never outgrows the limits by more than one read.
package httpparse
