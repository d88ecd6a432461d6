package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"turbine/internal/requests"

	"github.com/stretchr/testify/require"
)

// settled is how long a proxy gets to answer or to hang up before the client
// ends its side: longer than any of them needs to do so by itself.
const settled = 250 * time.Millisecond

// TestProxySmuggling sends each row of internal/requests through the proxies,
// with another request behind it. Whatever the proxy makes of that, the instance
// must have answered no more requests of that connection than the proxy says it
// has given it; and two victims, whose requests take the same connection to the
// instance, get their own answers.
func TestProxySmuggling(t *testing.T) {
	cases, err := requests.Load()
	require.NoError(t, err)
	for _, kind := range proxyKinds {
		t.Run(kind, func(t *testing.T) {
			// One instance: nginx gives it all clients of one address.
			p := behind(t, kind, func(config string) string {
				lines := strings.SplitAfter(config, "\n")
				for i, line := range lines {
					if strings.HasPrefix(line, "    server b ") {
						lines[i] = ""
					}
				}
				return strings.Join(lines, "")
			})
			passed := 0
			for i, c := range cases {
				t.Run(c.Topic+"/"+c.Name, func(t *testing.T) {
					if p.smuggle(t, &c, i) {
						passed++
					}
				})
			}
			require.Less(t, p.conns(), p.answers()/2, "connections are not shared")
			t.Logf("%d of %d requests were passed on; %d answers over %d connections", passed, len(cases), p.answers(), p.conns())
		})
	}
}

func (p *proxy) smuggle(t *testing.T, c *requests.Case, i int) (passed bool) {
	known, logged := p.answers(), len(p.log())
	attacker := p.caller("")
	defer attacker.hangUp()
	require.NoError(t, attacker.open())
	attacker.hangUp()

	const hidden = "GET /engine.io/?EIO=4&transport=polling&j=%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	port, got := p.hear(t, string(c.Request(attacker.sid))+fmt.Sprintf(hidden, 3*i))
	for n := range 2 {
		victim := p.caller("")
		require.NoError(t, victim.marked(3*i+1+n), "a victim got somebody else's answer; the proxy sent %q", p.lately())
		victim.hangUp()
	}
	// nginx answers a request of 0.9 without a head, and haproxy speaks HTTP/2.
	if strings.HasPrefix(got, "HTTP/1.") && !strings.HasPrefix(got, "HTTP/1.1 101") {
		wholeResponses(t, got, c.Method())
	}
	known += 3 // a session and two victims
	require.Eventually(t, func() bool { return p.answers()-known <= given(p.log()[logged:], port) }, patience, time.Millisecond,
		"the instance has answered %d requests, and the proxy has given it less: %q; the client got %q", p.answers()-known, p.lately(), got)
	return p.answers() > known
}

// wholeResponses checks that what a client got are complete responses and
// nothing else: one to a request with that method, and more to GET.
func wholeResponses(t *testing.T, got, method string) {
	r := bufio.NewReader(strings.NewReader(got))
	for {
		if _, err := r.Peek(1); err == io.EOF {
			return
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		require.NoError(t, err, "%q", got)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err, "%q", got)
		if resp.StatusCode >= 200 {
			method = "GET"
		}
	}
}

// hear sends bytes on a connection of their own and returns its port and all
// that comes back.
func (p *proxy) hear(t *testing.T, request string) (port, answers string) {
	conn, err := net.DialTimeout("tcp", p.addr, patience)
	require.NoError(t, err)
	defer conn.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(conn, request)
	}()
	_ = conn.SetReadDeadline(time.Now().Add(settled))
	got, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetDeadline(time.Now().Add(patience))
		rest, _ := io.ReadAll(conn)
		got = append(got, rest...)
	}
	conn.Close()
	<-sent
	_, port, err = net.SplitHostPort(conn.LocalAddr().String())
	require.NoError(t, err)
	return port, string(got)
}
