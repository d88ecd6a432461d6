package loop

import (
	"crypto/tls"
)

// Client is Accept for connections that this process has dialed and a loop adopts:
// TLS is spoken as their client, which begins. name is whose certificate the peer has
// to show, the host that was dialed; "" leaves that to ServerName of the config. Roots,
// certificates and versions are those of the config that Use has set last.
//
// One of accept and failed is called, once, on the connection's loop: accept when the
// handshake is done; failed when the connection has ended before, and why. The
// connection is over then. Nil means that nobody is to be told of a failure.
func (t *TLS) Client(name string, accept func(*Conn) Handler, failed func(error)) func(*Conn) Handler {
	return func(c *Conn) Handler {
		f := &tlsConn{conn: c, handler: discard{}, client: true}
		h := newHandshake(t, f, accept)
		h.failed = failed
		f.shake = h
		c.SetHandler(f)
		f.tls = tls.Client((*tlsPipe)(f), h.clientConfig(name))
		h.begin()
		return f
	}
}

// clientConfig is the config of h, a client's handshake with a peer of that name.
func (h *handshake) clientConfig(name string) *tls.Config {
	c := h.tls.current.Load().Clone()
	if name != "" {
		c.ServerName = name
	}
	// A second handshake would need a stack in the middle of a read, and there is no
	// ExportKeyingMaterial where one is allowed.
	c.Renegotiation = tls.RenegotiateNever
	h.bind(c)
	if get := c.GetClientCertificate; get != nil {
		c.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			certificate, err := aside(h, func() (*tls.Certificate, error) { return get(request) })
			if certificate == nil || !isForeign(certificate.PrivateKey) {
				return certificate, err
			}
			bound := *certificate
			bound.PrivateKey = h.bindKey(bound.PrivateKey)
			return &bound, err
		}
	}
	if verify := c.EncryptedClientHelloRejectionVerify; verify != nil {
		c.EncryptedClientHelloRejectionVerify = func(state tls.ConnectionState) error {
			return h.aside(func() error { return verify(state) })
		}
	}
	return c
}
