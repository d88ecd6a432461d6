package engine

import (
	"net/http"

	"turbine/engine/packet"
)

// Packet is a unit of the protocol, below messages.
type Packet = packet.Packet

// Events are the callbacks of an application. Nil means not interested.
//
// Each runs on the loop of its session, or of the connection where there is no
// session yet, one after another for one session. It must not block, because all
// sessions of the loop wait meanwhile. A panic in a callback is logged and closes its
// session, or refuses the client in Admit; after a panic in InitialHeaders or Headers
// the response goes out without what the callback would have added. runtime.Goexit,
// which FailNow of a test calls, is taken for a panic and also ends the connection.
// What a callback sends leaves in one write when it has returned.
//
// With Options.Executor, Admit, Open, Message, Heartbeat, Upgrading, Upgrade,
// HighWater, LowWater, Drain, Close and SendOptions.Sent run on its goroutines and
// may block: for one session one after another, in the same order, Close as the last.
// They come later than what they report: the sender of a message may be gone before
// the callback for it has begun. A message is a copy in a buffer that is taken back
// when the callback returns, so it is also borrowed. The callbacks about single
// packets and header fields stay on the loop: Packet, PacketCreate, Flush, Flushed,
// ConnectionError, InitialHeaders and Headers; so do Options.Access.Bind, GenerateID
// and Middleware, CORS.Allow, Audience.Keep and Done.
type Events struct {
	// Admit is asked before a session is made. An error refuses it, with status 403
	// (polling) or 400 (WebSocket). The client is told the message of an error that was
	// made by Refuse, or is a Refusal. Any other error is logged, at most once a second,
	// and the client is told "Forbidden". An application that has to ask elsewhere first
	// calls a.Later and returns nil. With Options.Executor it may also ask here: the
	// client waits for Options.Timeouts.Admit at most, as it does after Later. a is
	// borrowed.
	Admit func(a *Admission) error
	// ConnectionError says that a request was refused with one of the
	// protocol's numbered errors, before it is answered. r may be kept.
	ConnectionError func(r *Request, e *HandshakeError)
	// InitialHeaders may add header fields to the response that begins a
	// session, HTTP 200 or 101. It runs once a session, when the request has
	// arrived, before Headers. r is borrowed.
	InitialHeaders func(r *Request, h http.Header)
	// Headers may add header fields to a response with status 200 or 101 to a
	// request of a session. It runs when the request has arrived. r is
	// borrowed.
	Headers func(r *Request, h http.Header)

	// Open says that a session is ready. r, its handshake request, is
	// borrowed. Messages sent in a polling session's Open go with the next
	// poll, behind the handshake.
	Open func(s *Session, r *Request)
	// Packet brings each packet that the client sends to an open session, except the
	// close packet of a POST, before the packet takes effect. p.Data is borrowed.
	Packet func(s *Session, p Packet)
	// Message brings a message from the client. m.Data is borrowed.
	Message func(s *Session, m Message)
	// PacketCreate says that a packet is about to be queued for the client: a
	// message, ping or pong, or the open packet and the initial one, before
	// Open. It runs on the goroutine that sends. p.Data is borrowed. A message with
	// SendOptions.Key is reported once, with the data that was sent, also if it then
	// replaces a waiting message or is merged with one. What SendOptions.Merge returns
	// is not reported. Flush counts the packets that leave.
	PacketCreate func(s *Session, p Packet)
	// Heartbeat says that a pong came (revision 4) or a ping (revision 3).
	Heartbeat func(s *Session)
	// Upgrading says that a WebSocket has sent its probe.
	Upgrading func(s *Session)
	// Upgrade says that the session went from polling to WebSocket.
	Upgrade func(s *Session)
	// Flush says that so many packets are about to be given to the transport.
	Flush func(s *Session, packets int)
	// Flushed says that the transport has taken the packets of the last Flush.
	Flushed func(s *Session)
	// HighWater says that buffered bytes wait for the client, Options.Queue.HighWater or
	// more: the application should send less. LowWater comes next, or Close.
	HighWater func(s *Session, buffered int)
	// LowWater says, after HighWater, that Options.Queue.LowWater bytes or fewer wait.
	LowWater func(s *Session)
	// Drain says that nothing is queued for a client that had fallen behind, or whose
	// messages had to wait for one another to be compressed.
	Drain func(s *Session)
	// Close says that the session has ended. It is called once, as the last. err says
	// more about the cause: a *ClosedByApp after CloseWith, and nil if the session ended
	// in good order otherwise. A session's
	// WebSocket is gone by then, and with it RemoteAddr: keep the address in Open, by
	// SetValue, to log it here.
	Close func(s *Session, reason Reason, err error)
}
