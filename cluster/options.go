package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"turbine/engine"
)

const (
	defaultListen     = "127.0.0.1:0"
	defaultNATSListen = "127.0.0.1:6222"
	defaultMaxRelays  = 100_000
	minMaxMessage     = 1 << 20
	maxMaxMessage     = 8 << 20
	messageRoom       = 64 << 10 // of NATS above MaxMessage, for names and heads
)

// Options are what a Cluster is made with. Only Name and one of NATS and Embedded are
// needed on one machine. On several, each node needs Key, Listen, Advertise, NATSListen
// and Routes.
type Options struct {
	// Name is the cluster's name: 1 to 64 letters, digits, `-` and `_`. Nodes of different
	// names do not know of each other. It stands in NATS subjects.
	Name string
	// NodeName is the node's name in logs, events and metrics, at most 255 bytes. It routes
	// nothing, and two nodes may have the same. Empty: the node's id. SetNodeName changes
	// it until Join.
	NodeName string
	// Version is the program's version, for Members. Empty: there is none.
	Version string

	// Key is the secret of the cluster, at least 32 bytes, the same on all nodes: ReadKey
	// reads it from a file. Whoever has it can speak for every session. Nil is for a
	// cluster on one machine: New refuses it unless Listen, Advertise, NATSListen and
	// Routes are loopback addresses.
	Key []byte
	// TLS encrypts links, and the routes of an embedded NATS server. Certificates,
	// RootCAs and ClientCAs are used: each node is client and server, so a certificate
	// needs both extended key usages, and the host of Advertise among its names. Both
	// sides ask for a certificate. For an external NATS with tls:// Certificates and
	// RootCAs are used too. Nil: nothing is encrypted, which New refuses for addresses
	// that are not loopback, unless Insecure is set.
	TLS *tls.Config
	// Insecure allows addresses that are not loopback without TLS, for a network that
	// only the nodes are on. Key is still needed.
	Insecure bool

	// Listen is the address for links, host:port, over which requests travel between
	// nodes. Empty: 127.0.0.1 and a random port.
	Listen string
	// Advertise is the host:port by which other nodes reach Listen; port 0 is that of
	// Listen. Empty: the address of Listen, which then may not be that of all interfaces.
	Advertise string

	// NATS is the URL of an external NATS server, or of several, comma-separated, with
	// credentials in it: nats://user:password@nats.example:4222. Its account has to allow
	// turbine.<Name>.> to publish and subscribe, and its max_payload MaxMessage and 64
	// KiB. Empty: Embedded.
	NATS string
	// Embedded is embedded.Start, of package turbine/cluster/embedded, or nil. It is not
	// used where NATS is given. Without both New fails.
	Embedded func(EmbeddedConfig) (url string, stop func(), err error)
	// NATSListen is the address for the routes of the embedded server, host:port. Empty:
	// 127.0.0.1:6222. A second node of a machine finds it taken, uses another port, and
	// finds the first there.
	NATSListen string
	// Routes are the addresses of embedded servers of other nodes: host:port, or
	// dns:name:port for all addresses that a name has. One that is up is enough. This
	// node's own may be among them, so all nodes can be given the same list.
	Routes []string

	// MaxMessage is how many bytes a message that is published may have, at most 8 MiB.
	// Above it publishing returns an error, and only this node's sessions get the
	// message. Zero: engine.Options.MaxPayload, but at least 1 MiB and at most 8 MiB. All
	// nodes need the same.
	MaxMessage int
	// MaxRelays is how many WebSockets of sessions of other nodes this node relays. Above
	// it an upgrade is answered with 503, and its session stays on polling. Zero: 100,000.
	MaxRelays int

	// Told gets what other nodes Tell, in order with what they publish. It borrows body, and
	// is called on one goroutine, which also gives this node's sessions what other nodes
	// publish: it must not block. Nil: nobody is told.
	Told func(from engine.NodeID, body []byte)
	// Asked answers what another node asks by Ask, on the goroutine of Told and in order
	// with it. It borrows body, must not block, and has answer called once, then or later,
	// on any goroutine; behind 500 milliseconds nobody waits for the answer. Nil: the
	// node is among those that did not answer.
	Asked func(from engine.NodeID, body []byte, answer func([]byte))

	// Event is told what becomes of the cluster. It is called on one goroutine, one event
	// after another, and must not block: while it does, this node looks dead to others.
	// Nil: nobody is told. Events are logged as well.
	Event func(Event)
	// Logger gets what the cluster has to say. Nil: slog.Default.
	Logger *slog.Logger
}

// withDefaults checks o, and fills in what is missing. Each error says what to do.
func (o Options) withDefaults() (Options, error) {
	fail := func(format string, v ...any) (Options, error) {
		return Options{}, fmt.Errorf("cluster: "+format, v...)
	}
	if !isToken(o.Name, 64) {
		return fail("Options.Name is %q: it needs 1 to 64 letters, digits, `-` and `_`", o.Name)
	}
	for name, text := range map[string]string{"NodeName": o.NodeName, "Version": o.Version} {
		if len(text) > maxName || !plain(text) {
			return fail("Options.%s has more than %d bytes, or control characters", name, maxName)
		}
	}
	if o.Key != nil {
		if err := checkKey(o.Key); err != nil {
			return fail("Options.Key: %w", err)
		}
		o.Key = slices.Clone(o.Key)
	}
	if o.NATS == "" && o.Embedded == nil {
		return fail("neither Options.NATS nor Options.Embedded is given: name a NATS server by its URL, or set Embedded to embedded.Start of turbine/cluster/embedded")
	}
	if o.NATS != "" {
		if err := checkNATS(o.NATS); err != nil {
			return fail("Options.NATS: %w", err)
		}
	}
	if o.Listen == "" {
		o.Listen = defaultListen
	}
	if o.NATSListen == "" {
		o.NATSListen = defaultNATSListen
	}
	if err := o.checkAddresses(); err != nil {
		return Options{}, err
	}
	if o.TLS != nil {
		if err := checkTLS(o.TLS); err != nil {
			return fail("Options.TLS: %w", err)
		}
		o.TLS = o.TLS.Clone()
		o.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		o.TLS.MinVersion = max(o.TLS.MinVersion, tls.VersionTLS12)
	}
	switch {
	case o.MaxMessage < 0 || o.MaxMessage > maxMaxMessage:
		return fail("Options.MaxMessage is %d: it may be at most %d bytes", o.MaxMessage, maxMaxMessage)
	case o.MaxRelays < 0:
		return fail("Options.MaxRelays is negative")
	case o.MaxRelays == 0:
		o.MaxRelays = defaultMaxRelays
	}
	if o.Event == nil {
		o.Event = func(Event) {}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Routes = slices.Clone(o.Routes)
	return o, nil
}

func checkTLS(c *tls.Config) error {
	switch {
	case len(c.Certificates) == 0 && c.GetCertificate == nil:
		return errors.New("it has no certificate")
	case c.ClientCAs == nil:
		return errors.New("ClientCAs is missing, by which a node knows the others that dial it")
	case c.RootCAs == nil:
		return errors.New("RootCAs is missing, by which a node knows the others that it dials")
	case c.InsecureSkipVerify:
		return errors.New("InsecureSkipVerify would let anybody in between")
	}
	return nil
}

// checkAddresses reads all addresses, and refuses those that others than this machine
// reach without what protects them.
func (o *Options) checkAddresses() error {
	type named struct {
		field, address string
		listens        bool
	}
	list := []named{{"Listen", o.Listen, true}}
	if o.Advertise != "" {
		list = append(list, named{"Advertise", o.Advertise, false})
	}
	if o.NATS == "" {
		list = append(list, named{"NATSListen", o.NATSListen, true})
		for _, r := range o.Routes {
			list = append(list, named{"Routes", strings.TrimPrefix(r, "dns:"), false})
		}
	}
	for _, a := range list {
		host, _, err := splitAddress(a.address)
		if err == nil && host == "" && !a.listens {
			err = errors.New("it has no host")
		}
		if err != nil {
			return fmt.Errorf("cluster: Options.%s is %q, and has to be host:port: %w", a.field, a.address, err)
		}
		if isLoopback(host) {
			continue
		}
		if len(o.Key) == 0 {
			return fmt.Errorf("cluster: Options.%s is %s, which other machines reach, and there is no Options.Key: give all nodes the same key, see ReadKey", a.field, a.address)
		}
		if o.TLS == nil && !o.Insecure {
			return fmt.Errorf("cluster: Options.%s is %s, which other machines reach, and there is no Options.TLS: give TLS, or set Insecure if only the nodes are on that network", a.field, a.address)
		}
	}
	host, _, _ := splitAddress(o.Listen)
	if o.Advertise == "" && isEverywhere(host) {
		return fmt.Errorf("cluster: Options.Listen is %s, an address that nobody can dial: say in Options.Advertise how other nodes reach this one", o.Listen)
	}
	host, port, _ := splitAddress(o.Advertise)
	if o.Advertise != "" && isEverywhere(host) {
		return fmt.Errorf("cluster: Options.Advertise is %s, an address that nobody can dial", net.JoinHostPort(host, port))
	}
	return nil
}

// splitAddress is net.SplitHostPort for a port that is a number.
func splitAddress(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", "", fmt.Errorf("%q is no port", port)
	}
	return host, port, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// isEverywhere reports whether a host stands for all interfaces.
func isEverywhere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.Unmap().IsUnspecified()
}
