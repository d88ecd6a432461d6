package httpparse

import (
	"errors"
	"strconv"
)

// ErrIncomplete says that p holds only a part of a head: get more bytes and
// parse again from the start.
var ErrIncomplete = errors.New("httpparse: incomplete head")

// Error is a fault of the peer. The values are preallocated and shared, since
// a hostile peer can repeat them: compare, read, never write. Find one with
// errors.As. The connection must be closed after the answer, because it is no
// longer known where the next request would begin.
type Error struct {
	Status int    // what the peer is told, RFC 9110, 15: 400, 413, 414, 417, 431, 501 or 505
	Reason string // what was wrong, for a log or a response body; constant text, never the peer's bytes
}

// Error gives status and reason for a human. It allocates.
func (e *Error) Error() string {
	return "httpparse: " + strconv.Itoa(e.Status) + " " + e.Reason
}

// The errors that mean a limit: of Limits, but ErrTrailerBytes and ErrBodyBytes, which are
// of Chunked.
// Which limit was met is told by the error's identity, as some share a status.
var (
	ErrRequestLine  = &Error{414, "request line too long"}
	ErrHeaderBytes  = &Error{431, "header too large"}
	ErrHeaderCount  = &Error{431, "too many header fields"}
	ErrTrailerBytes = &Error{431, "trailer too large"}
	ErrBodyBytes    = &Error{413, "body too large"}
)

var (
	errBareLF        = &Error{400, "line ends without CR"}
	errRequestLine   = &Error{400, "malformed request line"}
	errMethod        = &Error{400, "method is not a token"}
	errTarget        = &Error{400, "malformed request target"}
	errTargetForm    = &Error{400, "request target does not fit the method"}
	errFieldName     = &Error{400, "malformed field name"}
	errFieldValue    = &Error{400, "control byte in field value"}
	errHostMissing   = &Error{400, "no Host"}
	errHostRepeated  = &Error{400, "more than one Host"}
	errHost          = &Error{400, "malformed Host"}
	errLength        = &Error{400, "malformed Content-Length"}
	errLengthTwice   = &Error{400, "more than one Content-Length"}
	errCoding        = &Error{400, "malformed Transfer-Encoding"}
	errCodingTwice   = &Error{400, "more than one Transfer-Encoding"}
	errCodingLength  = &Error{400, "Transfer-Encoding together with Content-Length"}
	errCodingVersion = &Error{400, "Transfer-Encoding in HTTP/1.0"}
	errChunkSize     = &Error{400, "malformed chunk size"}
	errChunkLine     = &Error{400, "malformed chunk extension"}
	errChunkEnd      = &Error{400, "chunk does not end where its size says"}
	errTrailer       = &Error{400, "malformed trailer"}

	errExpectation = &Error{417, "unknown expectation"}
	errCodingKind  = &Error{501, "unknown transfer coding"}
	errVersion     = &Error{505, "only HTTP/1"}
)
