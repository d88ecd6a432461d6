// Package cluster makes several servers one: behind a balancer without sticky sessions any
// node takes any request.
//
// So far it has what the nodes agree on before they meet: the keys that they derive from
// the cluster's key, the subjects in NATS, and how they connect to NATS, which package
// cluster/embedded also runs in the process.
package cluster
