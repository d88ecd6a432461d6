package engine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
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

// warnOfDates tells of a certificate that clients will not accept. It is no
// error: the server may be there in time, and who does not look at dates can
// connect.
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
