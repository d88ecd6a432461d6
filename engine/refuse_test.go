package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// told keeps what is logged as text, one string for each record.
type told struct{ lines *[]string }

func newTold() told { return told{new([]string)} }

func (l told) Enabled(context.Context, slog.Level) bool { return true }
func (l told) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l told) WithGroup(string) slog.Handler            { return l }
func (l told) Handle(ctx context.Context, r slog.Record) error {
	var text bytes.Buffer
	err := slog.NewTextHandler(&text, nil).Handle(ctx, r)
	*l.lines = append(*l.lines, text.String())
	return err
}

// inside is a text of the application's own, as an error of a database has it.
const inside = "pq: password authentication failed for user app at 10.0.0.7"

// What an error says that was not made for the client is told to the application
// and the log, not to the client: whichever callback fails, and however.
func TestErrorsStayInside(t *testing.T) {
	fault := errors.New(inside)
	panics := func() { panic(fault) }
	for _, c := range []struct {
		name    string
		options Options
		change  func(e *Events)
		polling string // what a client is told
		socket  string
		logged  bool // with the error's own text
		heard   bool // by ConnectionError, the same
	}{
		{"Admit returns an error", Options{}, func(e *Events) { e.Admit = func(*Admission) error { return fault } },
			`403 {"code":4,"message":"Forbidden"}`, "400 Forbidden", true, true},
		{"Admit returns a wrapped error", Options{}, func(e *Events) { e.Admit = func(*Admission) error { return fmt.Errorf("token: %w", fault) } },
			`403 {"code":4,"message":"Forbidden"}`, "400 Forbidden", true, true},
		{"Admit on an Executor returns an error", Options{Executor: new(byHand)}, func(e *Events) { e.Admit = func(*Admission) error { return fault } },
			`403 {"code":4,"message":"Forbidden"}`, "400 Forbidden", true, true},
		{"Admit panics", Options{}, func(e *Events) { e.Admit = func(*Admission) error { panic(fault) } },
			`403 {"code":4,"message":"Forbidden"}`, "400 Forbidden", true, false},
		{"Admit on an Executor panics", Options{Executor: new(byHand)}, func(e *Events) { e.Admit = func(*Admission) error { panic(fault) } },
			`403 {"code":4,"message":"Forbidden"}`, "400 Forbidden", true, false},
		{"the error's text panics", Options{}, func(e *Events) { e.Admit = func(*Admission) error { return mute{} } },
			`403 {"code":4,"message":"Forbidden"}`, "400 Forbidden", false, false},
		{"the error's text panics on an Executor", Options{Executor: new(byHand)}, func(e *Events) { e.Admit = func(*Admission) error { return mute{} } },
			`403 {"code":4,"message":"Forbidden"}`, "400 Forbidden", false, false},
		{"GenerateID returns an error", Options{GenerateID: func(*Request) (string, error) { return "", fault }}, nil,
			`400 {"code":3,"message":"Bad request"}`, "400 Bad request", true, true},
		{"GenerateID panics", Options{GenerateID: func(*Request) (string, error) { panic(fault) }}, nil,
			`400 {"code":3,"message":"Bad request"}`, "400 Bad request", true, false},
		{"Bind panics", Options{Access: Access{Bind: func(*Request) string { panic(fault) }}}, nil,
			`403 {"code":4,"message":"Forbidden"}`, "400 Forbidden", true, false},
		{"a middleware panics", Options{Middleware: []func(http.Handler) http.Handler{func(http.Handler) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panics() })
		}}}, nil,
			`400 {"code":3,"message":"Bad request"}`, "400 Bad request", true, false},
	} {
		for _, ask := range []struct{ command, want string }{{hsPolling + " conn=w", c.polling}, {hsWebSocket, c.socket}} {
			t.Run(c.name+" "+ask.command, func(t *testing.T) {
				logged := newTold()
				c.options.Logger = slog.New(logged)
				var heard string
				b := newSpec(t, 1, c.options, func(_ *bench, e *Events) {
					if c.change != nil {
						c.change(e)
					}
					e.ConnectionError = func(_ *Request, e *HandshakeError) { heard = e.Detail }
				})
				got := b.play(ask.command)
				b.rest()
				got = append(got, b.collect()...)
				require.Equal(t, "w: "+ask.want, got[0])
				require.NotContains(t, strings.Join(got, "|"), "pq:")
				require.Len(t, *logged.lines, 1)
				require.Equal(t, c.logged, strings.Contains((*logged.lines)[0], inside), "%q", *logged.lines)
				require.Equal(t, c.heard, strings.Contains(heard, inside), "%q", heard)
				b.finish()
			})
		}
	}
}

// mute is an error that cannot even say what it is.
type mute struct{}

func (mute) Error() string { panic("nothing to say") }

// A session that a panic ends tells its client nothing of it.
func TestPanicsOfSessionsStayInside(t *testing.T) {
	for _, callback := range []string{"Open", "Message", "Packet", "Heartbeat", "Flush", "Flushed"} {
		for _, begin := range []string{hsPolling, hsWebSocket} {
			b := newSpec(t, 1, Options{Logger: slog.New(newTold())}, func(_ *bench, e *Events) {
				fail := func(at string) {
					if at == callback {
						panic(errors.New(inside))
					}
				}
				e.Open = func(*Session, *Request) { fail("Open") }
				e.Message = func(*Session, Message) { fail("Message") }
				e.Packet = func(*Session, Packet) { fail("Packet") }
				e.Heartbeat = func(*Session) { fail("Heartbeat") }
				e.Flush = func(*Session, int) { fail("Flush") }
				e.Flushed = func(*Session) { fail("Flushed") }
			})
			peer := b.world.Dial()
			if begin == hsWebSocket {
				peer.Write([]byte(injectOpen + "\r\n\x82\x80\x00\x00\x00\x00\x81\x82\x00\x00\x00\x004x"))
			} else {
				peer.Write([]byte(injectGet + injectEnd + "\r\n"))
			}
			b.world.Run()
			got := string(peer.Read())
			require.NotEmpty(t, got)
			require.NotContains(t, got, "pq:", callback)
			peer.Reset()
			b.world.Run()
			b.world.Close()
		}
	}
}

// A Refusal says its own words, at once or by a Verdict, on either transport.
func TestRefusalIsTold(t *testing.T) {
	var none *Refusal
	for _, c := range []struct {
		err             error
		polling, socket string
	}{
		{Refuse("no"), `403 {"code":4,"message":"no"}`, "400 no"},
		{Refuse(""), `403 {"code":4,"message":"Forbidden"}`, "400 Forbidden"},
		{none, `403 {"code":4,"message":"Forbidden"}`, "400 Forbidden"},
		{fmt.Errorf("%s: %w", inside, Refuse("no")), `403 {"code":4,"message":"no"}`, "400 no"},
		{errors.Join(errors.New(inside), Refuse("no")), `403 {"code":4,"message":"no"}`, "400 no"},
		{&Refusal{Status: 401}, `401 {"code":4,"message":"Forbidden"}`, "401 Forbidden"},
		{&Refusal{Message: "log in", Status: 401, RetryAfter: time.Second}, `401 {"code":4,"message":"log in"}`, "401 log in"},
		{&Refusal{Message: "no", Status: 403}, `403 {"code":4,"message":"no"}`, "403 no"},
		{&Refusal{Message: "no", RetryAfter: time.Second}, `403 {"code":4,"message":"no"}`, "400 no"},
		{&Refusal{Message: "later", Status: 429}, `429 {"code":4,"message":"later"}`, "429 later"},
		{&Refusal{Message: "later", Status: 429, RetryAfter: 7 * time.Second}, `429 [retry-after: 7] {"code":4,"message":"later"}`, "429 [retry-after: 7] later"},
		{&Refusal{Message: "full", Status: 503, RetryAfter: 1}, `503 [retry-after: 1] {"code":4,"message":"full"}`, "503 [retry-after: 1] full"},
		{&Refusal{Message: "full", Status: 503, RetryAfter: 1<<63 - 1}, `503 [retry-after: 9223372037] {"code":4,"message":"full"}`, "503 [retry-after: 9223372037] full"},
		{&Refusal{Message: "full", Status: 503, RetryAfter: -time.Hour}, `503 {"code":4,"message":"full"}`, "503 full"},
		{&Refusal{Message: "no", Status: 200}, `403 {"code":4,"message":"no"}`, "400 no"},
		{&Refusal{Message: "no", Status: -1}, `403 {"code":4,"message":"no"}`, "400 no"},
	} {
		for _, later := range []bool{false, true} {
			logged := newTold()
			b := newSpec(t, 1, Options{Logger: slog.New(logged)}, func(_ *bench, e *Events) {
				e.Admit = func(a *Admission) error {
					if !later {
						return c.err
					}
					v := a.Later()
					onGoroutine(func() { v.Refuse(c.err) })
					return nil
				}
			})
			told := func(command string) string {
				return strings.Replace(b.play(command + " show=retry-after")[0], " [no retry-after]", "", 1)
			}
			require.Equal(t, c.polling, told(hsPolling), "%v", c.err)
			require.Equal(t, "w: "+c.socket, told(hsWebSocket), "%v", c.err)
			require.Len(t, *logged.lines, 1, "once a second: %v", c.err)
			require.Contains(t, (*logged.lines)[0], "level=INFO msg=\"client refused by Admit\" told=")
			require.NotContains(t, (*logged.lines)[0], inside)
			b.finish()
		}
	}
}

// A Verdict that nobody can reach tells the client to come again.
func TestVerdictUnavailable(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		told  string
	}{
		{0, ""}, {-time.Second, ""}, {1, "[retry-after: 1] "}, {time.Second, "[retry-after: 1] "}, {time.Second + 1, "[retry-after: 2] "},
		{time.Hour, "[retry-after: 3600] "},
	} {
		p := newParking(t, 1, Options{})
		for i, command := range []string{hsPolling, hsWebSocket} {
			require.Empty(t, p.play(command+" show=retry-after"))
			p.verdicts[i].ResponseHeader().Set("X-Database", "down")
			onGoroutine(func() { p.verdicts[i].Unavailable(c.after) })
			p.verdicts[i].Accept() // too late
			told := strings.Replace(p.collect()[0], "[no retry-after] ", "", 1)
			require.Equal(t, []string{"503 " + c.told + `{"code":4,"message":"Service Unavailable"}`, "w: 503 " + c.told + "Service Unavailable"}[i], told)
		}
		require.Empty(t, p.events())
		p.finish()
	}
}

// However many clients an error of Admit refuses, it fills no disk.
func TestErrorsOfAdmitAreLoggedOnceASecond(t *testing.T) {
	logged := newTold()
	b := newSpec(t, 1, Options{Logger: slog.New(logged)}, func(_ *bench, e *Events) {
		e.Admit = func(*Admission) error { return errors.New(inside) }
	})
	for range 20 {
		b.play(hsPolling)
	}
	b.world.Advance(time.Second)
	b.play(hsPolling)
	require.Len(t, *logged.lines, 2)
	require.Contains(t, (*logged.lines)[0], " suppressed=0")
	require.Contains(t, (*logged.lines)[1], " suppressed=19")
	require.True(t, slices.ContainsFunc(strings.Fields((*logged.lines)[1]), func(field string) bool {
		return strings.HasPrefix(field, "client=") && len(field) > len("client=")
	}), "%q", *logged.lines)
	b.finish()
}
