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
	if err := d.ask(ctx, f.HealthPath); err != nil {
		fmt.Fprintf(stderr, "turbine health: %v\n", err)
		return exitFailed
	}
	fmt.Fprintln(stdout, "turbine health: ok")
	return 0
}

// A door is an address of the server, as one who knocks knows it.
type door struct {
	network, address string
	tls              bool
}

// healthDoor is the address to ask: one that speaks plain HTTP before one that
// speaks TLS, and none where the server wants what turbine health does not have.
func (f *flags) healthDoor() (best door, err error) {
	if f.HealthPath == "" {
		return best, errors.New("the server has no --health-path; give it one, such as /healthz")
	}
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
		d := door{network: "tcp", address: name}
		if path, ok := strings.CutPrefix(name, "unix:"); ok {
			d = door{network: "unix", address: path}
		}
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
		return best, errors.New("each address of the server wants a PROXY protocol header or a client's certificate; give it one more in --addr, such as unix:/run/turbine/health.sock")
	}
	return best, nil
}

// ask asks for a path. The error is for an operator.
func (d door) ask(ctx context.Context, path string) error {
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
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost"+path, nil)
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
		return fmt.Errorf("%s answers with 503: the server drains", d.address)
	}
	return fmt.Errorf("%s answers with %s; does the server have --health-path %s?", d.address, response.Status, path)
}
