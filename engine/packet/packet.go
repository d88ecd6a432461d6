package packet

import "errors"

// ErrMalformed says that bytes are not a packet, or not a payload of packets.
// It is the only fault a peer can cause here, in either revision; the session
// that receives it closes with the reason "parse error".
var ErrMalformed = errors.New("packet: malformed packet")

// Type is the type of a packet. Its value is the id on the wire, in both revisions:
// as an ASCII digit in text, as a byte of that value in binary.
type Type uint8

// The packet types. Ping and Pong change sides between the revisions, see
// Revision.ServerPings.
const (
	Open    Type = iota // server to client: the session's parameters, see OpenData
	Close               // asks to close the transport
	Ping                // heartbeat request; also the client's probe of an upgrade
	Pong                // heartbeat answer; also the server's answer to a probe
	Message             // carries data of the application
	Upgrade             // client to server: completes an upgrade
	Noop                // ends a poll that has nothing to deliver
)

var typeNames = [...]string{"open", "close", "ping", "pong", "message", "upgrade", "noop"}

// String is the name of the type in the protocol text, or "unknown".
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// known reports whether t is an id that both revisions define.
func (t Type) known() bool { return t <= Noop }

// Packet is one Engine.IO packet.
//
// Data borrows the bytes it was decoded from; nil or empty means that the
// packet carries no data. Data of a packet that is not Binary is UTF-8 text.
//
// Binary is for a Message. Revision 3 has binary packets of every type, and
// Type tells which; revision 4 has none but messages, and writes any Binary
// packet as one.
type Packet struct {
	Type   Type
	Binary bool
	Data   []byte
}

// IsProbe reports whether p is the ping with the text "probe" that opens an
// upgrade, in both revisions. The answer to it is a Pong with the same text.
func (p Packet) IsProbe() bool {
	return p.Type == Ping && !p.Binary && string(p.Data) == "probe"
}

// Revision is the number of a protocol revision, the EIO query parameter.
// Every method here treats Revision3 as revision 3 and all else as revision 4.
type Revision uint8

// The revisions. Revision 2, the string form of before binary data, is not served:
// a handshake with EIO=2 is refused.
const (
	Revision3 Revision = 3
	Revision4 Revision = 4
)

// ServerPings reports whether the server sends the pings and the client
// answers, as in revision 4. In revision 3 it is the other way round.
func (r Revision) ServerPings() bool { return r != Revision3 }
