package enginetest

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"turbine/engine"
)

// Options of a Client. The zero value is a client of revision 4 that begins with
// polling.
type Options struct {
	// Transport is what the session begins with. Zero means engine.Polling.
	Transport engine.Transport
	// Revision is the revision of the protocol. Zero means 4.
	Revision engine.Revision
	// Header is sent with every request. A Host in it is sent in place of the server's.
	// The cookies that the server sets are also sent. The client does not read
	// compressed responses or messages, so do not ask for these here.
	Header http.Header
	// Query is sent with every request.
	Query url.Values
	// Base64 asks the server for base64 in place of bytes, and sends base64, as
	// browsers without binary data do. Polling of revision 4 always does.
	Base64 bool
	// Mute answers no ping and, in revision 3, sends none, so that the session ends
	// with engine.ReasonPingTimeout.
	Mute bool
	// Paused begins as after Client.Pause.
	Paused bool
	// Address is where a client of a World comes from. Zero means 127.0.0.1, which
	// no limit by address counts, as long as engine.Limits.Exempt is nil.
	Address netip.Addr
	// TLS is the client's side of TLS. In a World nil means a plain connection, and
	// engine.Options.TLS has to be set otherwise. With a URL that begins with https
	// nil means the defaults.
	TLS *tls.Config
}

// withDefaults fills what is zero, and says what cannot be.
func (o Options) withDefaults() (Options, error) {
	if o.Transport == 0 {
		o.Transport = engine.Polling
	}
	if o.Revision == 0 {
		o.Revision = engine.Revision4
	}
	if !o.Address.IsValid() {
		o.Address = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	switch {
	case o.Transport != engine.Polling && o.Transport != engine.WebSocket:
		return o, fmt.Errorf("transport %d is neither engine.Polling nor engine.WebSocket", o.Transport)
	case o.Revision != engine.Revision3 && o.Revision != engine.Revision4:
		return o, fmt.Errorf("revision %d is neither 3 nor 4", o.Revision)
	}
	return o, nil
}

// Refused is the error of TryDial where the server does not want the client.
type Refused struct {
	// Status is the HTTP status. 101 means that the server took the WebSocket and
	// closed it without a session.
	Status int
	// Code is the protocol's number: 4 is Forbidden, which Events.Admit and
	// Options.Access.Origins say. -1 means that the response has none, as on WebSocket.
	Code int
	// Message is what the client is told.
	Message string
	// Header is that of the response.
	Header http.Header
}

// Error tells the status, the code and the message.
func (r *Refused) Error() string {
	if r.Code < 0 {
		return fmt.Sprintf("enginetest: refused with status %d: %s", r.Status, r.Message)
	}
	return fmt.Sprintf("enginetest: refused with status %d, code %d: %s", r.Status, r.Code, r.Message)
}

// refusal reads a response that begins no session.
func refusal(res *response) *Refused {
	r := &Refused{Status: res.status, Code: -1, Header: res.header}
	told := struct {
		Code    *int
		Message string
	}{}
	if json.Unmarshal(res.body, &told) == nil && told.Code != nil {
		r.Code, r.Message = *told.Code, told.Message
	} else {
		r.Message = strings.TrimSpace(string(res.body))
	}
	return r
}
