package httpparse

// Request is one request head. Its slices borrow the bytes given to Parse: they
// are valid as long as those are, and change when those do. A Request is meant
// to be used again and again; it keeps the room of Headers. It is filled only
// when Parse returns no error; after one, its fields mean nothing.
type Request struct {
	Method []byte // a token, case-sensitive, not looked up in any list
	Target []byte // as sent: RFC 9112, 3.2

	// Path is the target up to '?', still percent-encoded, well-formed in that
	// respect; of an absolute-form what is behind the authority, "/" if that is
	// nothing; "*" for OPTIONS *; nil for CONNECT.
	Path []byte
	// Query is what is behind the first '?', raw and not checked for bad percent
	// sequences; nil without a '?'. Read it with NextParam.
	Query []byte

	Minor   int      // of the version HTTP/1.Minor: 0, or 1 for what is higher, too
	Headers []Header // in the order sent

	// ContentLength is the length of the body in bytes, at most 18 digits long;
	// -1 when the field is absent. RFC 9110, 8.6.
	ContentLength int64
	// Chunked says that the body comes in chunks; read it with Chunked.Decode.
	// RFC 9112, 7.1.
	Chunked bool
	// KeepAlive says that the peer will take another response on this
	// connection: HTTP/1.1 without Connection: close, or HTTP/1.0 with
	// Connection: keep-alive and no close. RFC 9112, 9.3.
	KeepAlive bool
	// ExpectContinue says that the peer waits for a 100 before it sends the
	// body. Never set for HTTP/1.0. RFC 9110, 10.1.1.
	ExpectContinue bool
	// WebSocket says that the peer asks to continue with WebSocket: Connection names
	// "upgrade", and Upgrade names "websocket", maybe among others. An upgrade to
	// another protocol is ignored, as is any in HTTP/1.0. RFC 9110, 7.8.
	WebSocket bool
}

// Header is one header field, RFC 9112, 5. Both slices borrow the bytes given
// to Parse.
type Header struct {
	Name  []byte // a token, in the case it was sent
	Value []byte // without the whitespace around it; may be empty, may hold HTAB and bytes over 0x7f
}

// Header returns the value of the first field of that name, whatever the case
// of its ASCII letters, nil when there is none. The value borrows the bytes
// given to Parse; it is empty but not nil for a field without a value.
func (r *Request) Header(name string) []byte {
	for i := range r.Headers {
		if equalFold(r.Headers[i].Name, name) {
			return r.Headers[i].Value
		}
	}
	return nil
}

// HasBody reports whether bytes of a body follow the head: Chunked, or a
// ContentLength over 0. RFC 9112, 6.3.
func (r *Request) HasBody() bool { return r.Chunked || r.ContentLength > 0 }
