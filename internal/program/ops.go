package program

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"

	"turbine/engine"
	"turbine/engine/ops"
)

// opsFlags say where operations are served, and for which clients.
type opsFlags struct {
	OpsAddr     string   `default:"127.0.0.1:3001" help:"Address of operations, such as health, figures, log level and drain: host:port, or unix:PATH for a Unix socket, whose file only the server's own user may use. It cannot be one of the clients' addresses. Without --ops-keys and --ops-tls-client-ca it has to be a loopback address or a Unix socket. If the default is taken, the log says so and the server runs without. Empty means none."`
	OpsKeys     string   `placeholder:"FILE" help:"File of keys for operations, with lines of a name, its scopes and its key. The scopes are health, metrics, read, publish, sessions, debug, drain, and payloads, with which a trace of a session shows what is said. The file is read again on SIGHUP and when it changes. Without it, and without --ops-tls-client-ca, every process of the machine may use all operations. None by default."`
	OpsCert     string   `name:"ops-tls-cert" placeholder:"FILE" help:"Certificate of operations in PEM, followed by those of the authorities in between. With it operations are served over TLS. The file is read again on SIGHUP and when it changes. None by default."`
	OpsKey      string   `name:"ops-tls-key" placeholder:"FILE" help:"Key of the certificate of operations in PEM. None by default."`
	OpsClientCA string   `name:"ops-tls-client-ca" placeholder:"FILE" help:"Certificates of authorities in PEM: a client that shows a certificate of one of them may use operations. With --ops-keys the certificate's common name is a name of the file, and says which operations. None by default."`
	OpsOpen     []string `name:"ops-open" default:"health" enum:"health,metrics,none" help:"Scopes of operations that need neither a key nor a certificate, where there are some: health, metrics, none."`
}

// apply sets no option: it checks what operations need.
func (f *opsFlags) apply(*engine.Options) error {
	if f.OpsAddr == "" {
		return nil
	}
	if err := checkAddresses("--ops-addr", []string{f.OpsAddr}); err != nil {
		return err
	}
	switch {
	case (f.OpsCert == "") != (f.OpsKey == ""):
		return errors.New("--ops-tls-cert and --ops-tls-key go together")
	case f.OpsClientCA != "" && f.OpsCert == "":
		return errors.New("--ops-tls-client-ca needs --ops-tls-cert and --ops-tls-key")
	case f.OpsKeys == "" && f.OpsClientCA == "" && !isLocal(f.OpsAddr):
		return fmt.Errorf("--ops-addr: %s can be reached by other machines; name who may come by --ops-keys or --ops-tls-client-ca, or listen on 127.0.0.1:3001 or unix:PATH", f.OpsAddr)
	}
	if err := checkFiles(f.opsFiles()); err != nil {
		return fmt.Errorf("--ops-keys, --ops-tls-cert, --ops-tls-key, --ops-tls-client-ca: %w", err)
	}
	return nil
}

// isLocal reports whether other machines cannot connect to the address.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// opsFiles are those that may change while the server runs.
func (f *opsFlags) opsFiles() (files []string) {
	for _, file := range []string{f.OpsKeys, f.OpsCert, f.OpsKey, f.OpsClientCA} {
		if f.OpsAddr != "" && file != "" {
			files = append(files, file)
		}
	}
	return files
}

// open are the scopes of --ops-open.
func (f *opsFlags) open() []ops.Scope {
	open := []ops.Scope{}
	for _, name := range f.OpsOpen {
		if scope, err := ops.ParseScope(name); err == nil { // not "none"
			open = append(open, scope)
		}
	}
	return open
}

// maxKeysFile bounds what is read of a file of keys: more than ops.ParseKeys takes.
const maxKeysFile = 2 << 20

// readKeys reads the file of keys; nil without one.
func (f *opsFlags) readKeys() (*ops.Keys, error) {
	if f.OpsKeys == "" {
		return nil, nil
	}
	file, err := openFile(f.OpsKeys)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxKeysFile))
	if err != nil {
		return nil, err
	}
	keys, err := ops.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.OpsKeys, err)
	}
	return keys, nil
}

// readTLS reads the certificate and the authorities of clients; nil without TLS.
func (f *opsFlags) readTLS() (*tls.Config, error) {
	if f.OpsCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.OpsCert, f.OpsKey)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if f.OpsClientCA == "" {
		return c, nil
	}
	text, err := os.ReadFile(f.OpsClientCA)
	if err != nil {
		return nil, err
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", f.OpsClientCA)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven // ops.Handler refuses whoever has nothing to show
	return c, nil
}

// operations are the listener of the program's operator. With an empty --ops-addr they
// are nothing.
type operations struct {
	flags   *opsFlags
	given   bool // --ops-addr is somebody's choice
	handler *ops.Handler
	server  *ops.Server
	config  atomic.Pointer[tls.Config] // nil without TLS
	asked   chan struct{}              // somebody asks for a drain
	place   *place                     // nil where nothing is served
	seen    [sha256.Size]byte          // what the files held before they were read
	ended   chan struct{}              // closed when nothing is served any more; nil before serve
}

// newOperations makes those of the server, and reads their files. The error is for
// whoever wrote the command line.
func newOperations(f *opsFlags, given bool, o ops.Options) (*operations, error) {
	if f.OpsAddr == "" {
		return &operations{flags: f}, nil
	}
	p := &operations{flags: f, given: given, asked: make(chan struct{}, 1)}
	p.seen = (&watched{files: f.opsFiles()}).sum() // a change in between is seen later
	var err error
	if o.Keys, err = f.readKeys(); err != nil {
		return nil, fmt.Errorf("--ops-keys: %w", err)
	}
	config, err := f.readTLS()
	if err != nil {
		return nil, fmt.Errorf("--ops-tls-cert, --ops-tls-key, --ops-tls-client-ca: %w", err)
	}
	p.config.Store(config)
	o.Certificates, o.Open = f.OpsClientCA != "", f.open()
	o.Drain = func() { p.asked <- struct{}{} } // once
	if p.handler, err = ops.New(o); err != nil {
		return nil, err
	}
	p.server = ops.NewServer(p.handler)
	return p, nil
}

// watched are the files of operations, for the watch.
func (o *operations) watched() *watched {
	return &watched{files: o.flags.opsFiles(), refused: "files of operations cannot be used; the old ones stay in use", prepare: o.prepare, seen: o.seen}
}

// prepare reads the files again.
func (o *operations) prepare() (use, error) {
	keys, err := o.flags.readKeys()
	if err != nil {
		return nil, err
	}
	config, err := o.flags.readTLS()
	if err != nil {
		return nil, err
	}
	return func() error {
		if keys != nil {
			o.handler.SetKeys(keys)
		}
		o.config.Store(config)
		o.server.CloseIdle() // a connection may have shown a certificate that does not count any more
		slog.Info("files of operations read", "files", o.flags.opsFiles())
		return nil
	}, nil
}

// listen listens for operations, in addition to the clients' places. Where that cannot
// be, an address that somebody has chosen is an error of the command line.
func (o *operations) listen(p *process, places []*place) error {
	if o.handler == nil {
		return nil
	}
	address := o.flags.OpsAddr
	err := apart(address, places)
	if err == nil {
		o.place, err = p.listenOn(address, 0o600)
	}
	if err == nil {
		return nil
	}
	o.place = nil
	if o.given {
		return usageError{fmt.Errorf("--ops-addr: %w", err)}
	}
	slog.Warn("operations are not served, since their default address cannot be used", "address", address, "error", err,
		"help", "--ops-addr with another address, or empty for none")
	return nil
}

// apart checks that an address is none of the clients'.
func apart(address string, places []*place) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || strings.HasPrefix(address, "unix:") {
		return nil // a path is taken or it is not
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		return err
	}
	ip, _ := netip.ParseAddr(host)
	for _, p := range places {
		theirs, ok := p.Addr().(*net.TCPAddr)
		if !ok || theirs.Port != number {
			continue
		}
		other := theirs.AddrPort().Addr().Unmap()
		same := ip.IsUnspecified() || other.IsUnspecified() || other == ip.Unmap()
		if !ip.IsValid() {
			same = host != "localhost" || other.IsLoopback() || other.IsUnspecified() // any other name may be any address
		}
		if same {
			return fmt.Errorf("%s is an address of clients (%s)", address, p)
		}
	}
	return nil
}

// serve serves operations until end.
func (o *operations) serve() {
	if o.place == nil {
		return
	}
	o.place.own(true)
	o.ended = make(chan struct{})
	var config *tls.Config
	if o.config.Load() != nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return o.config.Load(), nil
		}}
	} else if !isLocal(o.flags.OpsAddr) {
		slog.Warn("keys of operations are sent without TLS, so others on the way can read them", "help", "--ops-tls-cert and --ops-tls-key")
	}
	go func() {
		defer close(o.ended)
		if err := o.server.Serve(o.place, config); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("operations are not served any more", "error", err)
		}
	}()
	slog.Info("operations are served", "address", o.place.String())
}

// handOver leaves new connections to the process that has taken over. Requests that
// are under way continue.
func (o *operations) handOver() {
	if o.place == nil {
		return
	}
	o.place.own(false)
	now, cancel := context.WithCancel(context.Background())
	cancel()
	_ = o.server.Shutdown(now) // waits for nobody
}

// end is the last thing that is done with operations. Requests under way are cut off.
func (o *operations) end() {
	switch {
	case o.place == nil:
	case o.ended == nil:
		closeAll([]*place{o.place})
	default:
		_ = o.server.Close()
		<-o.ended
	}
}
