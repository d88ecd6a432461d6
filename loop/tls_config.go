package loop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"slices"
)

// Use makes config that of handshakes that begin from now on. It is copied, and
// its GetConfigForClient is not called: that of TLSOptions.Config is. The keys of
// session tickets stay those of TLSOptions.Config, unless config has its own.
// Safe from any goroutine.
func (t *TLS) Use(config *tls.Config) {
	c := config.Clone()
	c.GetConfigForClient = nil
	t.adapt(c)
	t.current.Store(c)
}

// configFor is the GetConfigForClient of all handshakes.
func (t *TLS) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	h := handshakeOf(hello)
	if own := t.options.Config.GetConfigForClient; own != nil {
		config, err := aside(h, func() (*tls.Config, error) { return own(hello) })
		if err != nil {
			return nil, err
		}
		if config != nil {
			// A copy for this handshake alone: the application may change the keys of
			// session tickets of its config at any time.
			c := config.Clone()
			t.adapt(c)
			h.bind(c)
			return c, nil
		}
	}
	c := t.current.Load()
	if !callsBack(c) {
		return c, nil // the usual case, which is not copied
	}
	c = c.Clone()
	h.bind(c)
	return c, nil
}

// adapt changes c, a copy of an application's config: it speaks our protocols, and
// the callbacks that are told of their handshake let others compute while they run.
func (t *TLS) adapt(c *tls.Config) {
	if t.options.Protocols != nil {
		c.NextProtos = withProtocols(t.options.Protocols, c.NextProtos)
	}
	if get := c.GetCertificate; get != nil {
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			h := handshakeOf(hello)
			certificate, err := aside(h, func() (*tls.Certificate, error) { return get(hello) })
			if certificate == nil || !isForeign(certificate.PrivateKey) {
				return certificate, err
			}
			bound := *certificate
			bound.PrivateKey = h.bindKey(bound.PrivateKey)
			return &bound, err
		}
	}
	if get := c.GetEncryptedClientHelloKeys; get != nil {
		c.GetEncryptedClientHelloKeys = func(hello *tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) {
			return aside(handshakeOf(hello), func() ([]tls.EncryptedClientHelloKey, error) { return get(hello) })
		}
	}
}

// withProtocols is ours, and behind them what the application has. HTTP/2 is left
// out: a client that offers nothing else is told that it is not spoken, instead of
// being cut.
func withProtocols(ours, theirs []string) []string {
	all := slices.Clone(ours)
	for _, p := range theirs {
		if p != "h2" && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// speaks reports whether a connection that has negotiated the protocol, "" for
// none, is for the Handler.
func (t *TLS) speaks(protocol string) bool {
	return protocol == "" || t.options.Protocols == nil || slices.Contains(t.options.Protocols, protocol)
}

// callsBack reports whether c has what of the application is called without being
// told of its handshake.
func callsBack(c *tls.Config) bool {
	return c.VerifyPeerCertificate != nil || c.VerifyConnection != nil || c.WrapSession != nil || c.UnwrapSession != nil ||
		slices.ContainsFunc(c.Certificates, hasForeignKey)
}

// bind has what callsBack knows let other handshakes than h compute while it runs.
// c is for h alone.
func (h *handshake) bind(c *tls.Config) {
	if verify := c.VerifyPeerCertificate; verify != nil {
		c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
			return h.aside(func() error { return verify(raw, chains) })
		}
	}
	if verify := c.VerifyConnection; verify != nil {
		c.VerifyConnection = func(state tls.ConnectionState) error {
			return h.aside(func() error { return verify(state) })
		}
	}
	if wrap := c.WrapSession; wrap != nil {
		c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
			return aside(h, func() ([]byte, error) { return wrap(state, session) })
		}
	}
	if unwrap := c.UnwrapSession; unwrap != nil {
		c.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
			return aside(h, func() (*tls.SessionState, error) { return unwrap(ticket, state) })
		}
	}
	if !slices.ContainsFunc(c.Certificates, hasForeignKey) {
		return
	}
	c.Certificates = slices.Clone(c.Certificates)
	for i := range c.Certificates {
		key := &c.Certificates[i].PrivateKey
		*key = h.bindKey(*key)
	}
}

// isForeign reports whether the key is not one of the standard library's, which
// compute: another may ask a machine far away to sign.
func isForeign(key crypto.PrivateKey) bool {
	switch key.(type) {
	case nil, *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return false
	}
	_, ok := key.(crypto.Signer)
	return ok
}

func hasForeignKey(c tls.Certificate) bool { return isForeign(c.PrivateKey) }

// bindKey has a foreign key let other handshakes than h compute while it is used.
func (h *handshake) bindKey(key crypto.PrivateKey) crypto.PrivateKey {
	if !isForeign(key) {
		return key
	}
	signer := boundSigner{key.(crypto.Signer), h}
	if d, ok := key.(crypto.Decrypter); ok {
		return boundDecrypter{signer, d}
	}
	return signer
}

// boundSigner is an application's key during one handshake.
type boundSigner struct {
	crypto.Signer
	h *handshake
}

func (s boundSigner) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	return aside(s.h, func() ([]byte, error) { return s.Signer.Sign(random, digest, o) })
}

// SignMessage is for keys that hash the message by themselves.
func (s boundSigner) SignMessage(random io.Reader, message []byte, o crypto.SignerOpts) ([]byte, error) {
	return aside(s.h, func() ([]byte, error) { return crypto.SignMessage(s.Signer, random, message, o) })
}

// boundDecrypter is a boundSigner that also decrypts, for key exchanges with RSA.
type boundDecrypter struct {
	boundSigner
	decrypter crypto.Decrypter
}

func (d boundDecrypter) Decrypt(random io.Reader, message []byte, o crypto.DecrypterOpts) ([]byte, error) {
	return aside(d.h, func() ([]byte, error) { return d.decrypter.Decrypt(random, message, o) })
}

func handshakeOf(hello *tls.ClientHelloInfo) *handshake { return hello.Conn.(*tlsPipe).shake }

// aside calls f, which is the application's and may wait, and lets other
// handshakes compute meanwhile.
func aside[T any](h *handshake, f func() (T, error)) (T, error) {
	h.giveProcessor()
	defer h.takeProcessor()
	return f()
}

func (h *handshake) aside(f func() error) error {
	h.giveProcessor()
	defer h.takeProcessor()
	return f()
}
