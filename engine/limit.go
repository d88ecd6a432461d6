package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"turbine/httpparse"
	"turbine/internal/peers"
	"turbine/internal/seldom"
	"turbine/loop"
	"turbine/wsframe"
)

// Limit is one of the limits of Options; Stats.Limits counts how often each was met.
// docs/security.md says what the client sees of each.
type Limit uint8

// The limits, each named after its option.
const (
	LimitConns               Limit = iota // a connection was closed when it was accepted
	LimitConnsPerIP                       // the same
	LimitConnRate                         // the same
	LimitProxyHeader                      // a connection was closed that has no valid PROXY header, see ProxyListener
	LimitTLSHandshakes                    // a connection was closed at the first message of its TLS handshake
	LimitTLSHandshakeTimeout              // a connection was closed inside its TLS handshake
	LimitHandshakeRate                    // a handshake was refused
	LimitSessions                         // the same
	LimitSessionsPerIP                    // the same
	LimitRequestLine                      // a request was refused
	LimitHeaderBytes                      // the same; also trailers of a chunked body
	LimitHeaders                          // the same
	LimitHeaderTimeout                    // a connection was closed inside a head
	LimitBodyTimeout                      // the same, inside a body
	LimitIdleTimeout                      // a connection was closed that had nothing to do
	LimitPayload                          // a body was refused, or a WebSocket closed
	LimitPayloadPackets                   // a session was closed
	LimitFragments                        // a WebSocket was closed
	LimitPipelined                        // a connection was aborted
	LimitBodyBudget                       // a session was closed inside a body or a WebSocket message
	LimitPolls                            // a session was closed at its poll
	LimitUpgrades                         // an upgrade was refused
	LimitUpgradeTimeout                   // an upgrade was given up
	LimitAdmitting                        // a handshake was refused
	LimitAdmitTimeout                     // the same
	LimitFirstRequestTimeout              // a session was closed that was never heard of
	LimitQueue                            // a session was closed, or a message dropped
	LimitQueuePackets                     // the same
	LimitQueueBudget                      // the same
	LimitCloseTimeout                     // a closing session was cut off
	LimitPending                          // a client had to wait for the application
	LimitPendingBudget                    // a session was closed
	LimitFallback                         // a request had to wait for others to end
	LimitFallbackWaiting                  // a request was refused

	NumLimits = int(LimitFallbackWaiting) + 1
)

// String is the limit's name in logs and metrics.
func (l Limit) String() string {
	if int(l) < NumLimits {
		return limitNames[l]
	}
	return "unknown"
}

var limitNames = [NumLimits]string{
	LimitConns:               "conns",
	LimitConnsPerIP:          "conns_per_ip",
	LimitConnRate:            "conn_rate",
	LimitProxyHeader:         "proxy_header",
	LimitTLSHandshakes:       "tls_handshakes",
	LimitTLSHandshakeTimeout: "tls_handshake_timeout",
	LimitHandshakeRate:       "handshake_rate",
	LimitSessions:            "sessions",
	LimitSessionsPerIP:       "sessions_per_ip",
	LimitRequestLine:         "request_line",
	LimitHeaderBytes:         "header_bytes",
	LimitHeaders:             "headers",
	LimitHeaderTimeout:       "header_timeout",
	LimitBodyTimeout:         "body_timeout",
	LimitIdleTimeout:         "idle_timeout",
	LimitPayload:             "payload",
	LimitPayloadPackets:      "payload_packets",
	LimitFragments:           "fragments",
	LimitPipelined:           "pipelined",
	LimitBodyBudget:          "body_budget",
	LimitPolls:               "polls",
	LimitUpgrades:            "upgrades",
	LimitUpgradeTimeout:      "upgrade_timeout",
	LimitAdmitting:           "admitting",
	LimitAdmitTimeout:        "admit_timeout",
	LimitFirstRequestTimeout: "first_request_timeout",
	LimitQueue:               "queue",
	LimitQueuePackets:        "queue_packets",
	LimitQueueBudget:         "queue_budget",
	LimitCloseTimeout:        "close_timeout",
	LimitPending:             "pending",
	LimitPendingBudget:       "pending_budget",
	LimitFallback:            "fallback",
	LimitFallbackWaiting:     "fallback_waiting",
}

// limitHelp is what lets in a client that has met a limit: the fields of Options, as
// docs/security.md has them with their flags.
var limitHelp = [NumLimits]string{
	LimitConns:               "Limits.MaxConns or the descriptor limit",
	LimitConnsPerIP:          "Limits.MaxConnsPerIP or Limits.Exempt",
	LimitConnRate:            "Limits.ConnRate or Limits.Exempt",
	LimitProxyHeader:         "Proxies.Trusted",
	LimitTLSHandshakes:       "Limits.MaxTLSHandshakes",
	LimitTLSHandshakeTimeout: "Timeouts.TLSHandshake",
	LimitHandshakeRate:       "Limits.HandshakeRate or Limits.Exempt",
	LimitSessions:            "Limits.MaxSessions",
	LimitSessionsPerIP:       "Limits.MaxSessionsPerIP or Limits.Exempt",
	LimitRequestLine:         "Limits.MaxRequestLine",
	LimitHeaderBytes:         "Limits.MaxHeaderBytes",
	LimitHeaders:             "Limits.MaxHeaders",
	LimitHeaderTimeout:       "Timeouts.Header",
	LimitBodyTimeout:         "Timeouts.Body",
	LimitIdleTimeout:         "Timeouts.Idle",
	LimitPayload:             "MaxPayload",
	LimitPayloadPackets:      "Limits.MaxPayloadPackets",
	LimitFragments:           "Limits.MaxFragments",
	LimitPipelined:           "Limits.MaxPipelined",
	LimitBodyBudget:          "Limits.BodyBudget",
	LimitPolls:               "Limits.MaxPolls",
	LimitUpgrades:            "Limits.MaxUpgrades",
	LimitUpgradeTimeout:      "Timeouts.Upgrade",
	LimitAdmitting:           "Limits.MaxAdmitting",
	LimitAdmitTimeout:        "Timeouts.Admit",
	LimitFirstRequestTimeout: "Timeouts.FirstRequest",
	LimitQueue:               "Queue.MaxBytes",
	LimitQueuePackets:        "Queue.MaxPackets",
	LimitQueueBudget:         "Queue.Budget",
	LimitCloseTimeout:        "Timeouts.Close",
	LimitPending:             "Limits.MaxPending",
	LimitPendingBudget:       "Limits.PendingBudget",
	LimitFallback:            "Limits.MaxFallback",
	LimitFallbackWaiting:     "Limits.MaxFallbackWaiting",
}

// Errors of Events.Close that say which limit ended a session.
var (
	ErrTooManyPackets = errors.New("engine: too many packets in one payload")
	ErrTooManyPolls   = errors.New("engine: too many polls wait")
	ErrNeverHeard     = errors.New("engine: client was not heard of after its handshake")
)

// limitMeter counts what meets a limit and tells the log. Its methods are safe
// from any goroutine.
type limitMeter struct {
	counts [NumLimits]atomic.Int64
	proxy  atomic.Pointer[proxyRefusal] // the latest, not told yet

	records seldom.Once // what clients can cause at will must not fill a disk

	mu   sync.Mutex
	said [NumLimits]int64 // what the last record had counted; guarded by mu
}

// news reports whether something was counted since the last record. m.mu is held.
func (m *limitMeter) news() bool {
	for i := range m.counts {
		if m.counts[i].Load() > m.said[i] {
			return true
		}
	}
	return false
}

// tell writes a record with what was counted since the last one, at most one a
// second. client is the address of the latest, if it is known.
func (m *limitMeter) tell(logger *slog.Logger, now time.Duration, client netip.Addr) {
	if !m.mu.TryLock() {
		return // another loop does so
	}
	defer m.mu.Unlock()
	if !m.news() {
		return
	}
	if _, ok := m.records.Allow(now); !ok {
		return // the next record has the counts
	}
	var attrs []slog.Attr
	var help []string
	level := slog.LevelInfo
	for i := range m.counts {
		if n := m.counts[i].Load(); n > m.said[i] {
			if !Limit(i).ofSilence() {
				level = slog.LevelWarn
			}
			attrs, help = append(attrs, slog.Int64(limitNames[i], n-m.said[i])), append(help, limitHelp[i])
			m.said[i] = n
		}
	}
	if p := m.proxy.Swap(nil); p != nil {
		attrs = append(attrs, slog.String("proxy", peerName(p.peer)), slog.Any("proxy_error", p.why))
	}
	if client.IsValid() {
		attrs = append(attrs, slog.String("client", client.String()))
	}
	attrs = append(attrs, slog.String("help", strings.Join(help, ", ")))
	logger.LogAttrs(context.Background(), level, "limits were met", attrs...)
}

// ofSilence reports whether the limit is met by a client that has gone away or does
// nothing, as some always do: no client has been refused what it asked for.
func (l Limit) ofSilence() bool {
	switch l {
	case LimitTLSHandshakeTimeout, LimitHeaderTimeout, LimitBodyTimeout, LimitIdleTimeout, LimitUpgradeTimeout, LimitFirstRequestTimeout:
		return true
	default: // a client was refused something, or has lost it
		return false
	}
}

// count counts a limit that was met outside a loop; the next record that a loop logs
// includes it. Safe from any goroutine.
func (s *Server) count(limit Limit) { s.meter.counts[limit].Add(1) }

// met counts that limit was met, on the loop l, and logs it. A connection that
// was idle for too long is no news.
func (s *Server) met(limit Limit, l *loop.Loop) { s.metBy(limit, l, netip.Addr{}) }

// metBy is met with the address of the client, if it is known.
func (s *Server) metBy(limit Limit, l *loop.Loop, client netip.Addr) {
	s.count(limit)
	if limit != LimitIdleTimeout {
		s.meter.tell(s.options.Logger, l.Clock(), client)
	}
}

// refused is told of connections that were closed when they were accepted, on
// loop 0.
func (s *Server) refused(why loop.Refusal, address netip.Addr) {
	s.metBy(limitRefused(why), s.shards[0].loop, address)
}

func limitRefused(why loop.Refusal) Limit {
	switch why {
	case loop.RefusedConnsPerIP:
		return LimitConnsPerIP
	case loop.RefusedConnRate:
		return LimitConnRate
	case loop.RefusedMaxConns:
	}
	return LimitConns
}

// mayShake holds a request that would begin a session against
// Options.Limits.HandshakeRate, and refuses it if need be.
func (h *httpConn) mayShake(r *httpparse.Request) bool {
	s, on := h.server, h.conn.Loop()
	address := s.clientAddr(r, h.conn).Addr()
	if s.exempt.Load().Contain(address) {
		return true
	}
	wait, ok := s.handshakes.Take(peers.KeyOf(address), on.Clock())
	if ok {
		return true
	}
	s.metBy(LimitHandshakeRate, on, address)
	h.refuses(r, CauseHandshakeRate)
	h.refuse(r, tooMany(wait), nil)
	return false
}

// limitErrors says which limit each error of a client means. ErrManyBlocks is counted
// with the fragments: both are too many pieces of a message.
var limitErrors = [...]struct {
	err   error
	limit Limit
}{
	{httpparse.ErrRequestLine, LimitRequestLine},
	{httpparse.ErrHeaderBytes, LimitHeaderBytes},
	{httpparse.ErrHeaderCount, LimitHeaders},
	{httpparse.ErrTrailerBytes, LimitHeaderBytes},
	{httpparse.ErrBodyBytes, LimitPayload},
	{errBodyBudget, LimitBodyBudget},
	{wsframe.ErrTooBig, LimitPayload},
	{wsframe.ErrManyFragments, LimitFragments},
	{wsframe.ErrManyBlocks, LimitFragments},
	{errMessageBudget, LimitBodyBudget},
}

// limitOf tells which limit err means, if any.
func limitOf(err error) (limit Limit, ok bool) {
	for _, row := range limitErrors {
		if row.err == err {
			return row.limit, true
		}
	}
	return 0, false
}

// metFault counts the limit, if any, that a WebSocket has met which is closed for
// err.
func (s *Server) metFault(err error, l *loop.Loop) {
	if limit, ok := limitOf(err); ok {
		s.met(limit, l)
	}
}
