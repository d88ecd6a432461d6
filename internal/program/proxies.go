package program

import (
	"errors"
	"fmt"
	"net/netip"

	"turbine/engine"
)

const (
	// allPlaces stands for every address in --proxy-protocol.
	allPlaces = "all"
	// unixPeers stands for every peer on a Unix socket in --trusted-proxy.
	unixPeers = "unix"
)

// proxyFlags say what is in front of the server.
type proxyFlags struct {
	TrustedProxy  []string `placeholder:"NETWORK" help:"Networks or addresses of proxies whose word about the client's address is believed; unix trusts every peer on a Unix socket. None by default."`
	ClientHeader  string   `enum:",X-Forwarded-For,Forwarded,X-Real-IP" default:"" placeholder:"FIELD" help:"Header field in which trusted proxies name the client: X-Forwarded-For, Forwarded or X-Real-IP. By default the first of these that a request has."`
	ProxyProtocol []string `placeholder:"ADDRESS" help:"Addresses out of --addr and --tls-addr on which every connection begins with a PROXY protocol header, version 1 or 2; all means every address. A connection without the header, or from elsewhere than a trusted proxy, is closed there."`
}

func (f *proxyFlags) apply(o *engine.Options) (err error) {
	var networks []string
	for _, text := range f.TrustedProxy {
		if text == unixPeers {
			o.Proxies.TrustUnixSockets = true
			continue
		}
		networks = append(networks, text)
	}
	if o.Proxies.Trusted, err = networksOf("--trusted-proxy", networks); err != nil {
		return err
	}
	o.Proxies.ClientHeader = f.ClientHeader
	if len(f.ProxyProtocol) > 0 && len(f.TrustedProxy) == 0 {
		return errors.New("--proxy-protocol: without --trusted-proxy nobody could connect")
	}
	if f.ClientHeader != "" && len(f.TrustedProxy) == 0 {
		return errors.New("--client-header: without --trusted-proxy nobody is believed")
	}
	return nil
}

// change brings the flags into a server that runs. --proxy-protocol stays what it was.
func (f *proxyFlags) change(server *engine.Server) error {
	var o engine.Options
	if err := f.apply(&o); err != nil {
		return err
	}
	return server.SetProxies(o.Proxies)
}

// networksOf reads networks and single addresses.
func networksOf(flag string, texts []string) (networks []netip.Prefix, err error) {
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
			networks = append(networks, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no network; 203.0.113.0/24 is one", flag, text)
		}
		networks = append(networks, p)
	}
	return networks, nil
}
