package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fleet is three nodes of a cluster with a proxy in front, which spreads requests
// in turn and keeps no client with a node.
type fleet struct {
	*proxy
	nodes [3]*server
	args  [3][]string
}

// startFleet starts the nodes of the first cluster in docs/cluster.md, and the
// page's proxy of that kind in front of them.
func startFleet(t *testing.T, kind string, flags ...string) *fleet {
	t.Helper()
	f := &fleet{proxy: &proxy{kind: kind}}
	ports := [3]string{}
	for i := range ports {
		ports[i] = freeAddr(t)
	}
	config := recipeOf(t, "docs/cluster.md", kind)
	for i := range f.nodes {
		addr := freeAddr(t)
		f.args[i] = append([]string{"--addr", addr, "--cluster", "fleet", "--cluster-nats-listen", ports[i],
			"--cluster-join", strings.Join(ports[:], ","), "--health-path", "/healthz", "--drain-timeout", "200ms"}, flags...)
		documented := fmt.Sprintf("127.0.0.1:300%d", i+1)
		require.Contains(t, config, documented)
		config = strings.ReplaceAll(config, documented, addr)
		f.nodes[i] = launch(t, command(context.Background(), t, f.args[i]...))
	}
	for _, n := range f.nodes {
		n.awaitReady(t)
		n.healthy(t)
	}
	for _, home := range f.nodes {
		s := home.poll4(t)
		for _, edge := range f.nodes { // on a busy machine some may find each other later
			require.Eventually(t, func() bool { return edge.dial(t).post(s.query(), "4x").status == http.StatusOK }, patience, 10*time.Millisecond)
		}
	}
	f.run(t, config, false)
	return f
}

// healthy waits until the server says that clients may be sent to it: a node is linked
// to all others then.
func (s *server) healthy(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
		answer := make([]byte, 12)
		n, _ := conn.Read(answer)
		return string(answer[:n]) == "HTTP/1.1 200"
	}, patience, 10*time.Millisecond, "%s", s.stderr.String())
}

// kill ends the node without a farewell.
func (f *fleet) kill(t *testing.T, i int) {
	t.Helper()
	require.NoError(t, f.nodes[i].cmd.Process.Kill())
	require.True(t, f.nodes[i].ends(stopPatience))
	f.nodes[i].cmd = nil // nobody has to stop it
}

// The official clients of all generations pass through a proxy that spreads their
// requests over three nodes: everything that passes on one node.
func TestClusterClients(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"haproxy", "nginx", "caddy"} {
		t.Run(kind, func(t *testing.T) {
			f := startFleet(t, kind)
			for _, client := range clients {
				t.Run("client "+client, func(t *testing.T) {
					scenario(t, f.server, client, strings.Join(transports, ","), "all")
				})
			}
		})
	}
}

// Of a node that is killed only its own sessions are lost, and their clients are told
// at once; those of the others never notice.
func TestClusterNodeIsKilled(t *testing.T) {
	t.Parallel()
	f := startFleet(t, "haproxy")
	const each = 20
	type client struct {
		session *session
		home    int
	}
	var all []client
	for home := range f.nodes {
		for range each {
			all = append(all, client{f.nodes[home].poll4(t), home})
		}
	}
	waits := make([]*peer, len(all)) // a poll of each waits at another node than its home
	for i, c := range all {
		waits[i] = f.nodes[(c.home+1)%3].dial(t)
		waits[i].write(f.getRequest(c.session.query()))
	}
	f.kill(t, 2)
	for i, c := range all {
		switch {
		case (c.home+1)%3 == 2: // its poll was at the node that is gone
			waits[i].ended()
		case c.home == 2:
			r := waits[i].reply("GET")
			require.Equal(t, 400, r.status, "%s", r)
			require.Contains(t, r.body, `"code":1`)
		default:
			at := f.nodes[c.home].dial(t)
			require.Equal(t, 200, at.post(c.session.query(), "4still here").status)
			require.Equal(t, "4still here", waits[i].reply("GET").body)
		}
	}
	scenario(t, f.server, clients[0], strings.Join(transports, ","), "text")

	f.nodes[2] = start(t, command(context.Background(), t, f.args[2]...))
	f.nodes[2].healthy(t)
	s := f.nodes[2].poll4(t)
	require.Equal(t, 200, f.nodes[0].dial(t).post(s.query(), "4back").status)
	require.Equal(t, "4back", f.nodes[1].dial(t).get(s.query()).body)
}

// The first cluster of docs/cluster.md is one, and answers what the page says.
func TestDocumentedCluster(t *testing.T) {
	t.Parallel()
	routes := freeAddr(t)
	replace := []string{"127.0.0.1:6222", routes}
	var nodes []*server
	for line := range strings.Lines(recipeOf(t, "docs/cluster.md", "sh first")) {
		words := strings.Fields(line)
		documented := words[len(words)-1]
		args := append(words[1:len(words)-1:len(words)-1], freeAddr(t), "--cluster-nats-listen", routes)
		replace = append(replace, documented, args[len(words)-2])
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "127.0.0.1:6222", routes)
		}
		nodes = append(nodes, launch(t, command(context.Background(), t, args...)))
	}
	require.Len(t, nodes, 3)
	for _, n := range nodes {
		n.awaitReady(t)
	}
	text := section(t, "docs/cluster.md", "## A first cluster")
	converse(t, nodes[0], strings.NewReplacer(replace...).Replace(block(t, curlBlock(t, text), "")))
}
