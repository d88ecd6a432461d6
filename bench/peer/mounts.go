package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"turbine/bench/load"
)

// mounts are the ways to have this server in one's system.
func mounts(w workshop) []*Peer {
	var all []*Peer
	for _, m := range []struct {
		name, what, proxy string
		command           func(port int, s Settings) (argv, env []string)
		tls               bool
	}{
		{"own", "its own listener", "", w.turbineCommand, false},
		{"own-no-profile", "its own listener, built without the compiler's profile", "", w.unprofiledCommand, false},
		{"own-tls", "its own listener, TLS 1.3 on the event loop", "", w.ownTLS, true},
		{"nethttp", "in a net/http server, which gives its connections away", "", w.mounted(false), false},
		{"nethttp-tls", "in a net/http server, TLS 1.3 by net/http", "", w.mounted(true), true},
		{"nginx", "behind nginx, by a Unix socket", "nginx", w.proxied("nginx"), false},
		{"haproxy", "behind haproxy, by a Unix socket", "haproxy", w.proxied("haproxy"), false},
	} {
		p := &Peer{Name: m.name, What: m.what, Dialect: load.EngineIO, Path: "/engine.io/", Mount: true,
			install: w.mount(m.proxy), command: m.command}
		p.TLS, p.workshop = m.tls, w
		all = append(all, p)
	}
	return all
}

// mount builds what the mounts have in common, and looks for the proxy.
func (w workshop) mount(proxy string) func(context.Context, io.Writer) (string, error) {
	return func(ctx context.Context, log io.Writer) (string, error) {
		version, err := w.turbine(ctx, log)
		if err != nil {
			return "", err
		}
		if err := run(ctx, log, w.root, nil, "go", "build", "-o", filepath.Join(w.cache, "target"), "./internal/e2e/target"); err != nil {
			return "", err
		}
		if err := run(ctx, log, w.root, nil, "go", "build", "-pgo=off", "-o", filepath.Join(w.cache, unprofiled), "."); err != nil {
			return "", err
		}
		if err := w.certify(); err != nil {
			return "", fmt.Errorf("make a certificate: %w", err)
		}
		if proxy == "" {
			return version, nil
		}
		program, err := exec.LookPath(proxy)
		if err != nil {
			return "", err
		}
		out, err := exec.CommandContext(ctx, program, "-v").CombinedOutput()
		if err != nil {
			return "", err
		}
		first, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(first), nil
	}
}

// unprofiled is the program built as the peers in Go are: without a profile.
const unprofiled = "turbine-no-profile"

func (w workshop) unprofiledCommand(port int, s Settings) (argv, env []string) {
	argv, env = w.turbineCommand(port, s)
	argv[0] = filepath.Join(w.cache, unprofiled)
	return argv, env
}

func (w workshop) ownTLS(port int, s Settings) (argv, env []string) {
	s.TLS = true
	return w.turbineCommand(port, s)
}

func (w workshop) mounted(secure bool) func(int, Settings) ([]string, []string) {
	return func(port int, s Settings) (argv, env []string) {
		argv = []string{filepath.Join(w.cache, "target"), "--addr", "127.0.0.1:" + strconv.Itoa(port), "--mount", "nethttp"}
		if secure {
			argv[len(argv)-1] = "nethttp-tls"
			argv = append(argv, "--tls-cert", w.file("cert.pem"), "--tls-key", w.file("key.pem"))
		}
		if s.PingInterval > 0 {
			argv = append(argv, "--ping-interval", s.PingInterval.String())
		}
		if s.PingTimeout > 0 {
			argv = append(argv, "--ping-timeout", s.PingTimeout.String())
		}
		if n := s.workers(); n > 0 {
			argv = append(argv, "--loops", strconv.Itoa(n))
		}
		return argv, setting(port, s)
	}
}

// proxied runs a script of the folder mounts.
func (w workshop) proxied(proxy string) func(int, Settings) ([]string, []string) {
	return func(port int, s Settings) (argv, env []string) {
		turbine, env := w.turbineCommand(port, s)
		i := slices.Index(turbine, "--addr")
		turbine = slices.Delete(turbine, i, i+2) // the script says where
		return []string{"sh", filepath.Join(w.source, "mounts", proxy+".sh")}, append(env, "TURBINE="+strings.Join(turbine, " "))
	}
}

func (w workshop) file(name string) string { return filepath.Join(w.cache, "mounts", name) }

// certify makes a certificate for localhost that is good for a day.
func (w workshop) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(w.cache, "mounts"), 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(w.file("cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(w.file("key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
	)
}

// trust is the configuration of a client that trusts the certificate.
func (w workshop) trust() (*tls.Config, error) {
	cert, err := os.ReadFile(w.file("cert.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(cert) {
		return nil, fmt.Errorf("%s holds no certificate", w.file("cert.pem"))
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS13}, nil
}
