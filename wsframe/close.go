package wsframe

import (
	"encoding/binary"
	"unicode/utf8"

	"turbine/internal/invariants"

	"github.com/gobwas/ws"
)

// maxReason is the longest reason in bytes: a control frame less its code.
const maxReason = ws.MaxControlFramePayloadSize - 2

// AppendClose appends a whole, unmasked close frame (RFC 6455, 5.5.1). Code 0
// stands for no status and makes an empty frame. A reason over 123 bytes is cut
// between two code points; one that is not UTF-8 is left out, because the peer
// would have to fail the connection over it.
func AppendClose(dst []byte, code ws.StatusCode, reason string) []byte {
	if code == 0 {
		return AppendHeader(dst, ws.OpClose, 0)
	}
	invariants.Check(sendable(code), "close frame with a code that is never sent")
	if len(reason) > maxReason {
		n := maxReason
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	if !utf8.ValidString(reason) {
		reason = ""
	}
	dst = AppendHeader(dst, ws.OpClose, 2+len(reason))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// ParseClose decodes the unmasked payload of a close frame, at most 125 bytes
// (RFC 6455, 5.5.1). reason shares payload. An empty payload is code 0, no
// status. The error is a *CloseError: 1002 for a payload of one byte or a code
// that is never sent, 1007 for a reason that is not UTF-8.
func ParseClose(payload []byte) (code ws.StatusCode, reason []byte, err error) {
	switch len(payload) {
	case 0:
		return 0, nil, nil
	case 1:
		return 0, nil, errCloseLength
	}
	code = ws.StatusCode(binary.BigEndian.Uint16(payload))
	if !sendable(code) {
		return 0, nil, errCloseCode
	}
	if reason = payload[2:]; !utf8.Valid(reason) {
		return 0, nil, errCloseReason
	}
	return code, reason, nil
}

// sendable reports whether code may stand in a close frame: RFC 6455, 7.4.2
// and the registry it founded.
func sendable(code ws.StatusCode) bool {
	switch {
	case code.IsApplicationSpec(), code.IsPrivateSpec():
		return true
	case code.IsProtocolReserved():
		return false // 1005, 1006, 1015 only ever stand in an API
	case 1012 <= code && code <= 1014:
		return true // service restart, try again later, bad gateway: registered since, unknown to ws
	}
	return code.IsProtocolDefined()
}
