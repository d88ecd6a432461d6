package e2e

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// options are the flags of the binary; each has an environment variable.
var options = []string{
	"addr", "path", "ping-interval", "ping-timeout", "upgrade-timeout", "max-payload",
	"transports", "revisions", "loops", "app", "drain-timeout", "log-level", "log-format", "log-sessions", "log-sessions-rate",
	"max-conns", "max-conns-per-ip", "conn-rate", "handshake-rate", "max-sessions", "max-sessions-per-ip", "exempt", "max-request-line", "max-header-bytes",
	"max-headers", "header-timeout", "body-timeout", "idle-timeout", "body-budget", "max-payload-packets", "max-pipelined",
	"max-fragments", "max-polls", "max-upgrades", "first-request-timeout", "max-queue-packets", "close-timeout",
	"health-path", "drain-delay", "drain-period", "pid-file", "ops-addr", "ops-keys", "ops-open",
}

// run runs the binary to its end, which has to come by itself.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	_ = command(context.Background(), t, args...) // building it may take longer than it may run
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := command(ctx, t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "turbine did not end\n%s%s", &out, &errs)
	if err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// oneLine checks that an error is told in one line.
func oneLine(t *testing.T, stderr string) {
	t.Helper()
	require.NotEmpty(t, strings.TrimSpace(stderr))
	require.Equal(t, 1, strings.Count(strings.TrimRight(stderr, "\n")+"\n", "\n"), "%s", stderr)
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	taken := l.Addr().String()
	code, stdout, stderr := run(t, "--addr", taken)
	require.Equal(t, 1, code, stderr)
	require.Empty(t, stdout)
	oneLine(t, stderr)
	require.Contains(t, stderr, taken)

	// The same when the port is taken by another turbine.
	s := serve(t)
	code, stdout, stderr = run(t, "--addr", s.addr)
	require.Equal(t, 1, code, stderr)
	require.Empty(t, stdout)
	oneLine(t, stderr)
	s.goesOn(t)
}

func TestBadFlag(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--nonsense"}, "nonsense"},
		{[]string{"nonsense"}, "nonsense"},
		{[]string{"--addr"}, "addr"},
		{[]string{"--ping-interval", "soon"}, "ping-interval"},
		{[]string{"--ping-interval", "-1s"}, "ping-interval"},
		{[]string{"--ping-timeout", "5"}, "ping-timeout"},
		{[]string{"--max-payload", "much"}, "max-payload"},
		{[]string{"--max-payload", "-1"}, "max-payload"},
		{[]string{"--transports", "polling,pigeon"}, "pigeon"},
		{[]string{"--revisions", "4,9"}, "9"},
		{[]string{"--loops", "-1"}, "loops"},
		{[]string{"--app", "tango"}, "app"},
		{[]string{"--max-polls=-1"}, "--max-polls"},
		{[]string{"--exempt", "10.0.0.0/8,here"}, "here"},
		{[]string{"--log-level", "loud"}, `--log-level: "loud" is no level; debug, info, warn and error are`},
		{[]string{"--log-format", "xml"}, "--log-format"},
		{[]string{"--log-sessions-rate", "many"}, "--log-sessions-rate"},
		{[]string{"--health-path", "healthz"}, "--health-path"},
		{[]string{"--drain-delay", "5s", "--drain-period", "5s"}, "--drain-timeout"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			// The free port is for the case that the fault is not seen.
			code, stdout, stderr := run(t, append([]string{"--addr=127.0.0.1:0"}, c.args...)...)
			require.Equal(t, 2, code, stderr)
			require.Empty(t, stdout)
			oneLine(t, stderr)
			require.Contains(t, stderr, c.says)
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	code, stdout, stderr := run(t, "--help")
	require.Equal(t, 0, code, stderr)
	require.Empty(t, stderr)
	for _, name := range options {
		require.Contains(t, stdout, "--"+name)
		require.Contains(t, stdout, "TURBINE_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	}

	code, stdout, stderr = run(t, "--version")
	require.Equal(t, 0, code, stderr)
	require.Empty(t, stderr)
	oneLine(t, stdout)
}

// A flag wins over the environment, which wins over the default.
func TestEnvironment(t *testing.T) {
	cmd := command(context.Background(), t, "--ping-timeout", "8s", "--path", "/from/flag/")
	cmd.Env = append(cmd.Env, "TURBINE_ADDR=127.0.0.1:0", "TURBINE_PATH=/from/environment/",
		"TURBINE_PING_INTERVAL=9s", "TURBINE_PING_TIMEOUT=1s", "TURBINE_MAX_PAYLOAD=5000",
		"TURBINE_DRAIN_TIMEOUT=200ms")
	s := start(t, cmd)
	s.path = "/from/flag/"
	o := s.poll4(t).open
	o.Sid = ""
	require.Equal(t, open{"", []string{"websocket"}, 9000, 8000, 5000}, o)
	s.goesOn(t)
}

// A variable with a mistake in its name is no reason not to start, but is told.
func TestEnvironmentOfNoFlag(t *testing.T) {
	cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms")
	cmd.Env = append(cmd.Env, "TURBINE_PING_TIMOUT=hush")
	s := start(t, cmd)
	s.logs(t, func() bool {
		return strings.Contains(s.stderr.String(), "variable=TURBINE_PING_TIMOUT nearest=TURBINE_PING_TIMEOUT")
	})
	require.NotContains(t, s.stderr.String(), "hush")
	s.goesOn(t)
}

func TestDefaults(t *testing.T) {
	o := serve(t).poll4(t).open
	require.Regexp(t, `^[A-Za-z0-9_-]{27}$`, o.Sid)
	o.Sid = ""
	require.Equal(t, open{"", []string{"websocket"}, 25000, 20000, maxPayload}, o)
}

func TestPathFlag(t *testing.T) {
	s := serve(t, "--path", "/custom/")
	p := s.dial(t)
	p.write("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: " + s.addr + "\r\n\r\n")
	require.Contains(t, elsewhere, p.reply("GET").status)
	s.path = "/custom/"
	s.goesOn(t)
}

func TestTransportsFlag(t *testing.T) {
	s := serve(t, "--transports", "polling")
	p := s.poll4(t)
	require.Empty(t, p.Upgrades)
	p.write(s.upgradeRequest("EIO=4&transport=websocket"))
	require.Equal(t, http.StatusBadRequest, p.reply("GET").status)
	s.poll4(t).echoes()

	s = serve(t, "--transports", "websocket")
	p.t = t
	q := s.dial(t)
	q.isError(q.get("EIO=4&transport=polling"), 0)
	ws, _ := s.websocket(t, 4)
	ws.echoes()
}

func TestRevisionsFlag(t *testing.T) {
	s := serve(t, "--revisions", "4")
	p := s.dial(t)
	p.isError(p.get("EIO=3&transport=polling"), 5)
	ws := s.dial(t)
	ws.write(s.upgradeRequest("EIO=3&transport=websocket"))
	require.Equal(t, `400 "Unsupported protocol version"`, ws.reply("GET").String())
	s.goesOn(t)

	s = serve(t, "--revisions", "3")
	p = s.dial(t)
	p.isError(p.get("EIO=4&transport=polling"), 5)
	s.poll3(t).echoes()
}

func TestMaxPayloadFlag(t *testing.T) {
	s := serve(t, "--max-payload", "100")
	p := s.poll4(t)
	full := "4" + strings.Repeat("x", 99)
	p.ok(p.post(full))
	p.polls(full)
	q := s.dial(t)
	require.Equal(t, http.StatusRequestEntityTooLarge, q.post(p.query(), full+"x").status)
	p.echoes()

	ws, session := s.websocket(t, 4)
	ws.send(full)
	ws.receives(full)
	ws.send(full + "x")
	ws.closes(1009)
	session.gone()
}

// What is on by default for addresses of the internet is for loopback, too, if
// the flags say so.
func TestLimitFlags(t *testing.T) {
	s := serve(t, "--exempt", "none", "--handshake-rate", "1", "--max-headers", "5")
	p := s.dial(t)
	let := 0
	for ; let < 1000 && p.get("EIO=4&transport=polling").status == http.StatusOK; let++ {
	}
	require.GreaterOrEqual(t, let, 10, "ten seconds' worth")
	require.Less(t, let, 1000)
	require.Equal(t, http.StatusTooManyRequests, p.get("EIO=4&transport=polling").status)
	q := s.dial(t)
	q.write("GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n")
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, q.reply("GET").status)
}

// Whoever sends: everybody gets it, over any transport and revision.
func TestBroadcast(t *testing.T) {
	s := serve(t, "--app", "broadcast")
	poll4, poll3 := s.poll4(t), s.poll3(t)
	ws4, _ := s.websocket(t, 4)
	ws3, _ := s.websocket(t, 3)
	sender := map[string]func(packet string){
		"polling":   func(packet string) { poll4.ok(poll4.post(packet)) },
		"websocket": ws3.send,
	}
	for name, send := range sender {
		send("4from " + name + " €")
		want := "4from " + name + " €"
		ws4.receives(want)
		ws3.receives(want)
		poll4.polls(want)
		poll3.polls(map[string]string{"polling": "15:", "websocket": "17:"}[name] + want)
	}
}

// SIGTERM and SIGINT close every session and end the process with code 0: T114, T115.
func TestSignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			// A drain timeout over our patience: the sessions end because they are closed.
			s := serve(t, "--loops", "1", "--drain-timeout", "1m")
			idle := s.dial(t)
			ws, unused := s.websocket(t, 4)
			polling := s.poll4(t)
			polling.write(s.getRequest(polling.query()))
			ws.echoes() // the poll now waits, see serveOneLoop

			require.NoError(t, s.cmd.Process.Signal(signal))
			ws.closes(noStatus, 1001)
			require.Equal(t, `200 "1"`, polling.reply("GET").String())
			idle.ended()
			unused.ended()
			polling.ended()
			require.True(t, s.ends(stopPatience), "still running")
			require.Equal(t, 0, s.cmd.ProcessState.ExitCode())
			_, err := net.DialTimeout("tcp", s.addr, patience)
			require.Error(t, err, "the port is still open")
		})
	}
}

// Health checks and new clients are told 503 from the signal on, while a session
// goes on over new connections until the delay is over.
func TestHealthPathAndDrainDelay(t *testing.T) {
	s := serve(t, "--health-path", "/healthz", "--drain-delay", "10m", "--drain-timeout", "20m")
	health := func(path string) string {
		p := s.dial(t)
		p.write("GET " + path + " HTTP/1.1\r\nHost: " + s.addr + "\r\n\r\n")
		return p.reply("GET").String()
	}
	require.Equal(t, `200 "ok\n"`, health("/healthz"))
	session := s.poll4(t)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	for end := time.Now().Add(patience); health("/healthz") != `503 "draining\n"`; time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "still ready")
	}
	require.Equal(t, `200 "ok\n"`, health("/healthz/live"))
	r := s.dial(t).get("EIO=4&transport=polling")
	require.Equal(t, http.StatusServiceUnavailable, r.status)
	require.Equal(t, "1", r.header.Get("Retry-After"))
	require.True(t, r.close)
	session.peer = s.dial(t)
	session.echoes()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM)) // enough
	require.True(t, s.ends(stopPatience), "still running")
}

// A session that does not fetch its close holds the end up, but no longer than the drain timeout: T114.
func TestDrainTimeout(t *testing.T) {
	s := serve(t, "--drain-timeout", "300ms")
	s.poll4(t)
	begin := time.Now()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.True(t, s.ends(stopPatience), "still running")
	require.GreaterOrEqual(t, time.Since(begin), 300*time.Millisecond)
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode())
}

// A second signal does not wait for anybody. The first one alone would wait for
// a session that does not fetch its close, longer than this test does.
func TestSecondSignal(t *testing.T) {
	cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "20m", "--close-timeout", "10m")
	s := start(t, cmd)
	s.poll4(t)
	ws, _ := s.websocket(t, 4)
	ws.echoes()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	ws.closeFrame(noStatus, 1001)
	_ = cmd.Process.Signal(syscall.SIGTERM) // an error says that it did not wait at all
	require.True(t, s.ends(stopPatience), "still running")
	s.cmd = nil // how it ended is not asked for
}

// What a client owes has its time, by flag.
func TestTimeoutFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flag string
		slow func(s *server, p *peer)
	}{
		{"header-timeout", func(s *server, p *peer) {
			p.write("GET " + s.path)
			require.Equal(t, http.StatusRequestTimeout, p.reply("GET").status)
			p.ended()
		}},
		{"body-timeout", func(s *server, p *peer) {
			session := p.handshake(4)
			p.write(s.head("POST", session.query()) + "Content-Length: 10\r\n\r\n4he")
			require.Equal(t, http.StatusRequestTimeout, p.reply("POST").status)
			p.ended()
		}},
		{"idle-timeout", func(_ *server, p *peer) { p.ended() }},
	} {
		t.Run(c.flag, func(t *testing.T) {
			s := serve(t, "--"+c.flag, "2s") // in which a client on a loaded machine begins
			c.slow(s, s.dial(t))
		})
	}
	t.Run("close-timeout", func(t *testing.T) {
		s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "1m", "--close-timeout", "200ms"))
		s.poll4(t) // and never a poll, which would fetch the close
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
		require.True(t, s.ends(stopPatience), "still running")
	})
}

// SIGUSR1 logs what the server holds.
func TestFigures(t *testing.T) {
	s := serve(t, "--loops", "1")
	ws, _ := s.websocket(t, 4)
	ws.echoes()
	gone := s.poll4(t)
	require.Equal(t, 413, s.dial(t).post(gone.query(), strings.Repeat("4", maxPayload+1)).status)
	gone.ok(gone.post("1"))
	foreign := s.dial(t)
	foreign.write(s.head("GET", "EIO=4&transport=polling") + "Origin: http://elsewhere.example\r\n\r\n")
	require.Equal(t, 403, foreign.reply("GET").status)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGUSR1))
	require.Eventually(t, func() bool { return strings.Contains(s.stderr.String(), "msg=figures") }, patience, 10*time.Millisecond)
	line := s.stderr.String()
	for _, figure := range []string{"sessions=1", "queued=0", "closed.transport_close=1", "closed.ping_timeout=0", "closed.queue_overflow=0",
		"forbidden=1", "slow=0", "pending=0", "limits.conns=0", "limits.payload=1", "tls.done=0", "tls.now=0",
		"phase=serving", "loops=1", "polls=0", "websocket.sessions.revision4=1", "polling.sessions.revision4=0", "polling.opened.revision4=1",
		"refused.foreign_origin=1", "refused.session_unknown=0", "upgrades.started=0", "upgrades.failed.timeout=0", "accepts.errors=0"} {
		require.Contains(t, line, " "+figure)
	}
	ws.echoes()
}
