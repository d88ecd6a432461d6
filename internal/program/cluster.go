package program

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"turbine/cluster"
	"turbine/cluster/embedded"
	"turbine/engine"
)

// What the flags of a cluster are by default, which is no address of another machine.
const (
	clusterListen     = "127.0.0.1:0"
	clusterNATS       = "embedded"
	clusterNATSListen = "127.0.0.1:6222"
	maxRelays         = 100_000
)

// clusterFlags say which servers are one, and how they reach each other.
type clusterFlags struct {
	Cluster           string   `placeholder:"NAME" help:"Name of the cluster that this server is a node of: clients may come to any of its nodes, without sticky sessions. It has 1 to 64 letters, digits, - and _. A server without one is alone, opens no port for others, and takes no other flag of a cluster. None by default."`
	NodeName          string   `placeholder:"NAME" help:"What this server is called in logs, in metrics and on the status page, at most 255 bytes. By default the host and the port of the first listener in a cluster, and the name of the host for a server that is alone."`
	ClusterKey        string   `placeholder:"FILE" help:"File with the key of the cluster, of at least 32 bytes, the same on all nodes: whoever has it may act as a node. Only the owner of the file may write it, and nobody but the owner and the group may read it. It may be left out where all addresses of the cluster are loopback addresses. None by default."`
	ClusterListen     string   `default:"127.0.0.1:0" help:"Address on which other nodes reach this one with requests of clients: host:port. Port 0 means one that the system chooses."`
	ClusterAdvertise  string   `placeholder:"HOST:PORT" help:"Address that other nodes are told for this one, where it is another than that of --cluster-listen: in a container, or where that one is 0.0.0.0. Port 0 means that of --cluster-listen. By default that of --cluster-listen."`
	ClusterNATS       string   `name:"cluster-nats" default:"embedded" help:"How nodes find each other and publish: embedded runs a NATS server in each node. Otherwise comma-separated URLs of NATS servers, such as nats://user:password@nats.example:4222; with tls:// connections are over TLS."`
	ClusterNATSListen string   `name:"cluster-nats-listen" default:"127.0.0.1:6222" help:"Address on which the embedded NATS server of this node hears those of other nodes: host:port. If another node of this machine has it, the server takes another port and finds that node."`
	ClusterJoin       []string `placeholder:"HOST:PORT" help:"Where other nodes are found, by their --cluster-nats-listen: host:port of some of them, or dns:NAME:PORT for all addresses that a name has, which is looked up again and again. This node may be among them, so all nodes can have the same list. None by default."`
	ClusterTLSCert    string   `name:"cluster-tls-cert" placeholder:"FILE" help:"Certificate of this node in PEM, followed by those of the authorities in between. With it nodes speak TLS to each other, and each has to have a certificate of --cluster-tls-ca, for servers and for clients, with the host of --cluster-advertise among the names. None by default."`
	ClusterTLSKey     string   `name:"cluster-tls-key" placeholder:"FILE" help:"Key of the certificate of this node in PEM. None by default."`
	ClusterTLSCA      string   `name:"cluster-tls-ca" placeholder:"FILE" help:"Certificates in PEM of the authorities that nodes have their certificates from. None by default."`
	ClusterInsecure   bool     `help:"Let nodes speak to each other without TLS over addresses that other machines reach, in a network that only the nodes are on."`
	MaxRelays         int      `default:"100000" help:"Limit of WebSockets of other nodes' sessions that this node passes on. Above it one is refused with 503 and its session stays on polling."`
}

// apply sets no option: it checks what is about flags, and cluster.New the rest.
func (f *clusterFlags) apply(*engine.Options) error {
	files := f.clusterFiles()
	switch {
	case f.Cluster == "":
		if other := f.other(); other != "" {
			return fmt.Errorf("%s is for a node of a cluster; name the cluster by --cluster", other)
		}
		return nil
	case f.MaxRelays < 1:
		return fmt.Errorf("--max-relays of %d is below 1", f.MaxRelays)
	case f.ClusterNATS != clusterNATS && len(f.ClusterJoin) > 0:
		return errors.New("--cluster-join is for --cluster-nats embedded; servers with a URL know each other")
	case f.ClusterTLSCert+f.ClusterTLSKey+f.ClusterTLSCA != "" && (f.ClusterTLSCert == "" || f.ClusterTLSKey == "" || f.ClusterTLSCA == ""):
		return errors.New("--cluster-tls-cert, --cluster-tls-key and --cluster-tls-ca go together")
	}
	if err := checkFiles(files); err != nil {
		return fmt.Errorf("--cluster-key, --cluster-tls-cert, --cluster-tls-key, --cluster-tls-ca: %w", err)
	}
	return nil
}

// other is a flag that is set and makes no sense without --cluster, or "". An empty text
// is what a flag has that nobody has read.
func (f *clusterFlags) other() string {
	for _, flag := range []struct{ name, value, unset string }{
		{"--cluster-key", f.ClusterKey, ""},
		{"--cluster-listen", f.ClusterListen, clusterListen},
		{"--cluster-advertise", f.ClusterAdvertise, ""},
		{"--cluster-nats", f.ClusterNATS, clusterNATS},
		{"--cluster-nats-listen", f.ClusterNATSListen, clusterNATSListen},
		{"--cluster-join", strings.Join(f.ClusterJoin, ","), ""},
		{"--cluster-tls-cert", f.ClusterTLSCert, ""},
		{"--cluster-tls-key", f.ClusterTLSKey, ""},
		{"--cluster-tls-ca", f.ClusterTLSCA, ""},
	} {
		if flag.value != "" && flag.value != flag.unset {
			return flag.name
		}
	}
	switch {
	case f.ClusterInsecure:
		return "--cluster-insecure"
	case f.MaxRelays != 0 && f.MaxRelays != maxRelays:
		return "--max-relays"
	}
	return ""
}

// clusterFiles are those that the flags name.
func (f *clusterFlags) clusterFiles() (files []string) {
	for _, file := range []string{f.ClusterKey, f.ClusterTLSCert, f.ClusterTLSKey, f.ClusterTLSCA} {
		if file != "" {
			files = append(files, file)
		}
	}
	return files
}

// readTLS reads the certificate of the node and its authorities; nil without TLS.
func (f *clusterFlags) readTLS() (*tls.Config, error) {
	if f.ClusterTLSCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.ClusterTLSCert, f.ClusterTLSKey)
	if err != nil {
		return nil, fmt.Errorf("--cluster-tls-cert, --cluster-tls-key: %w", err)
	}
	text, err := os.ReadFile(f.ClusterTLSCA)
	if err != nil {
		return nil, fmt.Errorf("--cluster-tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--cluster-tls-ca: %s has no certificate in PEM", f.ClusterTLSCA)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// newCluster is the cluster that the flags name; nil without one. The error is for whoever
// wrote the flags.
func (f *clusterFlags) newCluster(version string) (*cluster.Cluster, error) {
	if f.Cluster == "" {
		return nil, nil
	}
	o := cluster.Options{
		Name: f.Cluster, NodeName: f.NodeName, Version: version, Insecure: f.ClusterInsecure,
		Listen: f.ClusterListen, Advertise: f.ClusterAdvertise, MaxRelays: f.MaxRelays,
		Embedded: embedded.Start, NATSListen: f.ClusterNATSListen, Routes: f.ClusterJoin,
	}
	if f.ClusterNATS != clusterNATS {
		o.NATS = f.ClusterNATS
	}
	var err error
	if f.ClusterKey != "" {
		if o.Key, err = cluster.ReadKey(f.ClusterKey); err != nil {
			return nil, fmt.Errorf("--cluster-key: %s", clusterWords.Replace(err.Error()))
		}
	}
	if o.TLS, err = f.readTLS(); err != nil {
		return nil, err
	}
	c, err := cluster.New(o)
	if err != nil {
		return nil, errors.New(clusterWords.Replace(err.Error()))
	}
	return c, nil
}

// clusterWords puts flags in the place of options in errors of package cluster.
var clusterWords = strings.NewReplacer(
	"cluster: ", "", "Options.NodeName", "--node-name", "Options.Name", "--cluster",
	"Options.Key", "--cluster-key", "Options.TLS", "--cluster-tls-cert", "give TLS", "give --cluster-tls-cert", "set Insecure", "give --cluster-insecure",
	"Options.Listen", "--cluster-listen", "Options.Advertise", "--cluster-advertise",
	"Options.NATSListen", "--cluster-nats-listen", "Options.NATS", "--cluster-nats", "Options.Routes", "--cluster-join",
	"Options.MaxRelays", "--max-relays", ", see ReadKey", "", "lower Options.MaxMessage", "lower --max-payload",
)

// aloneName is what the server is called before it listens; "" for a node of a cluster
// that its operator has not named.
func (f *clusterFlags) aloneName() string {
	if f.NodeName == "" && f.Cluster == "" {
		host, _ := os.Hostname()
		return host
	}
	return f.NodeName
}

// nodeName is what a node is called: by its operator, or as others can find it.
func (f *clusterFlags) nodeName(places []*place) string {
	if f.NodeName != "" {
		return f.NodeName
	}
	host, _ := os.Hostname()
	address, ok := places[0].Addr().(*net.TCPAddr)
	switch {
	case !ok: // a path is of this machine
		return host + ":" + places[0].Addr().String()
	case address.IP.IsUnspecified(): // as those of other machines are
		return net.JoinHostPort(host, strconv.Itoa(address.Port))
	}
	return address.String()
}
