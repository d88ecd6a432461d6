package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func noEmbedded(EmbeddedConfig) (string, func(), error) { panic("New opens nothing") }

func TestOptionsThatNewRefuses(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	certificate := []tls.Certificate{{}}
	pool := x509.NewCertPool()
	for _, row := range []struct {
		name   string
		change func(o *Options)
		says   []string
	}{
		{"no name", func(o *Options) { o.Name = "" }, []string{"Options.Name", "1 to 64"}},
		{"a name with a dot", func(o *Options) { o.Name = "a.b" }, []string{"Options.Name"}},
		{"a name with a wildcard", func(o *Options) { o.Name = ">" }, []string{"Options.Name"}},
		{"a long name", func(o *Options) { o.Name = strings.Repeat("a", 65) }, []string{"Options.Name"}},
		{"a node name with a line", func(o *Options) { o.NodeName = "a\nb" }, []string{"Options.NodeName"}},
		{"a long version", func(o *Options) { o.Version = strings.Repeat("a", 256) }, []string{"Options.Version"}},
		{"a short key", func(o *Options) { o.Key = key[1:] }, []string{"Options.Key", "32 bytes"}},
		{"an empty key", func(o *Options) { o.Key = []byte{} }, []string{"Options.Key", "32 bytes"}},
		{"no NATS", func(o *Options) { o.Embedded = nil }, []string{"Options.NATS", "embedded.Start"}},
		{"a URL that is none", func(o *Options) { o.NATS = "nats.example" }, []string{"Options.NATS", "nats://"}},
		{"a port that is none", func(o *Options) { o.Listen = "127.0.0.1:http" }, []string{"Options.Listen", "host:port"}},
		{"no port", func(o *Options) { o.Listen = "127.0.0.1" }, []string{"Options.Listen", "host:port"}},
		{"a route without a host", func(o *Options) { o.Routes = []string{":6222"} }, []string{"Options.Routes", "no host"}},
		{"a name without a port", func(o *Options) { o.Routes = []string{"dns:nodes"} }, []string{"Options.Routes", "host:port"}},
		{"links without a key", func(o *Options) { o.Listen = "10.0.0.1:7222" }, []string{"Options.Listen", "Options.Key", "ReadKey"}},
		{"routes without a key", func(o *Options) { o.NATSListen = "0.0.0.0:6222" }, []string{"Options.NATSListen", "Options.Key"}},
		{"others without a key", func(o *Options) { o.Routes = []string{"a.example:6222"} }, []string{"Options.Routes", "Options.Key"}},
		{"names without a key", func(o *Options) { o.Routes = []string{"dns:nodes:6222"} }, []string{"Options.Routes", "Options.Key"}},
		{"an address without a key", func(o *Options) { o.Advertise = "[2001:db8::1]:7222" }, []string{"Options.Advertise", "Options.Key"}},
		{"insecure without a key", func(o *Options) { o.Listen, o.Insecure = "10.0.0.1:7222", true }, []string{"Options.Key"}},
		{"links without TLS", func(o *Options) { o.Listen, o.Key = "10.0.0.1:7222", key }, []string{"Options.Listen", "Options.TLS", "Insecure"}},
		{"everywhere, without an address", func(o *Options) { o.Listen, o.Key, o.Insecure = "0.0.0.0:7222", key, true }, []string{"Options.Advertise"}},
		{"everywhere, of IPv6", func(o *Options) { o.Listen, o.Key, o.Insecure = "[::]:7222", key, true }, []string{"Options.Advertise"}},
		{"an address of all interfaces", func(o *Options) { o.Advertise, o.Key, o.Insecure = "0.0.0.0:7222", key, true }, []string{"Options.Advertise"}},
		{"no certificate", func(o *Options) { o.TLS = &tls.Config{RootCAs: pool, ClientCAs: pool} }, []string{"Options.TLS", "certificate"}},
		{"no client CA", func(o *Options) { o.TLS = &tls.Config{Certificates: certificate, RootCAs: pool} }, []string{"Options.TLS", "ClientCAs"}},
		{"no root CA", func(o *Options) { o.TLS = &tls.Config{Certificates: certificate, ClientCAs: pool} }, []string{"Options.TLS", "RootCAs"}},
		{"no verification", func(o *Options) {
			o.TLS = &tls.Config{Certificates: certificate, RootCAs: pool, ClientCAs: pool, InsecureSkipVerify: true}
		}, []string{"Options.TLS", "InsecureSkipVerify"}},
		{"messages that are too large", func(o *Options) { o.MaxMessage = 8<<20 + 1 }, []string{"Options.MaxMessage"}},
		{"a negative size", func(o *Options) { o.MaxMessage = -1 }, []string{"Options.MaxMessage"}},
		{"negative relays", func(o *Options) { o.MaxRelays = -1 }, []string{"Options.MaxRelays"}},
	} {
		o := Options{Name: "shop", Embedded: noEmbedded}
		row.change(&o)
		c, err := New(o)
		require.Nil(t, c, row.name)
		for _, word := range row.says {
			require.ErrorContains(t, err, word, row.name)
		}
		require.True(t, strings.HasPrefix(err.Error(), "cluster: "), err)
		require.NotContains(t, err.Error(), string(key))
	}
}

func TestOptionsThatNewTakes(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	pool := x509.NewCertPool()
	secure := &tls.Config{Certificates: []tls.Certificate{{}}, RootCAs: pool, ClientCAs: pool}
	for name, o := range map[string]Options{
		"one machine":           {Embedded: noEmbedded},
		"one machine, named":    {Embedded: noEmbedded, Listen: "localhost:0", NATSListen: "[::1]:0", Routes: []string{"127.0.0.2:6222"}},
		"several, TLS":          {Embedded: noEmbedded, Key: key, TLS: secure, Listen: "0.0.0.0:7222", Advertise: "10.0.0.1:0", NATSListen: "10.0.0.1:6222", Routes: []string{"dns:nodes:6222"}},
		"several, private":      {Embedded: noEmbedded, Key: key, Insecure: true, Listen: "10.0.0.1:7222"},
		"external":              {NATS: "nats://user:password@nats.example:4222,tls://other.example"},
		"external, embedded in": {NATS: "nats://nats.example", Embedded: noEmbedded, NATSListen: "10.0.0.1:1"},
	} {
		o.Name = "shop"
		c, err := New(o)
		require.NoError(t, err, name)
		require.NotZero(t, c.Node().ID)
		require.Same(t, c.Node(), c.Node())
		other, err := New(o)
		require.NoError(t, err, name)
		require.NotEqual(t, c.Node().ID, other.Node().ID)
		require.Nil(t, c.NATS())
		require.NoError(t, c.Leave(t.Context()), "without a Join")
	}
	require.Equal(t, tls.NoClientCert, secure.ClientAuth, "it is the caller's")
}
