package ops

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// nodes are a Cluster in memory.
type nodes struct {
	joined  atomic.Bool
	members []Member
}

func (n *nodes) Joined() bool      { return n.joined.Load() }
func (n *nodes) Members() []Member { return n.members }
func (n *nodes) Figures() ClusterFigures {
	return ClusterFigures{
		Members: map[string]int{"alive": 2, "dead": 0}, NATSUp: true, Links: map[string]int{"up": 3, "absent": 0}, BytesIn: 4, BytesOut: 5,
		Streams: 6, Guests: 7, Relays: 8, Forwards: map[string]uint64{"answered": 9}, Relayed: map[string]uint64{"opened": 10}, Unknown: map[string]uint64{"former": 11},
	}
}

// A node whose loops run for others already is not ready before it has joined, and says
// that it is alive; a drain is what it is for any server.
func TestHealthOfANode(t *testing.T) {
	n := &nodes{}
	w := enginetest.New(t, engine.Options{}, engine.Events{})
	h, _ := newTest(t, Options{Server: w.Server(), Cluster: n, Drain: func() {}})
	says := func(status int, text string) {
		r := ask(h, request("GET", "/healthz", ""))
		require.Equal(t, text+"\n", bodyOf(t, r))
		require.Equal(t, status, r.StatusCode)
		require.Equal(t, 200, ask(h, request("GET", "/livez", "")).StatusCode)
	}
	says(503, "new")
	require.Equal(t, "new", statsOf(t, h)["phase"])
	n.joined.Store(true)
	says(200, "ok")
	require.Equal(t, "serving", statsOf(t, h)["phase"])
	require.Equal(t, 202, ask(h, request("POST", "/v1/drain", "")).StatusCode)
	says(503, "draining")
}

func statsOf(t *testing.T, h *Handler) (all map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, ask(h, request("GET", "/v1/stats", "")))), &all))
	return all
}

// Members are as the node knows them, itself first; a name is a text.
func TestMembersAreShown(t *testing.T) {
	type shownCluster struct {
		Joined  bool
		Members []Member
		NATSUp  bool `json:"nats_up"`
	}
	n := &nodes{members: []Member{
		{"0a0b0c0d", "one", "alive", "10.0.0.1:7222", "1.2.3"},
		{"ffffffff", `<b>"two"`, "suspect", "", ""},
	}}
	n.joined.Store(true)
	h, _ := newTest(t, Options{Cluster: n})
	want := shownCluster{true, n.members, true}
	text := bodyOf(t, ask(h, request("GET", "/v1/cluster", "")))
	var got shownCluster
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	require.Equal(t, want, got)
	for _, part := range []string{`"links":{"absent":0,"up":3}`, `"streams":6`, `"guests":7`, `"relays":8`, `"forwards":{"answered":9}`, `"relayed":{"opened":10}`, `"unknown":{"former":11}`} {
		require.Contains(t, text, part)
	}
	require.Len(t, statsOf(t, h)["cluster"].(map[string]any)["members"], 2)
	require.Contains(t, bodyOf(t, ask(h, request("GET", "/v1/cluster", ""))), `{"id":"0a0b0c0d","name":"one","state":"alive","address":"10.0.0.1:7222","version":"1.2.3"}`)
	n.members = nil
	require.Contains(t, bodyOf(t, ask(h, request("GET", "/v1/cluster", ""))), `"members":[]`)

	alone, _ := newTest(t, Options{})
	require.Equal(t, 501, ask(alone, request("GET", "/v1/cluster", "")).StatusCode)
	require.NotContains(t, statsOf(t, alone), "cluster")
}

// The metrics of a cluster are there for a node of one, and not for a server that is
// alone. Without a name of its own the node is called as the cluster calls it.
func TestMetricsOfANode(t *testing.T) {
	n := &nodes{members: []Member{{Name: "paris-1"}, {Name: "paris-2"}}}
	h, _ := newTest(t, Options{Cluster: n})
	text := bodyOf(t, ask(h, request("GET", "/metrics", "")))
	for _, line := range []string{`turbine_cluster_members{state="alive"} 2`, `turbine_cluster_members{state="dead"} 0`, "turbine_cluster_nats_up 1",
		`turbine_cluster_links{state="up"} 3`, `turbine_cluster_links{state="absent"} 0`, `turbine_cluster_link_bytes_total{way="in"} 4`, `turbine_cluster_link_bytes_total{way="out"} 5`,
		"turbine_cluster_streams 6", "turbine_cluster_guests 7", "turbine_cluster_relays 8", `turbine_cluster_forwards_total{result="answered"} 9`,
		`turbine_cluster_relays_total{result="opened"} 10`, `turbine_cluster_unknown_sid_total{cause="former"} 11`,
		`turbine_node_info{node="paris-1"} 1`} {
		require.Contains(t, text, "\n"+line+"\n")
	}
	require.Equal(t, "paris-1", statsOf(t, h)["node"])
	alone, _ := newTest(t, Options{})
	text = bodyOf(t, ask(alone, request("GET", "/metrics", "")))
	require.NotContains(t, text, "turbine_cluster_")
	require.NotContains(t, text, "turbine_node_info{")
}

// The session of another node is not here, and the answer says where it is.
func TestSessionOfAnotherNode(t *testing.T) {
	other := enginetest.New(t, engine.Options{Node: &engine.Node{ID: 0x0a0b0c0d}}, engine.Events{})
	own := enginetest.New(t, engine.Options{Node: &engine.Node{ID: 0x01020304}}, engine.Events{})
	n := &nodes{members: []Member{{ID: "01020304", Name: "one", State: "alive"}, {ID: "0a0b0c0d", Name: "two", State: "draining"}}}
	h, _ := newTest(t, Options{Server: own.Server(), Cluster: n})
	public := func(w *enginetest.World) string { return w.Server().Find(w.Dial(enginetest.Options{}).ID()).PublicID() }
	theirs, ours := public(other), public(own)
	for _, c := range []struct{ method, path string }{{"GET", "/v1/sessions/"}, {"DELETE", "/v1/sessions/"}, {"GET", "/v1/sessions/%s/trace"}} {
		target := strings.ReplaceAll(c.path, "%s", theirs)
		if target == c.path {
			target += theirs
		}
		r := ask(h, request(c.method, target, ""))
		require.Equal(t, 404, r.StatusCode, target)
		kind, detail := isProblem(t, r)
		require.Equal(t, "other-node", kind)
		require.Equal(t, "The session is one of node two, which is draining: ask the operations of that node.", detail)
	}
	require.Equal(t, 200, ask(h, request("GET", "/v1/sessions/"+ours, "")).StatusCode)
	require.Equal(t, 200, ask(h, request("DELETE", "/v1/sessions/"+ours, "")).StatusCode)
	own.Settle()
	n.members = n.members[:1]
	for _, id := range []string{ours, theirs, "x", strings.Repeat("A", 22)} { // it has ended; nobody knows the node; no id; no node
		kind, _ := isProblem(t, ask(h, request("GET", "/v1/sessions/"+id, "")))
		require.Equal(t, "not-found", kind)
	}
}
