package program

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// healthPatience is how long turbine health waits for an answer: less than
// supervisors wait for turbine health.
const healthPatience = 5 * time.Second

// health asks the server that these flags start whether clients may be sent to it,
// and says so. It returns the exit code.
func (f *flags) health(stdout, stderr io.Writer) int {
	d, err := f.healthDoor()
	if err != nil {
		fmt.Fprintf(stderr, "turbine health: %v\n", err)
		return exitUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthPatience)
	defer cancel()
	if err := d.ask(ctx); err != nil {
		fmt.Fprintf(stderr, "turbine health: %v\n", err)
		return exitFailed
	}
	fmt.Fprintln(stdout, "turbine health: ok")
	return 0
}

// A door is an address of the server, as one who knocks knows it, and where the question
// goes there.
type door struct {
	network, address string
	tls              bool
	host, path       string
	help             string // what the operator may look at if the answer is no health
}

// doorOf is the door of an address as flags have it.
func doorOf(address string) door {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return door{network: "unix", address: path, host: "localhost"}
	}
	return door{network: "tcp", address: address, host: "localhost"}
}

// healthDoor is where to ask: for --health-path where clients are served, as a load
// balancer does, otherwise where operations are.
func (f *flags) healthDoor() (door, error) {
	var why error
	if f.HealthPath != "" {
		d, err := f.clientsDoor()
		if err == nil || !errors.Is(err, errNoDoor) {
			return d, err
		}
		why = err
	}
	if f.OpsAddr != "" {
		return f.operationsDoor()
	}
	if why == nil {
		why = errors.New("the server has neither --health-path nor --ops-addr; give it one, such as --health-path /healthz")
	}
	return door{}, why
}

// errNoDoor says that turbine health has not what the clients' addresses want.
var errNoDoor = errors.New("each address of the server wants a PROXY protocol header or a client's certificate; give it --ops-addr, or one more in --addr, such as unix:/run/turbine/health.sock")

// clientsDoor is an address of clients: one that speaks plain HTTP before one that
// speaks TLS, and none where the server wants what turbine health does not have.
func (f *flags) clientsDoor() (best door, err error) {
	for _, list := range []struct {
		flag      string
		addresses []string
	}{{"--addr", f.Addr}, {"--tls-addr", f.TLSAddr}} {
		if err := checkAddresses(list.flag, list.addresses); err != nil {
			return best, err
		}
	}
	found := false
	for _, name := range f.addresses() {
		d := doorOf(name)
		d.path, d.help = f.HealthPath, "does the server have --health-path "+f.HealthPath+"?"
		d.tls = slices.Contains(f.TLSAddr, name) || f.Cert != "" && len(f.TLSAddr) == 0 && d.network != "unix" // as markTLS has it
		switch {
		case slices.Contains(f.ProxyProtocol, name) || slices.Contains(f.ProxyProtocol, allPlaces):
		case !d.tls:
			return d, nil
		case f.ClientCA != "" && f.ClientAuth == "require":
		case !found:
			best, found = d, true
		}
	}
	if !found {
		return best, errNoDoor
	}
	return best, nil
}

// operationsDoor is the address of operations. The question has their port in its Host,
// without which a listener that has no keys refuses it.
func (f *flags) operationsDoor() (door, error) {
	if err := checkAddresses("--ops-addr", []string{f.OpsAddr}); err != nil {
		return door{}, err
	}
	d := doorOf(f.OpsAddr)
	d.tls, d.path, d.help = f.OpsCert != "", "/healthz", "is that the server's --ops-addr, and health in its --ops-open?"
	if d.network == "tcp" {
		_, name, _ := net.SplitHostPort(f.OpsAddr)
		port, err := net.LookupPort("tcp", name)
		if err != nil {
			return door{}, fmt.Errorf("--ops-addr: %w", err)
		}
		d.host = net.JoinHostPort("localhost", strconv.Itoa(port))
	}
	return d, nil
}

// ask asks for health. The error is for an operator.
func (d door) ask(ctx context.Context) error {
	scheme := "http"
	if d.tls {
		scheme = "https"
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		// An address without a host is this machine.
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, d.network, d.address)
		},
		// The certificate has a name, and the door an address. Nothing secret is sent: the
		// question is whether the server answers.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // #nosec G402
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+d.host+d.path, nil)
	if err != nil {
		return fmt.Errorf("--health-path: %w", err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", d.address, err)
	}
	_ = response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusServiceUnavailable:
		return fmt.Errorf("%s answers with 503: the server starts or drains", d.address)
	}
	return fmt.Errorf("%s answers with %s; %s", d.address, response.Status, d.help)
}
