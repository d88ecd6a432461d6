package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A clusterNode is a process that is a node of a cluster.
type clusterNode struct {
	*server
	name string
	ops  *opsClient
}

// startNode starts a node, and does not wait until it listens. Its NATS routes are on
// routes, where nodes find each other.
func startNode(t *testing.T, name, routes string, flags ...string) *clusterNode {
	t.Helper()
	s := launch(t, command(context.Background(), t, append([]string{
		"--addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--drain-timeout", "5s",
		"--cluster", "e2e", "--node-name", name, "--cluster-nats-listen", routes, "--cluster-join", routes,
	}, flags...)...))
	return &clusterNode{s, name, newOpsClient(t, "http://"+s.opsAddr(t), nil)}
}

// states are those of the nodes that this one knows, by name.
func (n *clusterNode) states() map[string]string {
	status, text := n.ops.ask("GET", "/v1/cluster", "")
	require.Equal(n.ops.t, 200, status, text)
	var cluster struct {
		Members []struct{ Name, State string }
	}
	require.NoError(n.ops.t, json.Unmarshal([]byte(text), &cluster))
	all := map[string]string{}
	for _, m := range cluster.Members {
		all[m.Name] = m.State
	}
	return all
}

// sees waits until the node sees the others so.
func (n *clusterNode) sees(want map[string]string) {
	n.ops.t.Helper()
	var got map[string]string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = n.states(); fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
	}
	require.Equal(n.ops.t, want, got, "as %s sees it", n.name)
}

// request is one to Engine.IO of this node.
func (n *clusterNode) request(method string, query url.Values, body string) (status int, text string) {
	t := n.ops.t
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.addr+"/engine.io/?"+query.Encode(), strings.NewReader(body))
	require.NoError(t, err)
	answer, err := n.ops.http.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(all)
}

// handshake begins a session by polling.
func (n *clusterNode) handshake() url.Values {
	t := n.ops.t
	t.Helper()
	query := url.Values{"EIO": {"4"}, "transport": {"polling"}}
	status, text := n.request("GET", query, "")
	require.Equal(t, 200, status, text)
	sid := regexp.MustCompile(`"sid":"([^"]{32})"`).FindStringSubmatch(text)
	require.NotNil(t, sid, text)
	query.Set("sid", sid[1])
	return query
}

// Three processes become one without more than a name and an address: each serves the
// sessions of the others, shows all of them, and tells who has left and who has died.
func TestNodesOfACluster(t *testing.T) {
	t.Parallel()
	routes := freeAddr(t)
	var nodes []*clusterNode
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, startNode(t, name, routes))
	}
	for _, n := range nodes {
		n.awaitReady(t)
		n.sees(map[string]string{"a": "alive", "b": "alive", "c": "alive"})
		n.ops.until("/healthz", 200)
		_, page := n.ops.ask("GET", "/metrics", "")
		require.Contains(t, page, "\nturbine_cluster_members{state=\"alive\"} 3\n")
		require.Contains(t, page, "\nturbine_cluster_nats_up 1\n")
		require.Contains(t, page, "\nturbine_node_info{node=\""+n.name+"\"} 1\n")
	}
	var sessions []url.Values
	for _, home := range nodes {
		query := home.handshake()
		sessions = append(sessions, query)
		for i, edge := range nodes {
			status, text := edge.request("POST", query, fmt.Sprint("4by way of ", edge.name))
			require.Equal(t, 200, status, text)
			status, text = nodes[(i+1)%3].request("GET", query, "")
			require.Equal(t, 200, status, text)
			require.Equal(t, "4by way of "+edge.name, text)
		}
	}

	for _, n := range nodes {
		_, page := n.ops.ask("GET", "/metrics", "")
		answered := regexp.MustCompile(`(?m)^turbine_cluster_forwards_total\{result="answered"\} ([0-9]+)$`).FindStringSubmatch(page)
		require.NotNil(t, answered, page)
		require.NotEqual(t, "0", answered[1])
		require.Regexp(t, `(?m)^turbine_cluster_links\{state="up"\} [1-9]`, page)
	}

	b, c := nodes[1], nodes[2]
	require.NoError(t, b.cmd.Process.Signal(syscall.SIGTERM))
	<-b.exited
	nodes[0].sees(map[string]string{"a": "alive", "b": "gone", "c": "alive"})
	c.sees(map[string]string{"a": "alive", "b": "gone", "c": "alive"})
	status, text := c.request("GET", sessions[1], "")
	require.Equal(t, 400, status, text)
	require.Contains(t, text, "Session ID unknown")

	require.NoError(t, c.cmd.Process.Kill())
	<-c.exited
	c.cmd = nil // it had no good end
	nodes[0].sees(map[string]string{"a": "alive", "b": "gone", "c": "dead"})
	status, text = nodes[0].request("GET", sessions[2], "")
	require.Equal(t, 400, status, text)
	require.Contains(t, text, "Session ID unknown")
	status, text = nodes[0].request("POST", sessions[0], "4still")
	require.Equal(t, 200, status, text)
}

// A node that cannot reach NATS takes no client and is not healthy, but alive; SIGTERM
// and a drain end it in good order.
func TestNodeThatCannotJoin(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // it never answers
	require.NoError(t, err)
	defer l.Close()
	for name, end := range map[string]func(n *clusterNode){
		"SIGTERM": func(n *clusterNode) { require.NoError(t, n.cmd.Process.Signal(syscall.SIGTERM)) },
		"drain": func(n *clusterNode) {
			status, text := n.ops.ask("POST", "/v1/drain", "")
			require.Equal(t, 202, status, text)
		},
	} {
		s := launch(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--cluster", "e2e", "--cluster-nats", "nats://"+l.Addr().String()))
		n := &clusterNode{s, name, newOpsClient(t, "http://"+s.opsAddr(t), nil)}
		n.ops.says("GET", "/livez", "", 200, "ok\n")
		n.ops.says("GET", "/healthz", "", 503, "new\n")
		end(n)
		<-s.exited
		require.Zero(t, s.cmd.ProcessState.ExitCode(), name)
		require.NotContains(t, s.stdout.String(), "listening on", name)
	}
}

// A process that takes over from a node is another node, with the same addresses; the
// sessions of the one before are served until they end, wherever their requests come.
func TestNodeThatIsReplaced(t *testing.T) {
	t.Parallel()
	routes, pidFile := freeAddr(t), filepath.Join(t.TempDir(), "pid")
	a := startNode(t, "a", routes, "--pid-file", pidFile, "--cluster-listen", freeAddr(t), "--ops-addr", freeAddr(t), "--drain-timeout", "10m", "--drain-delay", "9m")
	b := startNode(t, "b", routes)
	a.awaitReady(t)
	b.awaitReady(t)
	b.sees(map[string]string{"a": "alive", "b": "alive"})
	query := a.handshake()
	a.stillEchoes(query, b)
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGUSR2))
	a.logs(t, func() bool { return strings.Contains(a.stderr.String(), "another process has taken over") })
	next := pidIn(pidFile)
	t.Cleanup(func() { _ = syscall.Kill(next, syscall.SIGKILL) }) // a drain would take its time
	require.NotEqual(t, a.cmd.Process.Pid, next)
	a.ops.http.CloseIdleConnections() // those to the process before
	for range 3 {
		a.stillEchoes(query, b)
		b.stillEchoes(query, a)
	}
	require.Len(t, a.handshake().Get("sid"), 32)
	a.logs(t, func() bool { return strings.Contains(a.stderr.String(), "draining; a second signal ends at once") }) // from then on it hears the test's end
}

// stillEchoes posts by way of this node and polls by way of the other.
func (n *clusterNode) stillEchoes(query url.Values, other *clusterNode) {
	t := n.ops.t
	t.Helper()
	status, text := n.request("POST", query, "4still there")
	require.Equal(t, 200, status, text)
	status, text = other.request("GET", query, "")
	require.Equal(t, 200, status, text)
	require.Equal(t, "4still there", text)
}
