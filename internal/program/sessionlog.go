package program

import (
	"context"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"turbine/engine"
)

// A sessionLog writes a record when a session opens, and one when it closes. Nil is one
// that is switched off: it hears no event and keeps nothing.
type sessionLog struct {
	logger  *slog.Logger
	initial int       // bytes of what every session is sent first
	began   time.Time // what loggedSession.opened counts from

	mu     sync.Mutex
	rate   int         // records of each kind in a second; negative is without limit; guarded by mu
	since  time.Time   // when the second began; guarded by mu
	wrote  [2]int      // records of each kind in it; guarded by mu
	left   [2]int      // records of each kind that were left out and not reported yet; guarded by mu
	report *time.Timer // will report them; nil while there are none; guarded by mu
}

// The kinds of records.
const (
	sessionOpened = iota
	sessionClosed
)

// sampling is the time that --log-sessions-rate is about, and the least time between two
// reports of what was left out.
const sampling = time.Second

// newSessionLog is what f asks for, nil if that is nothing.
func newSessionLog(logger *slog.Logger, f *flags) *sessionLog {
	if !f.LogSessions {
		return nil
	}
	l := &sessionLog{logger: logger, initial: len(f.InitialPacket), began: time.Now()}
	l.setRate(f.LogSessionsRate)
	return l
}

// setRate changes how many records of each kind a second may have, from now on. Safe from
// any goroutine.
func (l *sessionLog) setRate(rate int) {
	if l == nil {
		return
	}
	if rate == 0 {
		rate = defaultSessionsRate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = rate
}

// defaultSessionsRate is what 0 stands for in --log-sessions-rate, as in all flags.
const defaultSessionsRate = 100

// A loggedSession is what the last record of a session says of its life. It is the
// session's Value, so that sessions that nobody logs have none.
type loggedSession struct {
	opened  time.Duration  // since the log began
	client  netip.AddrPort // a WebSocket's is gone when the session closes
	in, out atomic.Int64   // bytes of messages
}

// around is e with records of each session.
func (l *sessionLog) around(e engine.Events) engine.Events {
	if l == nil {
		return e
	}
	inner := e
	e.Open = func(s *engine.Session, r *engine.Request) {
		l.open(s, r)
		if inner.Open != nil {
			inner.Open(s, r)
		}
	}
	e.Message = func(s *engine.Session, m engine.Message) {
		if t, ok := s.Value().(*loggedSession); ok {
			t.in.Add(int64(len(m.Data)))
		}
		if inner.Message != nil {
			inner.Message(s, m)
		}
	}
	e.PacketCreate = func(s *engine.Session, p engine.Packet) { // heartbeats have no data
		if t, ok := s.Value().(*loggedSession); ok {
			t.out.Add(int64(len(p.Data)))
		}
		if inner.PacketCreate != nil {
			inner.PacketCreate(s, p)
		}
	}
	e.Close = func(s *engine.Session, reason engine.Reason, err error) {
		if inner.Close != nil {
			inner.Close(s, reason, err)
		}
		l.close(s, reason, err)
	}
	return e
}

func (l *sessionLog) open(s *engine.Session, r *engine.Request) {
	t := &loggedSession{opened: time.Since(l.began), client: r.RemoteAddr()}
	t.out.Store(int64(l.initial))
	s.SetValue(t)
	if !l.mayWrite(sessionOpened) {
		return
	}
	attrs := []slog.Attr{
		slog.String("session", s.PublicID()), slog.String("client", clientName(t.client)),
		slog.String("transport", s.Transport().String()), slog.Int("revision", int(s.Revision())),
	}
	if origin := r.Origin(); origin != "" {
		attrs = append(attrs, slog.String("origin", shortened(origin)))
	}
	if agent := r.Header("User-Agent"); agent != "" {
		attrs = append(attrs, slog.String("user_agent", shortened(agent)))
	}
	l.logger.LogAttrs(context.Background(), slog.LevelInfo, "session opened", attrs...)
}

func (l *sessionLog) close(s *engine.Session, reason engine.Reason, err error) {
	t, ok := s.Value().(*loggedSession)
	if !ok || !l.mayWrite(sessionClosed) { // it ended before it was open
		return
	}
	attrs := []slog.Attr{
		slog.String("session", s.PublicID()), slog.String("client", clientName(t.client)),
		slog.String("transport", s.Transport().String()), slog.String("reason", reason.String()),
		slog.Float64("seconds", seconds(time.Since(l.began)-t.opened)),
		slog.Int64("bytes_in", t.in.Load()), slog.Int64("bytes_out", t.out.Load()),
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", shortened(err.Error())))
	}
	l.logger.LogAttrs(context.Background(), slog.LevelInfo, "session closed", attrs...)
}

// mayWrite reports whether a record of that kind is written, and counts it if it is left
// out for the rate. Safe from any goroutine.
func (l *sessionLog) mayWrite(kind int) bool {
	if !l.logger.Enabled(context.Background(), slog.LevelInfo) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.since) >= sampling {
		l.since, l.wrote = now, [2]int{}
	}
	if l.rate < 0 || l.wrote[kind] < l.rate {
		l.wrote[kind]++
		return true
	}
	l.left[kind]++
	if l.report == nil {
		l.report = time.AfterFunc(sampling-now.Sub(l.since), l.tell)
	}
	return false
}

// tell reports what was left out, if anything was.
func (l *sessionLog) tell() {
	l.mu.Lock()
	left := l.left
	l.left, l.report = [2]int{}, nil
	l.mu.Unlock()
	if suppressed := left[sessionOpened] + left[sessionClosed]; suppressed > 0 {
		l.logger.Info("records of sessions were left out", "opened", left[sessionOpened], "closed", left[sessionClosed],
			"suppressed", suppressed, "help", "--log-sessions-rate")
	}
}

// end reports what is not reported yet. No session opens or closes any more.
func (l *sessionLog) end() {
	if l == nil {
		return
	}
	l.mu.Lock()
	if l.report != nil {
		l.report.Stop()
	}
	l.mu.Unlock()
	l.tell()
}

// seconds is d in seconds, to the millisecond.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

// maxLogged is how many bytes of what a client has written go into a record.
const maxLogged = 200

func shortened(text string) string {
	if len(text) > maxLogged {
		return text[:maxLogged] + "..."
	}
	return text
}

// clientName is a client in a record, as the engine's own records have it: "@" on a Unix
// socket, and no port where a proxy names none.
func clientName(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return "@"
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}
