package program

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"turbine/engine"
)

// tlsFlags say how to speak TLS, and where.
type tlsFlags struct {
	Cert       string   `name:"tls-cert" placeholder:"FILE" help:"Certificate of the server in PEM, followed by those of the authorities in between. With it the server speaks TLS on every address of --addr except Unix sockets. The file is read again on SIGHUP and when it changes."`
	Key        string   `name:"tls-key" placeholder:"FILE" help:"Key of the certificate in PEM."`
	TLSAddr    []string `name:"tls-addr" placeholder:"ADDRESS" help:"Addresses that speak TLS, in addition to those of --addr, which then speak plain HTTP. None by default."`
	ClientCA   string   `name:"tls-client-ca" placeholder:"FILE" help:"Certificates of authorities in PEM: a client has to show a certificate of one of them. None by default."`
	ClientAuth string   `name:"tls-client-auth" default:"require" enum:"require,optional" help:"What happens to a client without a certificate, with --tls-client-ca: require closes its connection, optional lets it in. A bad certificate is always refused."`
	MinVersion string   `name:"tls-min-version" default:"1.2" enum:"1.2,1.3" help:"Oldest version of TLS that is spoken: 1.2, 1.3."`
}

func (f *tlsFlags) apply(o *engine.Options) error {
	if err := checkAddresses("--tls-addr", f.TLSAddr); err != nil {
		return err
	}
	switch {
	case f.Cert == "" && f.Key == "":
		if len(f.TLSAddr) > 0 || f.ClientCA != "" {
			return errors.New("--tls-addr and --tls-client-ca need --tls-cert and --tls-key")
		}
		return nil
	case f.Cert == "" || f.Key == "":
		return errors.New("--tls-cert and --tls-key go together")
	}
	if err := checkFiles(f.files()); err != nil {
		return fmt.Errorf("--tls-cert, --tls-key, --tls-client-ca: %w", err)
	}
	o.TLS = &engine.TLS{CertFile: f.Cert, KeyFile: f.Key, ClientCAFile: f.ClientCA, MinVersion: tls.VersionTLS12}
	if f.MinVersion == "1.3" {
		o.TLS.MinVersion = tls.VersionTLS13
	}
	if f.ClientCA != "" {
		o.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		if f.ClientAuth == "optional" {
			o.TLS.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	return nil
}

// files are those that may change while the server runs; none without TLS.
func (f *tlsFlags) files() (files []string) {
	for _, file := range []string{f.Cert, f.Key, f.ClientCA} {
		if file != "" {
			files = append(files, file)
		}
	}
	return files
}

// tlsFiles are the files for the watch that the server reads itself, when they are used.
func tlsFiles(server interface{ ReloadTLS() error }, files []string) *watched {
	reload := func() error {
		if err := server.ReloadTLS(); err != nil {
			return err
		}
		slog.Info("TLS files read", "files", files)
		return nil
	}
	return &watched{
		files: files, refused: "TLS files cannot be used; the old ones stay in use",
		prepare: func() (use, error) { return reload, nil },
	}
}

// addresses are those to listen on, of --addr and of --tls-addr.
func (f *flags) addresses() []string {
	all := slices.Clone(f.Addr)
	for _, address := range f.TLSAddr {
		if !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}

// markTLS says which places speak TLS.
func (f *tlsFlags) markTLS(places []*place) error {
	if f.Cert == "" {
		return nil
	}
	if len(f.TLSAddr) == 0 {
		for _, p := range places {
			p.tls = p.Addr().Network() != "unix"
		}
		return nil
	}
	for _, name := range f.TLSAddr {
		i := slices.IndexFunc(places, func(p *place) bool { return p.isCalled(name) })
		if i < 0 {
			return fmt.Errorf("--tls-addr: the server does not listen on %s", name)
		}
		places[i].tls = true
	}
	return nil
}
