package program

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"syscall"

	"turbine/engine"

	"github.com/cloudflare/tableflip"
	"github.com/coreos/go-systemd/v22/activation"
)

// A place is where the server listens.
type place struct {
	net.Listener
	given string // by --addr; empty for systemd's sockets, which are not ours to remove
	fresh bool   // this process has made it
	proxy bool   // its clients come through proxies that speak the PROXY protocol
	tls   bool   // it speaks TLS
}

// own says whether the file of a Unix socket ends with this process: not if
// another one keeps serving on it. It is called while nobody closes the listener.
func (p *place) own(owned bool) {
	if l, ok := p.Listener.(*net.UnixListener); ok && p.given != "" {
		l.SetUnlinkOnClose(owned)
	}
}

// String is how the place is called: with the port that it got, and as --addr
// wants it.
func (p *place) String() string {
	name := p.Addr().String()
	if p.Addr().Network() == "unix" {
		name = "unix:" + name
	}
	return name
}

func (p *place) isCalled(name string) bool { return name == p.given || name == p.String() }

// serve serves clients of the place until the server ends.
func (p *place) serve(server *engine.Server) error {
	l := p.Listener
	if p.proxy {
		l = engine.ProxyListener(l)
	}
	if p.tls {
		return server.ServeTLS(l)
	}
	return server.Serve(l)
}

// closeAll takes back what listen has done.
func closeAll(places []*place) {
	for _, p := range places {
		p.own(p.fresh)
		_ = p.Close()
	}
}

// listen listens on all addresses, or inherits the listeners of the process
// before, or takes those of systemd.
func (p *process) listen(f *flags, addresses []string) (places []*place, err error) {
	defer func() {
		if err != nil {
			closeAll(places)
		}
	}()
	if places, err = p.activated(); err != nil {
		return places, err
	}
	if len(places) == 0 {
		mode, err := f.mode()
		if err != nil {
			return nil, err
		}
		for _, address := range addresses {
			place, err := p.listenOn(address, mode)
			if err != nil {
				return places, err
			}
			places = append(places, place)
		}
	}
	for _, name := range f.ProxyProtocol {
		found := false
		for _, place := range places {
			if place.isCalled(name) || name == allPlaces {
				place.proxy, found = true, true
			}
		}
		if !found {
			return places, fmt.Errorf("--proxy-protocol: the server does not listen on %s", name)
		}
	}
	return places, nil
}

// listenOn listens on one address, unless the process before has done so.
func (p *process) listenOn(address string, mode fs.FileMode) (*place, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	network := "tcp"
	if unix {
		network = unixNetwork
	}
	inherited, err := p.Listener(network, address)
	if err != nil {
		return nil, fmt.Errorf("cannot inherit the listener from the process before: %w", err)
	}
	if inherited != nil {
		return &place{Listener: inherited, given: address}, nil
	}
	var l net.Listener
	if unix {
		l, err = engine.ListenUnix(path, mode)
	} else {
		l, err = engine.Listen(address)
	}
	if err != nil {
		err = fmt.Errorf("cannot listen on %s: %w", address, errors.Unwrap(err))
		if p.HasParent() && errors.Is(err, syscall.EADDRINUSE) {
			// 127.0.0.1:3001 in the place of 0.0.0.0:3001, or the other way round.
			err = fmt.Errorf("%w; if the process before still has this port, under the address that was set before, stop the server and start it", err)
		}
		return nil, err
	}
	return &place{Listener: l, given: address, fresh: true}, p.keep(network, address, l)
}

// keep keeps l for the next process, or closes it.
func (p *process) keep(network, name string, l net.Listener) error {
	err := errors.New("it is of no kind that is inherited")
	if shared, ok := l.(tableflip.Listener); ok {
		err = p.AddListener(network, name, shared)
	}
	if err != nil {
		_ = l.Close()
		return fmt.Errorf("cannot keep the listener for the next process: %w", err)
	}
	return nil
}

// What listeners are inherited under, in addition to "tcp": by their address, and
// those of systemd by number. tableflip would remove the files of Unix sockets under "unix"
// as soon as there can be no successor, when sessions still need them.
const (
	unixNetwork    = "unix socket"
	systemdNetwork = "systemd"
)

// activated are the listeners that systemd has opened for us, or for the first
// process of the line.
func (p *process) activated() (places []*place, err error) {
	for {
		l, err := p.Listener(systemdNetwork, strconv.Itoa(len(places)))
		if err != nil {
			return places, fmt.Errorf("cannot inherit a socket of systemd from the process before: %w", err)
		}
		if l == nil {
			break
		}
		places = append(places, &place{Listener: l})
	}
	if len(places) > 0 {
		return places, nil
	}
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot take the sockets of systemd: %w", err)
	}
	for i, l := range all {
		switch l.(type) {
		case *net.TCPListener, *net.UnixListener:
		default:
			return places, fmt.Errorf("socket %d of systemd accepts no connections; want ListenStream= with a port or a path", i)
		}
		places = append(places, &place{Listener: l})
		if err := p.keep(systemdNetwork, strconv.Itoa(i), l); err != nil {
			return places, err
		}
	}
	return places, nil
}

// listenFlags say where the server listens.
type listenFlags struct {
	Addr       []string `default:":3000" help:"Addresses to listen on: host:port, or unix:PATH for a Unix socket."`
	SocketMode string   `default:"660" help:"Permissions of Unix sockets, in octal: whoever may write to the file may connect."`
}

// apply sets no option: it checks what listen needs.
func (f *listenFlags) apply(*engine.Options) error {
	if err := checkAddresses("--addr", f.Addr); err != nil {
		return err
	}
	_, err := f.mode()
	return err
}

// checkAddresses says what cannot be listened on, whatever the machine.
func checkAddresses(flag string, addresses []string) error {
	for _, address := range addresses {
		if strings.HasPrefix(address, "unix:") {
			continue
		}
		_, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			return fmt.Errorf("%s: %q is no address; :3000 is one, host:3000 and unix:PATH are others", flag, address)
		}
	}
	return nil
}

func (f *listenFlags) mode() (fs.FileMode, error) {
	mode, err := strconv.ParseUint(f.SocketMode, 8, 32)
	if err != nil || mode == 0 || mode > uint64(fs.ModePerm) {
		return 0, fmt.Errorf("--socket-mode: %q are no permissions; 660 are some", f.SocketMode)
	}
	return fs.FileMode(mode), nil
}
