package e2e

import (
	"context"
	"crypto/tls"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"turbine/internal/certs"

	"github.com/stretchr/testify/require"
)

var opsReady = regexp.MustCompile(`msg="operations are served" address=(\S+)`)

// opsAddr is where the server serves operations.
func (s *server) opsAddr(t *testing.T) string {
	t.Helper()
	s.logs(t, func() bool { return opsReady.MatchString(s.stderr.String()) })
	return opsReady.FindStringSubmatch(s.stderr.String())[1]
}

// opsClient asks for operations.
type opsClient struct {
	t    *testing.T
	base string
	http http.Client
	key  string
}

func newOpsClient(t *testing.T, base string, config *tls.Config) *opsClient {
	c := &opsClient{t: t, base: base, http: http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config}}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// ask returns the answer's status and body.
func (c *opsClient) ask(method, path, body string) (status int, text string) {
	c.t.Helper()
	r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	require.NoError(c.t, err)
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	answer, err := c.http.Do(r)
	require.NoError(c.t, err)
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	require.NoError(c.t, err)
	return answer.StatusCode, string(all)
}

func (c *opsClient) says(method, path, body string, status int, want string) {
	c.t.Helper()
	got, text := c.ask(method, path, body)
	require.Equal(c.t, status, got, text)
	require.Equal(c.t, want, text)
}

// until asks until the answer has that status.
func (c *opsClient) until(path string, status int) {
	c.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got, text := c.ask("GET", path, "")
		if got == status {
			return
		}
		require.True(c.t, time.Now().Before(end), "%s: %d %s", path, got, text)
	}
}

// An operator looks at the server, changes what it logs, and drains it, while clients are
// served.
func TestOperations(t *testing.T) {
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--drain-delay", "10m", "--drain-timeout", "20m"))
	ops := newOpsClient(t, "http://"+s.opsAddr(t), nil)
	ops.until("/healthz", 200)
	ops.says("GET", "/healthz", "", 200, "ok\n")
	ops.says("GET", "/livez", "", 200, "ok\n")
	session := s.poll4(t)
	_, stats := ops.ask("GET", "/v1/stats", "")
	require.Contains(t, stats, `"sessions":1`)
	require.NotContains(t, stats, session.Sid)

	session.echoes()
	require.NotContains(t, s.stderr.String(), "scope=")
	ops.says("PUT", "/v1/debug", `{"scopes":"engine:polling"}`, 200, `{"scopes":"engine:polling"}`+"\n")
	session.echoes()
	s.logs(t, func() bool { return strings.Contains(s.stderr.String(), "scope=engine:polling") })
	ops.says("PUT", "/v1/debug", `{"scopes":""}`, 200, `{"scopes":""}`+"\n")
	status, _ := ops.ask("PUT", "/v1/debug", `{"scopes":"engine:sw"}`)
	require.Equal(t, 400, status)

	ops.says("GET", "/v1/loglevel", "", 200, `{"level":"info"}`+"\n")
	ops.says("PUT", "/v1/loglevel", `{"level":"error"}`, 200, `{"level":"error"}`+"\n")
	ops.says("PUT", "/v1/loglevel", `{"level":"info"}`, 200, `{"level":"info"}`+"\n")
	s.logs(t, func() bool { return strings.Contains(s.stderr.String(), "method=PUT path=/v1/loglevel") })
	status, text := ops.ask("PUT", "/v1/loglevel", `{"level":"loud"}`)
	require.Equal(t, 400, status)
	require.Contains(t, text, "debug, info, warn and error are")

	ops.says("POST", "/v1/drain", "", 202, `{"phase":"draining"}`+"\n")
	s.logs(t, func() bool {
		return strings.Contains(s.stderr.String(), "msg=draining") || strings.Contains(s.stderr.String(), `msg="draining;`)
	})
	ops.says("GET", "/healthz", "", 503, "draining\n")
	ops.says("GET", "/livez", "", 200, "ok\n")
	ops.says("POST", "/v1/drain", "", 202, `{"phase":"draining"}`+"\n")
	require.Equal(t, http.StatusServiceUnavailable, s.dial(t).get("EIO=4&transport=polling").status)
	session.echoes()

	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM)) // as a supervisor does behind its hook
	s.logs(t, func() bool { return strings.Contains(s.stderr.String(), "already draining") })
	session.echoes()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.True(t, s.ends(stopPatience), "still running")
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode())
}

// A drain ends the program by itself, with code 0.
func TestOperationsDrainEnds(t *testing.T) {
	s := serve(t, "--ops-addr", "127.0.0.1:0", "--drain-timeout", "1m")
	polling := s.poll4(t)
	polling.write(s.getRequest(polling.query()))
	newOpsClient(t, "http://"+s.opsAddr(t), nil).says("POST", "/v1/drain", "", 202, `{"phase":"draining"}`+"\n")
	require.Equal(t, `200 "1"`, polling.reply("GET").String())
	polling.ended()
	polling.conn.Close()
	require.True(t, s.ends(stopPatience), "still running")
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode())
}

// Without a flag operations are on their default address. If it is taken, the program
// serves its clients without.
func TestOperationsDefaultAddress(t *testing.T) {
	const address = "127.0.0.1:3001"
	begin := func() *server {
		cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms")
		cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return v == noOperations })
		return start(t, cmd)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("another program is there: %v", err)
	}
	s := begin()
	s.logs(t, func() bool { return strings.Contains(s.stderr.String(), "operations are not served") })
	require.Contains(t, s.stderr.String(), `help="--ops-addr with another address, or empty for none"`)
	s.goesOn(t)
	s.stop(t)
	require.Equal(t, 1, strings.Count(s.stderr.String(), "operations are"), s.stderr.String())

	require.NoError(t, l.Close())
	s = begin()
	require.Equal(t, address, s.opsAddr(t))
	newOpsClient(t, "http://"+address, nil).until("/healthz", 200)
}

// Switched off there is nothing: no port, and no word about it.
func TestNoOperations(t *testing.T) {
	s := serve(t, "--ops-addr", "", "--ops-keys", "/no/such/file")
	s.goesOn(t)
	s.stop(t)
	require.NotContains(t, s.stderr.String(), "operations")
}

// What cannot be, or must not be, is told before anybody is served, with what to do.
func TestOperationsStart(t *testing.T) {
	_, dir, args := certificate(t)
	certFile, keyFile := args[1], args[3]
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	keys := write("keys", "ann read 0123456789abcdef\n")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	clients := freeAddr(t)
	_, port, err := net.SplitHostPort(clients)
	require.NoError(t, err)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--ops-addr", "0.0.0.0:0"}, "--ops-addr: 0.0.0.0:0 can be reached by other machines; name who may come by --ops-keys or --ops-tls-client-ca, or listen on"},
		{[]string{"--ops-addr", ":0"}, "can be reached by other machines"},
		{[]string{"--ops-addr", "[::]:0"}, "can be reached by other machines"},
		{[]string{"--ops-addr", "192.0.2.1:3001"}, "can be reached by other machines"},
		{[]string{"--ops-addr", "ops.example:3001"}, "can be reached by other machines"},
		{[]string{"--ops-addr", ":0", "--ops-tls-cert", certFile, "--ops-tls-key", keyFile}, "can be reached by other machines"},
		{[]string{"--ops-addr", "3001"}, `--ops-addr: "3001" is no address`},
		{[]string{"--ops-addr", taken.Addr().String()}, "--ops-addr: cannot listen on " + taken.Addr().String()},
		{[]string{"--ops-addr", "unix:" + dir}, "--ops-addr: cannot listen on unix:" + dir},
		{[]string{"--addr", clients, "--ops-addr", clients}, "--ops-addr: " + clients + " is an address of clients"},
		{[]string{"--addr", "0.0.0.0:" + port, "--ops-addr", clients}, "--ops-addr: " + clients + " is an address of clients"},
		{[]string{"--addr", clients, "--ops-addr", ":" + port, "--ops-keys", keys}, "is an address of clients"},
		{[]string{"--ops-keys", filepath.Join(dir, "none")}, "no such file or directory"},
		{[]string{"--ops-keys", write("bad", "# keys\nann heath 0123456789abcdef\n")}, `bad: line 2: "heath" is no scope; there are health,`},
		{[]string{"--ops-keys", dir}, "is a directory"},
		{[]string{"--ops-tls-cert", certFile}, "--ops-tls-cert and --ops-tls-key go together"},
		{[]string{"--ops-tls-client-ca", certFile}, "--ops-tls-client-ca needs --ops-tls-cert and --ops-tls-key"},
		{[]string{"--ops-tls-cert", keyFile, "--ops-tls-key", keyFile}, "--ops-tls-cert"},
		{[]string{"--ops-tls-cert", certFile, "--ops-tls-key", keyFile, "--ops-tls-client-ca", keyFile}, "has no certificate in PEM"},
		{[]string{"--ops-open", "read"}, "--ops-open"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			args := append([]string{"--ops-addr", "127.0.0.1:0"}, c.args...)
			if c.args[0] != "--addr" {
				args = append([]string{"--addr", "127.0.0.1:0"}, args...)
			}
			code, stdout, stderr := run(t, args...)
			require.Equal(t, 2, code, stderr)
			require.Empty(t, stdout)
			oneLine(t, stderr)
			require.Contains(t, stderr, c.says)
			require.NotContains(t, stderr, "0123456789abcdef")
		})
	}
}

// On any address there are keys and certificates. The files are read again when they
// change and when SIGHUP comes; a file that is bad changes nothing.
func TestOperationsKeysAndCertificates(t *testing.T) {
	authority, dir, args := certificate(t)
	clients := certs.New(t)
	caFile, keysFile := filepath.Join(dir, "clients.pem"), filepath.Join(dir, "keys")
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(caFile, string(clients.PEM))
	const first, second = "first-0123456789abcdef", "second-0123456789abcdef"
	write(keysFile, "ann read,debug "+first+"\ncert.example read -\n")
	s := serve(t, "--ops-addr", "0.0.0.0:0", "--ops-keys", keysFile, "--ops-tls-cert", args[1], "--ops-tls-key", args[3], "--ops-tls-client-ca", caFile)
	_, port, err := net.SplitHostPort(s.opsAddr(t))
	require.NoError(t, err)
	base := "https://localhost:" + port
	nobody := newOpsClient(t, base, &tls.Config{RootCAs: authority.Pool()})
	nobody.says("GET", "/livez", "", 200, "ok\n")
	status, text := nobody.ask("GET", "/v1/stats", "")
	require.Equal(t, 401, status)
	require.Contains(t, text, "Show a client certificate, or send a key")

	ann := newOpsClient(t, base, &tls.Config{RootCAs: authority.Pool()})
	ann.key = first
	ann.says("GET", "/v1/loglevel", "", 200, `{"level":"info"}`+"\n")
	status, text = ann.ask("POST", "/v1/drain", "")
	require.Equal(t, 403, status)
	require.Contains(t, text, "the scope drain, which ann does not have")

	certified := newOpsClient(t, base, &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{clients.Issue(t, "cert.example", nil).TLS(t)}})
	status, _ = certified.ask("GET", "/v1/stats", "")
	require.Equal(t, 200, status)
	status, _ = certified.ask("GET", "/v1/loglevel", "")
	require.Equal(t, 403, status)
	stranger := newOpsClient(t, base, &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{authority.Issue(t, "cert.example", nil).TLS(t)}})
	_, err = stranger.http.Get(base + "/livez")
	require.Error(t, err, "a certificate of another authority")

	write(keysFile, "ann read,debug "+first+"\nann drain\n")
	s.logs(t, func() bool {
		return strings.Contains(s.stderr.String(), "files of operations cannot be used; the old ones stay in use") && strings.Contains(s.stderr.String(), "line 2: 2 words")
	})
	status, _ = ann.ask("GET", "/v1/stats", "")
	require.Equal(t, 200, status)
	write(keysFile, "ann read,debug "+second+"\n")
	ann.until("/v1/stats", 401)
	ann.key = second
	status, _ = ann.ask("GET", "/v1/stats", "")
	require.Equal(t, 200, status)
	status, _ = certified.ask("GET", "/v1/stats", "")
	require.Equal(t, 401, status, "its line is gone")

	write(caFile, string(certs.New(t).PEM)) // from now on certificates of another authority count
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	s.logs(t, func() bool { return strings.Count(s.stderr.String(), "files of operations read") >= 2 })
	_, err = certified.http.Get(base + "/livez")
	require.Error(t, err, "its connection is closed, and a new one is refused")
	require.NotContains(t, s.stderr.String(), first)
	require.NotContains(t, s.stderr.String(), second)
	s.goesOn(t)
}

// A Unix socket is for the server's user alone, and goes with the server.
func TestOperationsOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ops.sock")
	s := serve(t, "--ops-addr", "unix:"+path)
	require.Equal(t, "unix:"+path, s.opsAddr(t))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	out, err := exec.Command("curl", "-sS", "--unix-socket", path, "http://turbine/livez").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "ok\n", string(out))
	s.stop(t)
	require.NoFileExists(t, path)
}

// A process that takes over takes the operations too, on the same address.
func TestOperationsTakeover(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "ops.sock")} {
		supervisor := newSystemd(t)
		cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--ops-addr", address, "--drain-timeout", "200ms")
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+supervisor.path)
		s := start(t, cmd)
		pid := supervisor.ready(patience)
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		at := s.opsAddr(t)
		fetch := []string{"-sS", "http://" + at + "/v1/stats"}
		if path, ok := strings.CutPrefix(at, "unix:"); ok {
			fetch = []string{"-sS", "--unix-socket", path, "http://turbine/v1/stats"}
		}
		look := func() string {
			out, err := exec.Command("curl", fetch...).CombinedOutput()
			require.NoError(t, err, string(out))
			return string(out)
		}
		s.poll4(t)
		require.Contains(t, look(), `"sessions":1`)
		require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
		next := supervisor.ready(patience)
		require.NotContains(t, []int{0, pid}, next)
		pid = next
		s.logs(t, func() bool { return strings.Contains(s.stderr.String(), "another process has taken over") })
		require.NotContains(t, look(), `"sessions":1`, "the new process has none")
		require.Equal(t, 2, strings.Count(s.stderr.String(), "operations are served"))
		require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
		require.True(t, s.ends(stopPatience), "a process still runs")
		if path, ok := strings.CutPrefix(at, "unix:"); ok {
			require.NoFileExists(t, path)
		}
	}
}

// A process that takes over cannot have the port under another address, while the one
// before it has it: that one continues with the operations as they were, and the log says
// what to do.
func TestOperationsTakeoverUnderAnotherAddress(t *testing.T) {
	supervisor := newSystemd(t)
	at := freeAddr(t)
	_, port, err := net.SplitHostPort(at)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "turbine.yaml")
	write := func(address string) {
		require.NoError(t, os.WriteFile(file, []byte("ops-addr: "+address+"\n"), 0o600))
	}
	write(at)
	cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--config", file)
	cmd.Env = append(slices.DeleteFunc(cmd.Env, func(v string) bool { return v == noOperations }), "NOTIFY_SOCKET="+supervisor.path)
	s := start(t, cmd)
	pid := supervisor.ready(patience)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	write("localhost:" + port)
	require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	s.logs(t, func() bool {
		return strings.Contains(s.stderr.String(), "no process has taken over; this one continues")
	})
	require.Contains(t, s.stderr.String(), "cannot listen on localhost:"+port)
	require.Contains(t, s.stderr.String(), "under the address that was set before, stop the server and start it")
	out, err := exec.Command("curl", "-sS", "http://"+at+"/livez").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "ok\n", string(out))
	s.stop(t)
}

// The commands of docs/operate.md about the listener print what stands there.
func TestDocumentedOperations(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	keysFile := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(keysFile, []byte("ann health,metrics,read,publish,sessions,debug,drain "+key), 0o600))
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--ops-keys", keysFile, "--drain-delay", "10m", "--drain-timeout", "20m"))
	newOpsClient(t, "http://"+s.opsAddr(t), nil).until("/healthz", 200)
	text, _, _ := strings.Cut(section(t, "docs/operate.md", "## The operations listener"), "\n## ")
	dir, commands := t.TempDir(), 0
	for _, m := range regexp.MustCompile("(?m)^```\n((?:\\$ .*\n(?:[^`].*\n)*)+)```$").FindAllStringSubmatch(text, -1) {
		for part := range strings.SplitSeq(strings.TrimPrefix(m[1], "$ "), "\n$ ") {
			line, want, _ := strings.Cut(part, "\n")
			cmd := exec.Command("sh", "-c", strings.NewReplacer("localhost:3001", s.opsAddr(t), "localhost:3000", s.addr).Replace(line))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "KEY="+key)
			got, err := cmd.Output()
			require.NoError(t, err, line)
			require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(string(got)), line)
			commands++
		}
	}
	require.Greater(t, commands, 12)
	for range 2 { // the first one joins the drain
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		s.logs(t, func() bool { return strings.Contains(s.stderr.String(), "already draining") })
	}
	require.True(t, s.ends(stopPatience), "still running")

	// The file of keys that is shown is one.
	shown := regexp.MustCompile("(?m)^```\n(# who(?:.*\n)*?)```$").FindStringSubmatch(text)
	require.NotNil(t, shown)
	require.NoError(t, os.WriteFile(keysFile, []byte(shown[1]), 0o600))
	s = serve(t, "--ops-addr", "127.0.0.1:0", "--ops-keys", keysFile)
	c := newOpsClient(t, "http://"+s.opsAddr(t), nil)
	c.key = "c0ffee00c0ffee00c0ffee00c0ffee00"
	c.says("GET", "/v1/loglevel", "", 200, `{"level":"info"}`+"\n")
}
