package wsframe

import (
	"strconv"

	"github.com/gobwas/ws"
)

// CloseError is a fault of the peer that ends its connection, with what the
// peer is told in the close frame: RFC 6455, 7.1.7 and 7.4.1. The values are
// shared by all connections; nobody writes to them.
type CloseError struct {
	Code   ws.StatusCode
	Reason string // UTF-8, at most 123 bytes
}

// Error is for logs; the peer gets Code and Reason.
func (e *CloseError) Error() string {
	return "wsframe: close " + strconv.Itoa(int(e.Code)) + ": " + e.Reason
}

// The faults that mean a limit: of Limits, but ErrManyBlocks, which is the
// decompressor's own. Which limit was met is told by the error's identity, as some
// share a code.
var (
	ErrTooBig        = &CloseError{ws.StatusMessageTooBig, "message too big"}
	ErrManyFragments = &CloseError{ws.StatusPolicyViolation, "too many fragments"}
	ErrManyBlocks    = &CloseError{ws.StatusPolicyViolation, "too many blocks in compressed message"}
)

// The other faults found by reading; those found by ws.CheckHeader are in header.go.
var (
	errLengthSign  = &CloseError{ws.StatusProtocolError, "payload length out of range"}
	errLengthForm  = &CloseError{ws.StatusProtocolError, "payload length not in its shortest form"}
	errProtocol    = &CloseError{ws.StatusProtocolError, "protocol error"}
	errCloseLength = &CloseError{ws.StatusProtocolError, "close frame of one byte"}
	errCloseCode   = &CloseError{ws.StatusProtocolError, "invalid status code"}
	errCloseReason = &CloseError{ws.StatusInvalidFramePayloadData, "invalid UTF-8 in close reason"}
	errText        = &CloseError{ws.StatusInvalidFramePayloadData, "invalid UTF-8 in text message"}
	errDeflate     = &CloseError{ws.StatusInvalidFramePayloadData, "invalid compressed data"}
)
