package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// A sessionWorld is a server in memory whose sessions are logged. It echoes. Times are
// those of the synctest bubble that it is in.
type sessionWorld struct {
	*enginetest.World
	log  *sessionLog
	out  records
	last *engine.Session // that has opened
}

func newSessionWorld(t *testing.T, o engine.Options, args ...string) *sessionWorld {
	w := new(sessionWorld)
	f := parsed(t, append(args, "--log-sessions")...)
	w.log = newSessionLog(slog.New(newLogHandler(&w.out, f.LogFormat, slog.Level(f.LogLevel), nil)), &f)
	if f.InitialPacket != "" {
		o.InitialPacket = &engine.Message{Data: []byte(f.InitialPacket)}
	}
	w.World = enginetest.New(t, o, w.log.around(engine.Events{
		Open:    func(s *engine.Session, _ *engine.Request) { w.last = s },
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
	}))
	return w
}

// take returns what was logged since, without times.
func (w *sessionWorld) take() string { return logTime.ReplaceAllString(w.out.take(), "") }

// records are what was written since take. Timers write on goroutines of their own.
type records struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *records) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.buf.String()
	r.buf.Reset()
	return text
}

// A session leaves a record when it opens and one when it closes, with what an operator
// asks about a client, in either form.
func TestSessionsAreLogged(t *testing.T) {
	for format, want := range map[string]string{
		"text": `level=INFO msg="session opened" session=ID client=ADDR transport=polling revision=4 origin=http://example.com user_agent="agent/1.0 (x)"
level=INFO msg="session closed" session=ID client=ADDR transport=websocket reason="transport close" seconds=61.5 bytes_in=8 bytes_out=15
`,
		"json": `"level":"INFO","msg":"session opened","session":"ID","client":"ADDR","transport":"polling","revision":4,"origin":"http://example.com","user_agent":"agent/1.0 (x)"}
"level":"INFO","msg":"session closed","session":"ID","client":"ADDR","transport":"websocket","reason":"transport close","seconds":61.5,"bytes_in":8,"bytes_out":15}
`,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newSessionWorld(t, engine.Options{}, "--log-format="+format, "--initial-packet=welcome")
			c := w.Dial(enginetest.Options{
				Header:  http.Header{"User-Agent": {"agent/1.0 (x)"}, "Origin": {"http://example.com"}},
				Address: netip.MustParseAddr("203.0.113.7"),
			})
			id, address := w.last.PublicID(), w.last.RemoteAddr().String()
			require.Equal(t, "welcome", c.NextText())
			c.Send(engine.Text("hello"))
			require.Equal(t, "hello", c.NextText())
			c.Upgrade()
			c.Send(engine.Binary([]byte{1, 2, 3}))
			require.Equal(t, []byte{1, 2, 3}, c.Next().Data)
			w.Advance(time.Minute) // heartbeats, which are no messages
			time.Sleep(61500 * time.Millisecond)
			c.Close()
			w.Settle()
			require.Contains(t, address, "203.0.113.7:")
			got := w.take()
			require.NotContains(t, got, c.ID())
			require.Equal(t, strings.NewReplacer("ID", id, "ADDR", address).Replace(want), got)
		})
	}
}

// The record of the end says why, in the words of the engine, also where a session has
// ended for an error.
func TestSessionsAreLoggedWithTheirReason(t *testing.T) {
	for _, c := range []struct {
		name string
		o    enginetest.Options
		end  func(w *sessionWorld, c *enginetest.Client)
		want string
	}{
		{"a client that leaves", enginetest.Options{}, func(_ *sessionWorld, c *enginetest.Client) { c.Close() }, `reason="transport close" seconds=0 bytes_in=0 bytes_out=0`},
		{"a client that vanishes", enginetest.Options{Transport: engine.WebSocket, Mute: true}, func(w *sessionWorld, _ *enginetest.Client) { w.Advance(time.Minute) }, `reason="ping timeout"`},
		{"a call", enginetest.Options{Transport: engine.WebSocket}, func(w *sessionWorld, _ *enginetest.Client) { w.last.Close() }, `reason="forced close"`},
		{"a call with a code", enginetest.Options{Transport: engine.WebSocket}, func(w *sessionWorld, _ *enginetest.Client) { _ = w.last.CloseWith(4001, "a\nb") }, `reason="forced close" seconds=0 bytes_in=0 bytes_out=0 error=".*4001.*a.+b.*"`},
		{"a large message", enginetest.Options{Transport: engine.WebSocket}, func(_ *sessionWorld, c *enginetest.Client) { c.Send(engine.Text(strings.Repeat("x", 2000))) }, `reason="transport error" seconds=0 bytes_in=0 bytes_out=0 error=".*too big.*"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newSessionWorld(t, engine.Options{MaxPayload: 1000})
				client := w.Dial(c.o)
				require.Contains(t, w.take(), `msg="session opened"`)
				c.end(w, client)
				w.Settle()
				w.Advance(time.Second)
				require.Regexp(t, `^level=INFO msg="session closed" session=\S{22} client=127\.0\.0\.1:\d+ transport=\w+ `+c.want, w.take())
			})
		})
	}
}

// What a client says of itself is one value of its record, cut to a bound, and nothing
// else of the record.
func TestSessionsAreLoggedWhateverClientsSay(t *testing.T) {
	agents := []string{
		`a" msg="forged`, `a level=ERROR`, `a\nb`, "a\tb", "\u2028\u2029\u0085", "\xff\xfe", "é 🙂", `{"a":1}`, "=", " ", strings.Repeat("long ", 1000),
	}
	for _, format := range []string{"text", "json"} {
		synctest.Test(t, func(t *testing.T) {
			w := newSessionWorld(t, engine.Options{}, "--log-format="+format)
			for _, agent := range agents {
				c := w.Dial(enginetest.Options{Header: http.Header{"User-Agent": {agent}}})
				line := w.take()
				require.Equal(t, 1, strings.Count(line, "\n"), "%q", line)
				require.True(t, strings.HasSuffix(line, "\n"))
				require.Less(t, len(line), 600, "%q", line)
				require.NotRegexp(t, `[\x00-\x09\x0b-\x1f\x7f]`, line)
				got := ""
				if format == "json" {
					var record map[string]any
					require.NoError(t, json.Unmarshal([]byte("{"+line), &record), "%q", line)
					require.Equal(t, "INFO", record["level"])
					require.Equal(t, "session opened", record["msg"])
					got, _ = record["user_agent"].(string)
				} else {
					_, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), " user_agent=")
					require.Equal(t, strings.Trim(agent, " ") != "", found)
					got = value
					if strings.HasPrefix(value, `"`) {
						var err error
						got, err = strconv.Unquote(value)
						require.NoError(t, err, "%q", line)
					}
				}
				want := shortened(strings.Trim(agent, " "))
				if format == "json" {
					want = strings.ToValidUTF8(want, "\ufffd")
					got = strings.ReplaceAll(got, "\ufffd\ufffd", "\ufffd") // one for each byte
				}
				require.Equal(t, want, got)
				c.Close()
				w.Settle()
				w.take()
			}
		})
	}
}

// Above the rate records are left out, those of each kind for themselves, and counted in
// a record of their own, a second later.
func TestSessionsAreLoggedUpToARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSessionWorld(t, engine.Options{}, "--log-sessions-rate=3")
		count := func() string {
			synctest.Wait()
			text := w.take()
			found := fmt.Sprint(strings.Count(text, "session opened"), " ", strings.Count(text, "session closed"))
			if _, left, ok := strings.Cut(text, `msg="records of sessions were left out" `); ok {
				found += " " + strings.TrimSuffix(left, " help=--log-sessions-rate\n")
			}
			return found
		}
		var clients []*enginetest.Client
		for range 5 {
			clients = append(clients, w.Dial(enginetest.Options{}))
		}
		require.Equal(t, "3 0", count())
		clients[0].Close() // closes have a share of their own
		w.Settle()
		require.Equal(t, "0 1", count())
		time.Sleep(sampling - 1)
		require.Equal(t, "0 0", count())
		time.Sleep(time.Nanosecond)
		require.Equal(t, "0 0 opened=2 closed=0 suppressed=2", count())
		time.Sleep(time.Hour)
		require.Equal(t, "0 0", count())

		for _, c := range clients[1:] {
			c.Close()
		}
		w.Dial(enginetest.Options{}).Close()
		w.Settle()
		require.Equal(t, "1 3", count())
		w.log.end() // the process ends
		require.Equal(t, "0 0 opened=0 closed=2 suppressed=2", count())
		w.log.end()
		time.Sleep(time.Hour)
		require.Equal(t, "0 0", count())
	})
}

// Whenever sessions come and go, each is either logged or counted, and what was left out
// is reported once a second at most.
func TestNoRecordOfASessionIsUncounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out records
		f := parsed(t, "--log-sessions", "--log-sessions-rate=5")
		l := newSessionLog(slog.New(newLogHandler(&out, "json", slog.LevelInfo, nil)), &f)
		random := rand.New(rand.NewPCG(1, 2))
		var asked, written [2]int
		began, allowed := time.Now(), 0
		for range 5000 {
			kind := random.IntN(2)
			asked[kind]++
			if l.mayWrite(kind) {
				written[kind]++
				allowed++
			}
			if random.IntN(4) == 0 {
				time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
				synctest.Wait() // the report is written on a goroutine of its own
			}
		}
		time.Sleep(2 * sampling)
		synctest.Wait()
		seconds := int(time.Since(began)/sampling) + 1
		require.LessOrEqual(t, allowed, 2*5*seconds)
		require.Less(t, allowed, 5000/2, "hardly anything was left out")
		var last time.Time
		for line := range strings.Lines(out.take()) {
			var report struct {
				Time                       time.Time
				Opened, Closed, Suppressed int
			}
			require.NoError(t, json.Unmarshal([]byte(line), &report))
			require.Equal(t, report.Suppressed, report.Opened+report.Closed)
			require.GreaterOrEqual(t, report.Time.Sub(last), sampling)
			last = report.Time
			written[sessionOpened] += report.Opened
			written[sessionClosed] += report.Closed
		}
		require.Equal(t, asked, written)
	})
}

// A negative rate leaves nothing out; 0 is the default, as in all flags.
func TestSessionsRate(t *testing.T) {
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	for args, want := range map[string]int{"--loops=0": defaultSessionsRate, "--log-sessions-rate=0": defaultSessionsRate, "--log-sessions-rate=7": 7, "--log-sessions-rate=-1": 10_000} {
		f := parsed(t, "--log-sessions", args)
		l := newSessionLog(logger, &f)
		l.since = time.Now().Add(time.Hour) // the second does not end
		n := 0
		for range 10_000 {
			if l.mayWrite(sessionOpened) {
				n++
			}
		}
		require.Equal(t, want, n, args)
		l.end()
	}
}

// The rate holds from when it is set, within the second as well.
func TestSessionsRateChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := parsed(t, "--log-sessions", "--log-sessions-rate=2")
		l := newSessionLog(slog.New(slog.NewTextHandler(io.Discard, nil)), &f)
		for _, c := range []struct{ rate, want int }{{2, 2}, {5, 3}, {3, 0}, {-1, 20}, {1, 0}} {
			l.setRate(c.rate)
			n := 0
			for range 20 {
				if l.mayWrite(sessionClosed) {
					n++
				}
			}
			require.Equal(t, c.want, n, "%d a second", c.rate)
		}
		l.end()
		f.LogSessions = false
		newSessionLog(nil, &f).setRate(7) // off
	})
}

// Records that the level hides are not counted as left out.
func TestSessionsAreNotLoggedBelowTheLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSessionWorld(t, engine.Options{}, "--log-level=warn", "--log-sessions-rate=1")
		for range 3 {
			w.Dial(enginetest.Options{}).Close()
		}
		w.Settle()
		w.log.end()
		require.Empty(t, w.take())
	})
}

// A session that ends before the application has heard of it leaves no record: it was
// never open.
func TestSessionsThatNeverOpenAreNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		f := parsed(t, "--log-sessions")
		l := newSessionLog(slog.New(newLogHandler(&out, "text", slog.LevelInfo, nil)), &f)
		closed := 0
		w := enginetest.New(t, engine.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}, l.around(engine.Events{
			PacketCreate: func(*engine.Session, engine.Packet) { panic(errors.New("in the open packet")) },
			Close:        func(*engine.Session, engine.Reason, error) { closed++ },
		}))
		_, err := w.TryDial(enginetest.Options{Transport: engine.WebSocket})
		require.Error(t, err)
		w.Settle()
		require.Equal(t, 1, closed)
		require.Empty(t, out.String())
	})
}

// What is off hears nothing and keeps nothing; what is on allocates nothing for messages.
func TestSessionLogCosts(t *testing.T) {
	f := parsed(t)
	off := newSessionLog(nil, &f)
	require.Nil(t, off)
	require.Equal(t, engine.Events{}, off.around(engine.Events{}))
	off.end()

	synctest.Test(t, func(t *testing.T) {
		var e engine.Events
		var session *engine.Session
		f := parsed(t, "--log-sessions")
		l := newSessionLog(slog.New(slog.NewTextHandler(io.Discard, nil)), &f)
		e = l.around(engine.Events{Open: func(s *engine.Session, _ *engine.Request) { session = s }})
		enginetest.New(t, engine.Options{}, e).Dial(enginetest.Options{})
		m := engine.Text("hello")
		require.Zero(t, testing.AllocsPerRun(100, func() {
			e.Message(session, m)
			e.PacketCreate(session, engine.Packet{Data: m.Data})
		}))
	})
}

// One for each session that is logged: docs/operate.md has its size.
func TestLoggedSessionSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(loggedSession{}), uintptr(64))
}

// Clients are called in the program's records as in the engine's.
func TestClientNames(t *testing.T) {
	for text, want := range map[string]string{"203.0.113.7:80": "203.0.113.7:80", "203.0.113.7:0": "203.0.113.7", "[2001:db8::1]:80": "[2001:db8::1]:80", "[2001:db8::1]:0": "2001:db8::1"} {
		require.Equal(t, want, clientName(netip.MustParseAddrPort(text)))
	}
	require.Equal(t, "@", clientName(netip.AddrPort{}))
}

// The default of the flag is the one that 0 stands for.
func TestSessionsRateDefault(t *testing.T) {
	require.Equal(t, defaultSessionsRate, parsed(t).LogSessionsRate)
}
