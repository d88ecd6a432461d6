package engine

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"turbine/loop"
)

// TLS is how a server speaks TLS itself, on the event loops: TLS 1.2 and 1.3,
// HTTP/1.1 in it.
type TLS struct {
	// CertFile and KeyFile are PEM files: the server's certificate, those of
	// the authorities in between behind it, and its key. ReloadTLS reads them
	// again. Empty means that Config has the certificates.
	CertFile, KeyFile string
	// ClientCAFile is a PEM file with the certificates of authorities whose
	// clients are let in. ReloadTLS reads it again. Empty means Config.ClientCAs.
	ClientCAFile string
	// ClientAuth says whether clients are asked for a certificate. Zero means
	// Config.ClientAuth; if that is also zero and there is a ClientCAFile, it means
	// tls.RequireAndVerifyClientCert. Request.TLS has what was shown.
	ClientAuth tls.ClientAuthType
	// MinVersion is the oldest version of the protocol that is spoken,
	// tls.VersionTLS12 or newer. Zero means Config.MinVersion, or 1.2.
	MinVersion uint16
	// Config is for all else; it is copied. Its callbacks may wait for something,
	// up to Timeouts.TLSHandshake, as may keys that sign by asking another machine:
	// other handshakes continue meanwhile, up to MaxTLSHandshakes.
	//
	// "http/1.1" is put in front of its NextProtos, and "h2" is left out, since
	// only HTTP/1.1 is served. A connection that negotiates another of them is
	// closed once its handshake is done: that is enough for "acme-tls/1", so
	// the TLSConfig of an autocert.Manager works unchanged.
	//
	// What GetConfigForClient returns is used instead of all here, except that
	// the protocols and what is said of callbacks stay. It is copied for each
	// connection, which costs about 0.6 KB while the connection lasts; so does a
	// config with VerifyConnection, VerifyPeerCertificate, WrapSession or
	// UnwrapSession. The keys of session tickets are kept over reloads; other
	// processes know them only if they are set here, or in what GetConfigForClient
	// returns. Nil means a config with nothing set.
	Config *tls.Config
}

// TLSStats are the figures of TLS handshakes since New.
type TLSStats struct {
	Done    uint64 // handshakes done
	Resumed uint64 // of these, those that resumed an earlier session
	Failed  uint64 // those that failed, what is no TLS at all included
	Plain   uint64 // of these, those that spoke HTTP and were told to speak TLS
	Now     int    // handshakes under way
}

// serverTLS is the TLS of a Server.
type serverTLS struct {
	options *TLS
	loops   *loop.TLS
	base    *tls.Config // without what is in files
	reload  sync.Mutex  // held while the files are read
	accept  func(*loop.Conn) loop.Handler
}

// http11 is what is spoken in TLS: a client that offers other protocols alone is
// refused, unless they are the application's.
var http11 = []string{"http/1.1"}

// check is for Options.TLS.
func (o *TLS) check() error {
	switch {
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("CertFile and KeyFile go together")
	case o.MinVersion != 0 && o.MinVersion < tls.VersionTLS12, o.Config != nil && o.Config.MinVersion != 0 && o.Config.MinVersion < tls.VersionTLS12:
		return errors.New("MinVersion is below 1.2")
	case o.MinVersion > tls.VersionTLS13:
		return fmt.Errorf("MinVersion %#x is unknown", o.MinVersion)
	case o.ClientAuth < 0 || o.ClientAuth > tls.RequireAndVerifyClientCert:
		return fmt.Errorf("unknown ClientAuth %d", o.ClientAuth)
	case o.CertFile == "" && !hasCertificate(o.Config):
		return errors.New("no certificate: set CertFile and KeyFile, or Certificates, GetCertificate or GetConfigForClient of Config")
	case o.needsAuthority() && o.ClientCAFile == "" && (o.Config == nil || o.Config.ClientCAs == nil && o.Config.GetConfigForClient == nil):
		return errors.New("clients cannot be verified without ClientCAFile or Config.ClientCAs")
	}
	return nil
}

func hasCertificate(c *tls.Config) bool {
	return c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)
}

// clientAuth is ClientAuth with its default.
func (o *TLS) clientAuth() tls.ClientAuthType {
	auth := o.ClientAuth
	if auth == tls.NoClientCert && o.Config != nil {
		auth = o.Config.ClientAuth
	}
	if auth == tls.NoClientCert && o.ClientCAFile != "" {
		auth = tls.RequireAndVerifyClientCert
	}
	return auth
}

func (o *TLS) needsAuthority() bool { return o.clientAuth() >= tls.VerifyClientCertIfGiven }

// newTLS reads the files of Options.TLS.
func (s *Server) newTLS() error {
	o := s.options.TLS
	if o == nil {
		return nil
	}
	t := &serverTLS{options: o, base: &tls.Config{}} // #nosec G402 -- MinVersion follows
	if o.Config != nil {
		t.base = o.Config.Clone()
	}
	t.base.ClientAuth = o.clientAuth()
	if o.MinVersion != 0 {
		t.base.MinVersion = o.MinVersion
	}
	if t.base.MinVersion == 0 {
		t.base.MinVersion = tls.VersionTLS12
	}
	current, err := t.read(s.options.Logger)
	if err != nil {
		return fmt.Errorf("%w: TLS: %w", ErrOptions, err)
	}
	// base keeps the keys of session tickets, so a client may resume a session from
	// before a reload.
	t.loops = loop.NewTLS(loop.TLSOptions{
		Config: t.base, Protocols: http11,
		Timeout: s.options.Timeouts.TLSHandshake, MaxHandshakes: s.options.Limits.MaxTLSHandshakes, Exempt: *s.exempt.Load(),
		Plain: answerPlain, Met: s.metTLS, Logger: s.options.Logger,
	})
	t.loops.Use(current)
	t.accept = t.loops.Accept(s.accept)
	s.tls = t
	return nil
}

// read returns base with what is in the files.
func (t *serverTLS) read(logger *slog.Logger) (*tls.Config, error) {
	c := t.base.Clone()
	if err := t.options.read(c, logger); err != nil {
		return nil, err
	}
	return c, nil
}

// ReloadTLS reads the files of Options.TLS again. TLS handshakes that begin from now
// on use what the files hold; connections stay open, and clients may resume earlier
// TLS sessions. If it returns an error, nothing has changed. Safe from any goroutine.
func (s *Server) ReloadTLS() error {
	if s.tls == nil {
		return errNoTLS
	}
	s.tls.reload.Lock()
	defer s.tls.reload.Unlock()
	current, err := s.tls.read(s.options.Logger)
	if err != nil {
		return fmt.Errorf("engine: reload TLS: %w", err)
	}
	s.tls.loops.Use(current)
	return nil
}

var errNoTLS = errors.New("engine: Options.TLS is not set")

// acceptTLS is accept for a connection that is to speak TLS, which Options.TLS
// has to be set for.
func (s *Server) acceptTLS(c *loop.Conn) loop.Handler {
	h := s.tls.accept(c)
	if s.phase.ending() { // accepted just before the end
		c.HurryTLS(firstRequest)
	}
	return h
}

// ListenAndServeTLS is ListenAndServe with TLS, as Options.TLS says.
func (s *Server) ListenAndServeTLS(address string) error {
	l, err := Listen(address)
	if err != nil {
		return err
	}
	return s.ServeTLS(l)
}

// ServeTLS is Serve with TLS, as Options.TLS says.
func (s *Server) ServeTLS(l net.Listener) error {
	if s.tls == nil {
		_ = l.Close()
		return errNoTLS
	}
	return s.serve(l, s.acceptTLS)
}

// metTLS is told of connections that met a limit before their handshake was done, on
// their loop. A client that says nothing at all is idle.
func (s *Server) metTLS(l *loop.Loop, limit loop.TLSLimit) {
	switch limit {
	case loop.TLSHandshakes:
		s.met(LimitTLSHandshakes, l)
	case loop.TLSTimeout:
		s.met(LimitTLSHandshakeTimeout, l)
	case loop.TLSSilence:
		s.met(LimitIdleTimeout, l)
	}
}

// answerPlain is what a client is told that speaks HTTP where TLS is spoken, nil for
// a client that speaks something else. It borrows first.
func answerPlain(first []byte) []byte {
	for _, method := range plainMethods {
		if bytes.HasPrefix(first, method) {
			return plainAnswer
		}
	}
	return nil
}

var (
	plainMethods = [][]byte{
		[]byte("GET /"), []byte("POST "), []byte("HEAD "), []byte("OPTIO"), []byte("PUT /"), []byte("DELET"), []byte("PATCH"), []byte("CONNE"),
	}
	plainAnswer = []byte("HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
		"Client sent an HTTP request to an HTTPS server.\n")
)

// read sets the certificates of c from the files.
func (o *TLS) read(c *tls.Config, logger *slog.Logger) error {
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return fmt.Errorf("certificate %s with key %s: %w", o.CertFile, o.KeyFile, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if o.ClientCAFile != "" {
		text, err := os.ReadFile(o.ClientCAFile)
		if err != nil {
			return fmt.Errorf("authorities of clients: %w", err)
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("authorities of clients: %s: %w", o.ClientCAFile, errNoCertificate)
		}
	}
	for i := range c.Certificates {
		warnOfDates(&c.Certificates[i], o.CertFile, logger)
	}
	return nil
}

var errNoCertificate = errors.New("no PEM certificate in it")

// warnOfDates logs a certificate that clients will not accept. It is no error: the
// server may be there in time, and a client that does not look at dates can connect.
func warnOfDates(pair *tls.Certificate, file string, logger *slog.Logger) {
	leaf := pair.Leaf
	if leaf == nil && len(pair.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(pair.Certificate[0]) // else the handshake tells
	}
	switch now := time.Now(); {
	case leaf == nil:
	case now.After(leaf.NotAfter):
		logger.Error("TLS certificate has expired; clients will refuse it", "file", file, "expired", leaf.NotAfter, "names", leaf.DNSNames)
	case now.Before(leaf.NotBefore):
		logger.Error("TLS certificate is not valid yet; clients will refuse it", "file", file, "valid_from", leaf.NotBefore, "names", leaf.DNSNames)
	}
}
