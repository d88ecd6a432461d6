// Package setting reads what the peers are told by their environment.
package setting

import (
	"log"
	"os"
	"strconv"
	"time"
)

// Address is where to listen.
func Address() string { return "127.0.0.1:" + os.Getenv("PORT") }

// Certificate returns the files of the certificate and its key, for a server that
// speaks TLS; "" without.
func Certificate() (cert, key string) { return os.Getenv("TLS_CERT"), os.Getenv("TLS_KEY") }

// Broadcast reports whether a message goes to all; otherwise it is echoed.
func Broadcast() bool { return os.Getenv("APP") == "broadcast" }

// Milliseconds reads a duration.
func Milliseconds(name string) time.Duration {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	return time.Duration(n) * time.Millisecond
}

// Work returns what a message costs the application: CPU time.
func Work() func() {
	n, err := strconv.Atoi(os.Getenv("WORK"))
	if err != nil {
		log.Fatalf("WORK: %v", err)
	}
	d := time.Duration(n) * time.Microsecond
	return func() {
		if d == 0 {
			return
		}
		for until := time.Now().Add(d); time.Now().Before(until); {
			continue
		}
	}
}
