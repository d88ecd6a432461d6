// Package report is what a comparison found out, and how it is shown: JSON,
// Markdown, HTML and SVG.
package report

import "time"

// Report is one comparison. It is what the JSON file holds.
type Report struct {
	Began   time.Time     `json:"began"`
	Took    time.Duration `json:"took_ns"`
	Command string        `json:"command"` // that makes such a report again
	Commit  string        `json:"commit"`  // of this repository; with "+dirty" where changed
	Machine Machine       `json:"machine"`
	Peers   []Peer        `json:"peers"`
	Mounts  []Peer        `json:"mounts,omitempty"`  // this server, in several ways
	Missing []Missing     `json:"missing,omitempty"` // peers that could not be installed
	Cells   []Cell        `json:"cells"`
	Sim     []Sim         `json:"sim,omitempty"`     // simulated sessions
	Million *Million      `json:"million,omitempty"` // real ones
	Remarks []string      `json:"remarks,omitempty"`
}

// Machine is where it ran.
type Machine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryBytes int64  `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
	Go          string `json:"go"`
	Descriptors uint64 `json:"descriptors"` // limit of a process
}

// Peer is a server that was measured.
type Peer struct {
	Name    string `json:"name"`
	What    string `json:"what"`
	Version string `json:"version"`
	Setting string `json:"setting,omitempty"` // what bears on its speed
	Limit   bool   `json:"limit"`             // raw WebSocket: what the machine allows
	Mount   bool   `json:"mount,omitempty"`   // this server, in some way to have it
	TLS     string `json:"tls,omitempty"`     // what speaks TLS in it; "" where nothing does
}

// Missing is a peer that was left out.
type Missing struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Cell is one scenario on one peer: several runs, interleaved with the other
// peers'.
type Cell struct {
	Scenario string   `json:"scenario"` // the ID of a Scenario
	Peer     string   `json:"peer"`
	Samples  []Sample `json:"samples"`
}

// Sample is one run.
type Sample struct {
	Operations int64         `json:"operations"`
	Elapsed    time.Duration `json:"elapsed_ns"`
	ServerCPU  time.Duration `json:"server_cpu_ns"`
	ClientCPU  time.Duration `json:"client_cpu_ns"`
	P50        float64       `json:"p50_us,omitempty"` // microseconds
	P99        float64       `json:"p99_us,omitempty"`
	P999       float64       `json:"p999_us,omitempty"`
	Most       float64       `json:"most_us,omitempty"`
	Offered    float64       `json:"offered_per_s,omitempty"` // messages a second of an open loop, or updates that the server has made
	Lag        float64       `json:"lag_p99_us,omitempty"`    // how late the open loop sent them
	Sessions   int           `json:"sessions"`                // open at the end
	RSS        int64         `json:"rss_bytes,omitempty"`     // of all sessions together: after less before
	OpenCPU    time.Duration `json:"open_cpu_ns,omitempty"`   // server CPU of opening them
	Resumed    int           `json:"resumed,omitempty"`       // TLS handshakes that resumed a session
	Lost       int           `json:"lost,omitempty"`
	Starved    int           `json:"starved,omitempty"` // sessions without a ping for so long that a client leaves
	Wrong      int64         `json:"wrong,omitempty"`
	Faults     []string      `json:"faults,omitempty"`
	Steal      float64       `json:"steal,omitempty"`  // share of the CPUs' time that other virtual machines had
	Others     float64       `json:"others,omitempty"` // share of it that other processes had
	// ClientBound: the load generator may have been the limit.
	ClientBound bool `json:"client_bound,omitempty"`
}

// Sim is a run of simulated sessions in one process: the engine, real frames,
// heartbeats in real time, no sockets.
type Sim struct {
	Sessions     int           `json:"sessions"`
	HeapBytes    float64       `json:"heap_bytes_per_session"`
	HeapObjects  float64       `json:"heap_objects_per_session"`
	RSSBytes     float64       `json:"rss_bytes_per_session"`
	Elapsed      time.Duration `json:"elapsed_ns"`
	Heartbeats   int64         `json:"heartbeats"`       // pings answered
	HeartbeatCPU time.Duration `json:"heartbeat_cpu_ns"` // of the process, one ping and its pong
	CPU          float64       `json:"cpu_cores"`        // of the process, clients included
	GC           float64       `json:"gc_cores"`         // of it, the collector's
	Lost         int           `json:"lost"`
	LatestPing   time.Duration `json:"latest_ping_ns"` // how late the latest ping left
	P99Ping      time.Duration `json:"p99_ping_ns"`
	GOGC         int           `json:"gogc"`
}

// Million is a run of real TCP sessions, over many processes.
type Million struct {
	Sessions    int           `json:"sessions"`
	Processes   int           `json:"server_processes"`
	Clients     int           `json:"client_processes"`
	Held        time.Duration `json:"held_ns"`
	Opening     time.Duration `json:"opening_ns"`
	Lost        int           `json:"lost"`
	Heartbeats  int64         `json:"heartbeats"`
	UserBytes   float64       `json:"server_rss_bytes_per_session"`
	KernelBytes float64       `json:"kernel_bytes_per_session"` // both ends of the connection
	ServerCPU   float64       `json:"server_cpu_cores"`         // while held
	ClientCPU   float64       `json:"client_cpu_cores"`
}
