package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// from is server.dial from another address of this machine.
func (s *server) from(t *testing.T, address string) *peer {
	t.Helper()
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := d.Dial("tcp", s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &peer{t: t, s: s, conn: conn, r: bufio.NewReader(conn)}
}

var handshakeRecord = regexp.MustCompile(`msg=handshake .* client=(\S+)`)

// clientsOf are the addresses of the sessions that began, as the log has them,
// without their ports.
func clientsOf(t *testing.T, servers ...*server) (addresses []string) {
	t.Helper()
	for _, s := range servers {
		for _, m := range handshakeRecord.FindAllStringSubmatch(s.stderr.String(), -1) {
			host, _, err := net.SplitHostPort(m[1])
			require.NoError(t, err, "%q", m[1])
			addresses = append(addresses, host)
		}
	}
	return addresses
}

// Through each proxy, in each way, clients begin by polling and switch to
// WebSocket, or begin on it, and the server knows each one's own address,
// whatever they say of themselves.
func TestProxiedAddress(t *testing.T) {
	const lie = "X-Forwarded-For: 203.0.113.66\r\nForwarded: for=203.0.113.66\r\nX-Real-IP: 203.0.113.66\r\n"
	viaTCP := []string{"--trusted-proxy", "127.0.0.1"}
	viaUnix := []string{"--trusted-proxy", "unix"}
	viaHeader := append([]string{"--proxy-protocol", "all"}, viaTCP...)
	for _, c := range []struct {
		name   string
		kind   string
		change func(string) string
		flags  []string
	}{
		{"nginx", "nginx", nil, viaTCP},
		{"nginx on Unix sockets", "nginx unix", nil, viaUnix},
		{"haproxy", "haproxy", nil, viaTCP},
		{"haproxy on Unix sockets", "haproxy unix", nil, viaUnix},
		{"haproxy by PROXY protocol 1", "haproxy tcp", version1, viaHeader},
		{"haproxy by PROXY protocol 2", "haproxy tcp", nil, viaHeader},
		{"Caddy", "caddy", nil, viaTCP},
		{"Caddy on Unix sockets", "caddy unix", nil, viaUnix},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("DEBUG", "engine")
			p := behind(t, c.kind, c.change, append(c.flags, "--bind-ip")...)
			var want []string
			for _, address := range []string{"127.0.0.5", "127.0.0.6", "127.0.0.7"} {
				want = append(want, address, address)
				polls := p.from(t, address)
				polls.write(p.head("GET", "EIO=4&transport=polling") + lie + "\r\n")
				r := polls.reply("GET")
				require.Equal(t, 200, r.status, "%v", r)
				session := &session{polls, parseOpen(t, r.body), 4}
				session.echoes()

				w := p.from(t, address)
				w.upgrade(session.with("websocket"))
				w.send("2probe")
				w.receives("3probe")
				session.polls("6")
				w.send("5")
				w.echoes()
				w.conn.Close()

				direct := p.from(t, address)
				direct.write(p.head("GET", "EIO=4&transport=websocket") + lie + wsHeaders + "\r\n")
				direct.switched()
				parseOpen(t, direct.textFrame())
				direct.echoes()
				direct.conn.Close()
			}
			for _, instance := range p.instances {
				instance.stop(t) // its log is whole then
			}
			require.ElementsMatch(t, want, clientsOf(t, p.instances[:]...))
		})
	}
}

// A session that is bound to its address is nobody else's, also if both come
// through one proxy.
func TestProxiedBindIP(t *testing.T) {
	p := behind(t, "haproxy", nil, "--trusted-proxy", "127.0.0.1", "--bind-ip")
	session := p.from(t, "127.0.0.5").handshake(4)
	thief := p.from(t, "127.0.0.6")
	thief.write(p.head("GET", session.query()) + "X-Forwarded-For: 127.0.0.5\r\n\r\n")
	require.Equal(t, 403, thief.reply("GET").status)
	thief = p.from(t, "127.0.0.6")
	thief.write(p.upgradeRequest(session.with("websocket")))
	require.Equal(t, 403, thief.reply("GET").status)
	session.echoes()
}

// version1 makes haproxy send the PROXY header as text.
func version1(config string) string { return strings.ReplaceAll(config, "send-proxy-v2", "send-proxy") }

// An official client passes through haproxy that does not look into its streams.
func TestProxyProtocolClients(t *testing.T) {
	for name, change := range map[string]func(string) string{"version 1": version1, "version 2": nil} {
		t.Run(name, func(t *testing.T) {
			p := behind(t, "haproxy tcp", change, "--proxy-protocol", "all", "--trusted-proxy", "127.0.0.1")
			scenario(t, p.server, clients[0], strings.Join(transports, ","), "all")
		})
	}
}

// The official clients pass through Caddy, and keep to an instance by address or
// by cookie.
func TestCaddyClients(t *testing.T) {
	p := behind(t, "caddy", nil)
	for _, client := range clients {
		t.Run("client "+client, func(t *testing.T) {
			scenario(t, p.server, client, strings.Join(transports, ","), "all")
		})
	}
	reached := map[string]bool{}
	for i := range 40 {
		session := p.from(t, fmt.Sprintf("127.0.0.%d", 10+i)).handshake(4)
		session.echoes()
		for _, s := range p.taps {
			reached[s.addr] = reached[s.addr] || s.conns.Load() > 0
		}
	}
	for _, tp := range p.taps {
		require.True(t, reached[tp.addr], "an instance gets nobody")
	}
}

// haproxy and Caddy set a cookie of their own, which leads to one instance from
// then on; a client without one is sent to any.
func TestProxiedStickyCookie(t *testing.T) {
	for _, c := range []struct {
		kind   string
		change func(config string) string
	}{
		{"haproxy", func(config string) string {
			for _, line := range []string{"stick-table type string len 64 size 1m expire 2m", "stick match url_param(sid)", "stick store-response res.cook(io)"} {
				require.Contains(t, config, line)
				config = strings.Replace(config, "    "+line+"\n", "", 1)
			}
			config = strings.Replace(config, "http-reuse", "cookie turbine_route insert indirect nocache httponly\n    http-reuse", 1)
			lines := strings.Split(config, "\n")
			for i, line := range lines {
				if name, ok := strings.CutPrefix(strings.TrimSpace(line), "server "); ok {
					lines[i] += " cookie " + name[:1]
				}
			}
			return strings.Join(lines, "\n")
		}},
		{"caddy", func(config string) string {
			require.Contains(t, config, "lb_policy ip_hash")
			return strings.Replace(config, "lb_policy ip_hash", "lb_policy cookie turbine_route", 1)
		}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			p := behind(t, c.kind, c.change)
			cookies := map[string]bool{}
			for i := range 40 {
				r := p.dial(t).get("EIO=4&transport=polling")
				require.Equal(t, 200, r.status)
				cookie := routeOf(r)
				require.NotEmpty(t, cookie)
				cookies[cookie] = true
				begun := p.caller(cookie)
				require.NoError(t, begun.open())
				for n := range 3 {
					begun.hangUp() // the next request is on a connection of its own
					require.NoError(t, begun.echo(fmt.Sprintf("client %d, message %d", i, n)))
				}
				begun.hangUp()
			}
			require.Len(t, cookies, 2)
			for _, tp := range p.taps {
				require.Positive(t, tp.answers.Load())
			}
		})
	}
}

// On an address for proxies, a client that is none is closed without an answer,
// whatever it sends, and a proxy has to name its client; the log says which. On
// other addresses nothing changes, and a header is no request.
func TestStrangersOnProxyAddress(t *testing.T) {
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0,127.0.0.2:0", "--drain-timeout", "200ms",
		"--proxy-protocol", "127.0.0.2:0", "--trusted-proxy", "127.0.0.9"))
	forProxies := &server{addr: s.places()[1], path: s.path}
	const version1 = "PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\r\n"
	request := s.getRequest("EIO=4&transport=polling")
	for _, c := range []struct{ name, from, sends, log string }{
		{"a stranger", "127.0.0.5", version1 + request, "no trusted proxy"},
		{"a stranger, version 2", "127.0.0.5", proxyHeader2("198.51.100.7", 4711) + request, "no trusted proxy"},
		{"a stranger without a header", "127.0.0.5", request, "no trusted proxy"},
		{"a proxy without a header", "127.0.0.9", request, "no PROXY header"},
		{"a proxy with nonsense", "127.0.0.9", "PROXY TCP4 me you 1 2\r\n" + request, "makes no sense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(s.stderr.String())
			require.Eventually(t, func() bool { // the log has one record a second
				p := forProxies.from(t, c.from)
				_, _ = io.WriteString(p.conn, c.sends) // it may be closed by then
				p.ended()
				news := s.stderr.String()[before:]
				return strings.Contains(news, c.log) && strings.Contains(news, "proxy="+c.from+":") && strings.Contains(news, "proxy_header=")
			}, patience, 10*time.Millisecond, "the log does not say so")
		})
	}
	for _, header := range []string{version1, proxyHeader2("198.51.100.7", 4711)} {
		p := forProxies.from(t, "127.0.0.9")
		p.write(header + request)
		require.Equal(t, 200, p.reply("GET").status)
		q := s.dial(t)
		q.write(header + request)
		require.Equal(t, 400, q.reply("GET").status, "on an address that is not for proxies")
		q.ended()
	}
	s.goesOn(t)
}

// A proxy that ended leaves nobody behind it: its connections that said nothing
// are let go.
func TestProxyAddressTimeout(t *testing.T) {
	t.Parallel()
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms", "--header-timeout", "300ms",
		"--proxy-protocol", "all", "--trusted-proxy", "127.0.0.0/8"))
	silent, slow := s.dial(t), s.dial(t)
	slow.write("PROXY TCP4 198.")
	silent.ended()
	slow.ended()
	p := s.dial(t)
	p.write("PROXY UNKNOWN\r\n" + s.getRequest("EIO=4&transport=polling"))
	require.Equal(t, 200, p.reply("GET").status)
}
