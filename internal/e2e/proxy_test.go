package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var proxyKinds = []string{"nginx", "nginx unbuffered", "haproxy"}

// A proxy is nginx, haproxy or Caddy with the recipe of docs/deploy.md, in front
// of two instances, with a tap before each.
type proxy struct {
	*server          // what clients see of it
	kind      string // "nginx", "haproxy" or "caddy"
	instances [2]*server
	taps      [2]*tap // in front of the instances; nil on Unix sockets, and for an instance that is not there
	log       func() string
}

// behind starts two instances, one for the way "single", and a proxy in front of
// them, and ends them with the test. The first word of kind is the program, the others are what it does
// otherwise than in its recipe, or another recipe. change edits the proxy's
// configuration; nil leaves it. flags are those of the instances.
func behind(t *testing.T, kind string, change func(config string) string, flags ...string) *proxy {
	t.Helper()
	kind, way, _ := strings.Cut(kind, " ")
	p := &proxy{kind: kind}
	config, ports := recipe(t, kind), []string{"127.0.0.1:3001", "127.0.0.1:3002"}
	switch way {
	case "tcp", "single":
		config = recipe(t, kind+" "+way)
	}
	if way == "single" {
		ports = []string{"127.0.0.1:3000"}
	}
	if way == "unbuffered" { // requests and responses are passed on while they come
		const buffered = "        client_max_body_size"
		require.Contains(t, config, buffered)
		config = strings.Replace(config, buffered, "proxy_request_buffering off;\nproxy_buffering off;\n"+buffered, 1)
	}
	flags = append([]string{"--cookie", "io", "--drain-timeout", "200ms"}, flags...)
	for i, port := range ports {
		require.Contains(t, config, port)
		instead := "unix:" + filepath.Join(t.TempDir(), "socket")
		if way == "unix" {
			p.instances[i] = start(t, command(context.Background(), t, append(flags, "--addr", instead, "--socket-mode", "666")...))
			instead = map[string]string{"nginx": "unix:", "haproxy": "unix@", "caddy": "unix/"}[kind] + strings.TrimPrefix(instead, "unix:")
		} else {
			p.instances[i] = start(t, command(context.Background(), t, append(flags, "--addr", "127.0.0.1:0")...))
			p.taps[i] = newTap(t, p.instances[i].addr)
			instead = p.taps[i].addr
		}
		config = strings.ReplaceAll(config, port, instead)
	}
	if change != nil {
		config = change(config)
	}
	p.run(t, config, way == "tcp")
	return p
}

// run starts the proxy with a recipe, whose port is replaced, and ends it with the
// test. tcp: it does not look into the streams.
func (p *proxy) run(t *testing.T, config string, tcp bool) {
	t.Helper()
	kind, addr := p.kind, freeAddr(t)
	p.server = &server{addr: addr, path: "/engine.io/", exited: make(chan struct{})}
	dir := t.TempDir()
	file := filepath.Join(dir, kind+".conf")
	var stdout output
	switch kind {
	case "caddy":
		p.cmd = exec.Command(find(t, "CADDY", "caddy", "caddy"), "run", "--config", file, "--adapter", "caddyfile")
		p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		_, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		config = strings.Replace(config, ":80 {", ":"+port+" {\n\tbind 127.0.0.1", 1)
		p.log = stdout.String
	case "nginx":
		p.cmd = exec.Command(find(t, "NGINX", "nginx", "nginx-light"), "-e", filepath.Join(dir, "error.log"), "-p", dir, "-c", file)
		config = nginxConfig(dir, strings.Replace(config, "listen 80;", "listen "+addr+";", 1))
		p.log = func() string {
			text, err := os.ReadFile(filepath.Join(dir, "access.log"))
			require.NoError(t, err)
			return string(text)
		}
	case "haproxy":
		p.cmd = exec.Command(find(t, "HAPROXY", "haproxy", "haproxy"), "-db", "-f", file)
		config = strings.Replace(config, "bind :80", "bind "+addr, 1)
		if tcp {
			config = "global\n    nbthread 1\n    maxconn 2000\n" + config
		} else {
			config = haproxyConfig(config)
		}
		p.log = stdout.String
	}
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	p.cmd.Stdout, p.cmd.Stderr = &stdout, &p.stderr
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.end(t) })
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil || p.ends(0)
	}, patience, 5*time.Millisecond, "%s does not listen", kind)
	require.False(t, p.ends(0), "%s ended: %s", kind, p.stderr.String())
}

// end stops the proxy.
func (p *proxy) end(t *testing.T) {
	if t.Failed() {
		t.Logf("stderr of %s:\n%s", p.kind, p.stderr.String())
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if !p.ends(stopPatience) {
		_ = p.cmd.Process.Kill()
		<-p.exited
		t.Errorf("%s was still running %v after SIGTERM", p.kind, stopPatience)
	}
}

// find returns the program to use: what the variable says, or what Debian's
// package installs, where a user's PATH may not reach.
func find(t *testing.T, variable, name, debian string) string {
	t.Helper()
	name = cmp.Or(os.Getenv(variable), name)
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	require.NoError(t, err, "run `apt-get install %s` as root, or set %s to the path of the program", debian, variable)
	return path
}

// recipe returns the block of docs/deploy.md in that language.
func recipe(t *testing.T, kind string) string {
	t.Helper()
	return recipeOf(t, "docs/deploy.md", kind)
}

// recipeOf returns the page's block in that language.
func recipeOf(t *testing.T, page, kind string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + page)
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(text), "```"+kind+"\n")
	require.True(t, ok, "%s has no recipe for %s", page, kind)
	block, _, ok = strings.Cut(block, "```")
	require.True(t, ok)
	return block
}

// nginxConfig is a configuration for one process in the foreground, which
// writes a line for each request: the client's port, the instances it was given
// to, status, line.
func nginxConfig(dir, recipe string) string {
	return strings.NewReplacer("$DIR", dir, "$RECIPE", recipe).Replace(`
daemon off;
master_process off;
pid $DIR/nginx.pid;
events { worker_connections 1024; }
http {
	log_format given '$remote_port|$upstream_addr|$status|$request';
	access_log $DIR/access.log given;
	client_body_temp_path $DIR/body;
	proxy_temp_path $DIR/proxy;
	fastcgi_temp_path $DIR/fastcgi;
	uwsgi_temp_path $DIR/uwsgi;
	scgi_temp_path $DIR/scgi;
	client_header_timeout 5s;
	client_body_timeout 5s;
$RECIPE
}
`)
}

// haproxyConfig is a configuration for one thread, which writes the same.
func haproxyConfig(recipe string) string {
	return "global\n    nbthread 1\n    maxconn 2000\n    log stdout format raw local0\n" +
		strings.Replace(recipe, "defaults\n", "defaults\n    log global\n    log-format \"%cp|%s|%ST|%HM %HU\"\n", 1)
}

// given is how many requests of the client at that port, or of all if there is
// none, the proxy says in this part of its log that it has given to an
// instance; one that it gave to two counts twice.
func given(log, port string) (n int64) {
	for line := range strings.Lines(log) {
		client, rest, _ := strings.Cut(line, "|")
		instance, _, ok := strings.Cut(rest, "|")
		if ok && (port == "" || client == port) && instance != "-" && instance != "<NOSRV>" {
			n += 1 + int64(strings.Count(instance, ","))
		}
	}
	return n
}

// answers is how many responses the instances have sent.
func (p *proxy) answers() int64 { return p.taps[0].answers.Load() + p.taps[1].answers.Load() }

// conns is how many connections the proxy has opened to the instances.
func (p *proxy) conns() int64 { return p.taps[0].conns.Load() + p.taps[1].conns.Load() }

// givenPorts are those that freeAddr has given away. Each module and package has a range of its
// own, because their tests run side by side.
var givenPorts sync.Map

// freeAddr returns an address for somebody to listen on. Its port is none of those that the
// system gives away by itself, so nobody takes it meanwhile.
func freeAddr(t *testing.T) string {
	t.Helper()
	var err error
	for range 100 {
		port := 10_000 + rand.IntN(7_000)
		if _, taken := givenPorts.LoadOrStore(port, true); taken {
			continue // by a test that has not listened yet
		}
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	require.NoError(t, err)
	return ""
}

// A tap stands in front of an instance, passes all bytes on and counts.
type tap struct {
	addr    string
	conns   atomic.Int64
	answers atomic.Int64 // status lines, without those of interim responses
	end     func()       // listens no more, and waits for the connections to end

	mu   sync.Mutex
	last []byte // of what the proxy has sent, for the message of a failure
}

// newTap is called before the proxy starts, which then ends first.
func newTap(t *testing.T, to string) *tap {
	tp := new(tap)
	tp.addr, tp.end = relay(t, to, tp.pass)
	return tp
}

// pass passes on in both directions until both have ended.
func (tp *tap) pass(proxy, instance net.Conn) {
	tp.conns.Add(1)
	var requests sync.WaitGroup
	requests.Go(func() { stream(instance, io.TeeReader(proxy, (*heard)(tp))) })
	stream(proxy, io.TeeReader(instance, &counter{n: &tp.answers}))
	requests.Wait()
}

const heardSize = 4096

// heard is a tap as the keeper of what the proxy has sent.
type heard tap

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = append(h.last, p...)
	h.last = h.last[max(0, len(h.last)-heardSize):]
	return len(p), nil
}

// lately returns the end of what the proxy has sent to either instance.
func (p *proxy) lately() (text []string) {
	for _, tp := range p.taps {
		tp.mu.Lock()
		text = append(text, string(tp.last))
		tp.mu.Unlock()
	}
	return text
}

// counter counts status lines in what an instance sends, however it is cut.
type counter struct {
	n     *atomic.Int64
	carry []byte
}

const statusLine = "HTTP/1.1 200"

func (c *counter) Write(p []byte) (int, error) {
	c.carry = append(c.carry, p...)
	rest := c.carry
	for {
		i := bytes.Index(rest, []byte(statusLine[:len("HTTP/1.1 ")]))
		if i < 0 || i+len(statusLine) > len(rest) {
			break
		}
		if rest[i+len("HTTP/1.1 ")] != '1' || string(rest[i:i+len(statusLine)]) == "HTTP/1.1 101" {
			c.n.Add(1)
		}
		rest = rest[i+len(statusLine):]
	}
	c.carry = append(c.carry[:0], rest[max(0, len(rest)-len(statusLine)+1):]...)
	return len(p), nil
}

// What the tests of proxies rest on.
func TestTapCounts(t *testing.T) {
	s := serve(t)
	tp := newTap(t, s.addr)
	p := (&server{addr: tp.addr, path: s.path}).dial(t)
	p.write(s.getRequest("EIO=4") + s.getRequest("EIO=4&transport=polling") + s.head("HEAD", "") + "\r\n")
	require.Equal(t, 400, p.reply("GET").status)
	require.Equal(t, 200, p.reply("GET").status)
	require.Equal(t, 400, p.reply("HEAD").status)
	require.EqualValues(t, 3, tp.answers.Load())
	require.EqualValues(t, 1, tp.conns.Load())
	p.conn.Close()

	var n atomic.Int64
	c := counter{n: &n}
	for _, b := range []byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nHTTP/1.1 HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 4") {
		_, _ = c.Write([]byte{b})
	}
	require.EqualValues(t, 2, n.Load())
}
