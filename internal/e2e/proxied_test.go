package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The official clients of all generations pass through the proxies, and both
// instances have their part of them.
func TestProxyClients(t *testing.T) {
	for _, kind := range proxyKinds {
		t.Run(kind, func(t *testing.T) {
			p := behind(t, kind, nil)
			for i, client := range clients {
				t.Run("client "+client, func(t *testing.T) {
					scenario(t, p.server, client, strings.Join(transports, ","), "all", p.routeFlags(i)...)
				})
			}
			for _, tp := range p.taps {
				require.Greater(t, tp.answers.Load(), int64(100))
			}
		})
	}
}

// One instance needs no cookie, and few lines: clients get through on each
// transport, a page of the proxy's own origin is let in, and the server knows
// for which client the proxy speaks.
func TestProxySingleInstance(t *testing.T) {
	p := behind(t, "nginx single", nil, "--trusted-proxy", "127.0.0.1")
	scenario(t, p.server, clients[0], strings.Join(transports, ","), "all")
	for _, c := range []struct {
		origin string
		status int
	}{{"http://" + p.addr, 200}, {"https://" + p.addr, 403}, {"http://elsewhere.example", 403}} {
		peer := p.dial(t)
		peer.write(p.head("GET", "EIO=4&transport=polling") + "Origin: " + c.origin + "\r\n\r\n")
		require.Equal(t, c.status, peer.reply("GET").status, c.origin)
	}
	require.Greater(t, p.taps[0].answers.Load(), int64(100))
}

// Without the line with Host nginx sends the name of its upstream, and every page
// is of another origin. The log says what was compared, for which client, and the way in;
// once a second at most.
func TestProxyWithoutHost(t *testing.T) {
	const line = "        proxy_set_header Host $http_host;\n"
	p := behind(t, "nginx single", func(config string) string {
		require.Contains(t, config, line)
		return strings.Replace(config, line, "", 1)
	}, "--trusted-proxy", "127.0.0.1")
	for range 20 {
		peer := p.dial(t)
		peer.write(p.head("GET", "EIO=4&transport=polling") + "X-Forwarded-For: 198.51.100.7\r\nOrigin: http://" + p.addr + "\r\n\r\n")
		require.Equal(t, 403, peer.reply("GET").status)
	}
	log := &p.instances[0].stderr
	p.instances[0].logs(t, func() bool {
		return strings.Contains(log.String(), `msg="page of another origin refused" origin=http://`+p.addr+` host=`+p.taps[0].addr+` client=198.51.100.7 `)
	})
	require.Contains(t, log.String(), `help="name the page's origin in --cors-origin, or in --origin if it takes WebSocket alone, or have the proxy pass Host and X-Forwarded-Proto on" suppressed=0`)
	require.NotContains(t, log.String(), "sid=")
	require.Less(t, strings.Count(log.String(), "another origin"), 20)
}

// routeFlags make a client send nginx's cookie, so that not all of this address
// are given to one instance. haproxy needs no help.
func (p *proxy) routeFlags(i int) []string {
	if p.kind != "nginx" {
		return nil
	}
	return []string{"--cookie", p.route(i)}
}

func (p *proxy) route(i int) string { return "turbine_route=" + []string{"a", "b"}[i%2] }

// Clients without a cookie get one that leads to the instance which has made
// their session; one for an instance that is gone is replaced.
func TestProxyCookie(t *testing.T) {
	p := behind(t, "nginx", nil)
	r := p.dial(t).get("EIO=4&transport=polling")
	require.Equal(t, 200, r.status)
	cookie := routeOf(r)
	require.Regexp(t, "^turbine_route=[ab]$", cookie)

	c := p.caller(cookie)
	defer c.hangUp()
	require.NoError(t, c.open())
	require.NoError(t, c.echo("by cookie"))
	require.Empty(t, routeOf(c.last), "the client has its cookie")

	other := map[string]string{"turbine_route=a": "turbine_route=b", "turbine_route=b": "turbine_route=a"}[cookie]
	d := p.caller(other)
	defer d.hangUp()
	require.NoError(t, d.open())
	require.NoError(t, d.echo("by the other cookie"))
	d.sid = c.sid
	status, body, err := d.request("GET", "EIO=4&transport=polling&sid="+c.sid, "")
	require.NoError(t, err)
	require.Equal(t, 400, status, "the other instance does not know the session: %s", body)
	require.Contains(t, body, `"code":1`)

	gone := strings.Index("ab", cookie[len(cookie)-1:])
	p.instances[gone].stop(t)
	p.taps[gone].end()
	e := p.caller(cookie)
	defer e.hangUp()
	require.NoError(t, e.open(), "the other instance stands in")
	require.Equal(t, other, routeOf(e.last))
}

func routeOf(r reply) string {
	for _, c := range (&http.Response{Header: r.header}).Cookies() {
		if c.Name == "turbine_route" {
			return c.Name + "=" + c.Value
		}
	}
	return ""
}

// What clients do to one another's requests on the connections that the proxy
// shares between them: nothing, whatever they do.
func TestProxySharedConnections(t *testing.T) {
	const pairs, rounds = 2, 6
	for _, kind := range proxyKinds {
		t.Run(kind, func(t *testing.T) {
			p := behind(t, kind, nil)
			var all sync.WaitGroup
			failed := make(chan error, pairs*len(habits))
			for i := range pairs * len(habits) {
				habit := habits[i%len(habits)]
				all.Go(func() {
					c := p.caller(p.route(i))
					defer c.hangUp()
					for round := range rounds {
						if err := habit.do(c, fmt.Sprintf("client %d round %d", i, round)); err != nil {
							failed <- fmt.Errorf("%s, round %d: %w", habit.name, round, err)
							return
						}
					}
				})
			}
			all.Wait()
			close(failed)
			for err := range failed {
				t.Error(err)
			}
			require.Less(t, p.conns(), p.answers()/2, "connections are not shared")
			require.Eventually(t, func() bool { return p.answers() <= given(p.log(), "") }, patience, 5*time.Millisecond)
			for _, tp := range p.taps {
				require.Greater(t, tp.answers.Load(), int64(50))
			}
			t.Logf("%d requests over %d connections", p.answers(), p.conns())
		})
	}
}
