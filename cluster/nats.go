package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	natsTimeout  = 2 * time.Second
	natsAgain    = 250 * time.Millisecond // between two attempts to reach NATS
	natsJitter   = 250 * time.Millisecond // at most so much more
	natsPing     = 2 * time.Second
	natsPingsOut = 3 // unanswered, then the connection is given up: after 6 to 8 s
)

// Connect connects to NATS as a Cluster does, for a program that uses NATS without one: it
// tries to reach the server again for as long as the program runs, and loses what is
// published meanwhile with an error instead of keeping it for a time when it is stale. The
// URL may name several servers, comma-separated, with user and password, or a token, in
// it; nothing of these is logged. An error says that no server could be reached now.
func Connect(address string, l *slog.Logger) (*nats.Conn, error) {
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	if err := checkNATS(address); err != nil {
		return nil, err
	}
	return connect(address, nil, watchNATS{log: l})
}

// watchNATS is told what becomes of a connection. up and down may be nil. They are called
// on goroutines of nats.go, one call at a time.
type watchNATS struct {
	log      *slog.Logger
	up, down func()
	slow     func(err error) // a subscription was too slow, so that messages are lost
}

func connect(address string, secure *tls.Config, w watchNATS, more ...nats.Option) (*nats.Conn, error) {
	options := append([]nats.Option{
		nats.Name("turbine"),
		nats.Timeout(natsTimeout),
		nats.PingInterval(natsPing),
		nats.MaxPingsOutstanding(natsPingsOut),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(natsAgain),
		nats.ReconnectJitter(natsJitter, natsJitter),
		nats.ReconnectBufSize(-1),
		nats.NoEcho(),
		nats.ReconnectHandler(func(c *nats.Conn) {
			w.log.Info("NATS is back", "server", c.ConnectedAddr())
			if w.up != nil {
				w.up()
			}
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err == nil {
				return // it was closed
			}
			w.log.Warn("NATS is gone, and tried again until it is back", "error", err, "help", "requests still travel between nodes, but what is published stays on its node")
			if w.down != nil {
				w.down()
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			w.log.Warn("NATS reports an error", "subject", subject, "error", err)
			if w.slow != nil && err == nats.ErrSlowConsumer {
				w.slow(err)
			}
		}),
	}, more...)
	if secure != nil && strings.HasPrefix(address, "tls://") {
		options = append(options, nats.Secure(&tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: secure.Certificates, RootCAs: secure.RootCAs, GetClientCertificate: secure.GetClientCertificate,
		}))
	}
	c, err := nats.Connect(address, options...)
	if err != nil {
		return nil, fmt.Errorf("cluster: NATS at %s: %w", redacted(address), err)
	}
	return c, nil
}

// reach connects as soon as there is a server, until ctx ends.
func reach(ctx context.Context, address string, secure *tls.Config, w watchNATS, more ...nats.Option) (*nats.Conn, error) {
	for {
		c, err := connect(address, secure, w, more...)
		if err == nil {
			return c, nil
		}
		t := time.NewTimer(natsAgain)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-t.C:
		}
	}
}

// checkNATS says what is wrong with a URL, or a list of them, without what is secret.
func checkNATS(list string) error {
	for one := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return fmt.Errorf("cluster: %q is not the URL of a NATS server, such as nats://user:password@nats.example:4222, or one with tls://", redacted(one))
		}
	}
	return nil
}

// redacted is a URL, or a list of them, without user and password.
func redacted(list string) string {
	var all []string
	for one := range strings.SplitSeq(list, ",") {
		if _, host, found := strings.Cut(one, "@"); found {
			scheme, _, _ := strings.Cut(one, "://")
			one = scheme + "://***@" + host[strings.LastIndexByte(host, '@')+1:]
		}
		all = append(all, strings.TrimSpace(one))
	}
	return strings.Join(all, ",")
}
