package engine

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each refusal counts once, by its cause, and nothing counts that is no refusal.
func TestStatsCountRefusals(t *testing.T) {
	no := errors.New("no")
	later := func(answer func(*Verdict)) func(*Admission) error {
		return func(a *Admission) error { answer(a.Later()); return nil }
	}
	silent := func(a *Admission) error { a.Later(); return nil }
	wrapping := func(f http.HandlerFunc) Options {
		return Options{Middleware: []func(http.Handler) http.Handler{func(http.Handler) http.Handler { return f }}}
	}
	binding := Options{Access: Access{Bind: BindHeader("Authorization")}}
	rows := []struct {
		name     string
		cause    Cause
		options  Options
		admit    func(*Admission) error
		commands []string // all are accepted but the last
		panics   bool
		alone    bool // on one loop: each has its share
	}{
		{name: "transport unknown", cause: CauseTransport, commands: []string{"get EIO=4&transport=tube"}},
		{name: "transport off", cause: CauseTransport, options: Options{Transports: []Transport{WebSocket}}, commands: []string{hsPolling}},
		{name: "WebSocket off", cause: CauseTransport, options: Options{Transports: []Transport{Polling}}, commands: []string{hsWebSocket}},
		{name: "foreign origin", cause: CauseForeignOrigin, commands: []string{hsPolling + " header=Origin:http://elsewhere"}},
		{name: "foreign origin on WebSocket", cause: CauseForeignOrigin, commands: []string{hsWebSocket + " header=Origin:http://elsewhere"}},
		{name: "foreign origin of a session", cause: CauseForeignOrigin, commands: []string{hsPolling, "post sid=A 4x header=Origin:http://elsewhere"}},
		{name: "middleware answers", cause: CauseMiddleware, options: wrapping(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }), commands: []string{hsPolling}},
		{name: "middleware panics", cause: CauseMiddleware, options: wrapping(func(http.ResponseWriter, *http.Request) { panic("in a middleware") }), commands: []string{hsPolling}, panics: true},
		{name: "WebSocket version", cause: CauseWebSocket, commands: []string{`raw c "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"`}},
		{name: "WebSocket without an upgrade", cause: CauseRequest, commands: []string{"get EIO=4&transport=websocket"}},
		{name: "WebSocket with a body", cause: CauseRequest, commands: []string{hsWebSocket + " body"}},
		{name: "polling with an upgrade", cause: CauseRequest, commands: []string{"ws EIO=4&transport=polling conn=w"}},
		{name: "JSONP index", cause: CauseRequest, commands: []string{"get EIO=4&transport=polling&j=" + strings.Repeat("1", 40)}},
		{name: "method", cause: CauseMethod, commands: []string{"post EIO=4&transport=polling 4x"}},
		{name: "revision unknown", cause: CauseRevision, commands: []string{"get EIO=5&transport=polling"}},
		{name: "revision off", cause: CauseRevision, options: Options{Revisions: []Revision{Revision3}}, commands: []string{hsWebSocket}},
		{name: "Admit", cause: CauseAdmit, admit: func(*Admission) error { return no }, commands: []string{hsPolling}},
		{name: "Admit with a status", cause: CauseAdmit, admit: func(*Admission) error { return &Refusal{Status: 503} }, commands: []string{hsWebSocket}},
		{name: "Admit panics", cause: CauseAdmit, admit: func(*Admission) error { panic("in Admit") }, commands: []string{hsPolling}, panics: true},
		{name: "verdict", cause: CauseAdmit, admit: later(func(v *Verdict) { v.Refuse(no) }), commands: []string{hsPolling}},
		{name: "verdict for now", cause: CauseAdmit, admit: later(func(v *Verdict) { v.Unavailable(0) }), commands: []string{hsPolling}},
		{name: "no verdict", cause: CauseAdmitTimeout, admit: silent, commands: []string{hsPolling + " conn=a", "advance 10s"}},
		{name: "no room for a verdict", alone: true, cause: CauseAdmitting, options: Options{Limits: Limits{MaxAdmitting: 1}}, admit: silent, commands: []string{hsPolling + " conn=a", hsPolling + " conn=b"}},
		{name: "GenerateID", cause: CauseID, options: Options{GenerateID: func(*Request) (string, error) { return "", no }}, commands: []string{hsPolling}},
		{name: "an id that is none", cause: CauseID, admit: func(a *Admission) error { a.SetID("\xff"); return nil }, commands: []string{hsWebSocket}},
		{name: "an id in use", cause: CauseID, admit: func(a *Admission) error { a.SetID("one"); return nil }, commands: []string{hsPolling, hsPolling}},
		{name: "draining", cause: CauseDraining, commands: []string{"drain 0s 1s", hsPolling}},
		{name: "draining while it waits", cause: CauseDraining, admit: silent, commands: []string{hsPolling + " conn=a", "shutdown"}},
		{name: "handshake rate", cause: CauseHandshakeRate, options: Options{Limits: Limits{HandshakeRate: 1, Exempt: nobody}}, commands: append(repeatedly(10, hsPolling), hsPolling)},
		{name: "sessions", cause: CauseSessions, options: Options{Limits: Limits{MaxSessions: 1}}, commands: []string{hsPolling, hsWebSocket}},
		{name: "sessions by address", cause: CauseSessionsPerIP, options: Options{Limits: Limits{MaxSessionsPerIP: 1, Exempt: nobody}}, commands: []string{hsPolling, hsPolling}},
		{name: "no such session", cause: CauseSID, commands: []string{"get EIO=4&transport=polling&sid=nothing"}},
		{name: "a session that has ended", cause: CauseSID, commands: []string{hsPolling, "post sid=A 1", "post EIO=4&transport=polling&sid=A 4x"}},
		{name: "no such session on WebSocket", cause: CauseSID, commands: []string{hsPolling, "post sid=A 1", "ws EIO=4&transport=websocket&sid=A conn=w"}},
		{name: "binding", cause: CauseBinding, options: binding, commands: []string{hsPolling, "post sid=A 4x header=Authorization:other"}},
		{name: "binding on WebSocket", cause: CauseBinding, options: binding, commands: []string{hsPolling, "ws sid=A conn=w header=Authorization:other"}},
		{name: "the session is on WebSocket", cause: CauseTransportMismatch, commands: []string{hsWebSocket, "post EIO=4&transport=polling&sid=A 4x"}},
		{name: "the session is of another revision", cause: CauseRevisionMismatch, commands: []string{hsPolling, "post EIO=3&transport=polling&sid=A 2:4x"}},
		{name: "that on WebSocket", cause: CauseRevisionMismatch, commands: []string{hsPolling, "ws EIO=3&transport=websocket&sid=A conn=w"}},
		{name: "upgrades", cause: CauseUpgrades, options: Options{Limits: Limits{MaxUpgrades: 1}}, commands: []string{hsPolling, "ws sid=A conn=a", hsPolling, hsPolling, hsPolling, "ws sid=D conn=d"}},
		{name: "a second upgrade", cause: CauseUpgrade, commands: []string{hsPolling, "ws sid=A conn=a", "ws sid=A conn=b"}},
		{name: "no upgrades", cause: CauseUpgrade, options: Options{NoUpgrades: true}, commands: []string{hsPolling, "ws sid=A conn=a"}},
		{name: "an upgrade to polling", cause: CauseUpgrade, commands: []string{hsPolling, "ws EIO=4&transport=polling&sid=A conn=a"}},
	}
	tested := map[Cause]bool{CauseConns: true} // by TestWebSocketsCountForForwardedAddress
	for _, c := range rows {
		tested[c.cause] = true
		t.Run(c.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, loops int) {
				if c.alone {
					loops = 1
				}
				b := newSpec(t, loops, c.options, func(_ *bench, e *Events) {
					if c.admit != nil {
						e.Admit = c.admit
					}
				})
				last := len(c.commands) - 1
				b.play(c.commands[:last]...)
				require.Equal(t, [NumCauses]int64{}, b.server.Stats().Refused, "too early")
				b.play(c.commands[last])
				var want [NumCauses]int64
				want[c.cause] = 1
				require.Equal(t, want, b.server.Stats().Refused)
				forbidden := int64(0)
				if c.cause == CauseForeignOrigin || c.cause == CauseBinding {
					forbidden = 1
				}
				require.Equal(t, forbidden, b.server.Stats().Forbidden)
				if c.panics {
					require.EqualValues(t, 1, b.logged.lines.Swap(0))
				}
				b.finish()
			})
		})
	}
	for why := Cause(1); int(why) < NumCauses; why++ {
		require.True(t, tested[why], "%v has no row", why)
	}
}

func repeatedly(n int, command string) (commands []string) {
	for range n {
		commands = append(commands, command)
	}
	return commands
}

// What is not refused, and what is not for Engine.IO, is in no count of refusals.
func TestStatsCountNoOtherAnswers(t *testing.T) {
	b := newSpec(t, 1, Options{Access: Access{CORS: &CORS{Origins: []string{"*"}}}, HealthPath: "/healthz"}, nil)
	b.play(hsPolling, "get sid=A conn=p", "send A x", "post sid=A 4x",
		"get path=/elsewhere", "get path=/healthz", "get EIO=4&transport=polling method=OPTIONS header=Origin:http://x",
		`raw c "nonsense\r\n\r\n"`, "post sid=A repeat=4,1000001,x")
	require.Equal(t, [NumCauses]int64{}, b.server.Stats().Refused)
	b.finish()
}
