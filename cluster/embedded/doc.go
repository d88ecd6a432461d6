// Package embedded runs a NATS server in this process, so that the nodes of a cluster
// need nothing but each other:
//
//	c, err := cluster.New(cluster.Options{Name: "shop", Embedded: embedded.Start})
//
// It is a package of its own because a NATS server makes a program 10 MB larger, which a
// program that uses an external NATS need not have.
//
// The server carries what the nodes publish and who of them is there. It keeps nothing on
// disk, and serves nobody but the nodes of the cluster: its port for clients is a random
// one of 127.0.0.1 with a password, its port for routes asks for a password that is
// derived from the cluster's key.
package embedded
