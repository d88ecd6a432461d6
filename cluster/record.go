package cluster

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"unicode/utf8"

	"turbine/engine"
)

// Kinds of what nodes say about themselves.
const (
	sayHello    = "hello"    // I am new: answer me
	sayBeat     = "beat"     // I live
	sayAnswer   = "answer"   // to a hello, or to a question for my id
	sayBye      = "bye"      // I drain: send me nobody new
	sayEnd      = "end"      // I have told my closes, and go
	sayReturned = "returned" // I had declared you lost
)

// States of a node as it says itself.
const (
	joining  = "joining"
	living   = "alive"
	draining = "draining"
)

const (
	maxRecord = 4096 // bytes of a record; one has about 300
	maxName   = 255  // bytes of a name, an address, a path
)

// A record is what a node says about itself, as JSON: whatever a newer version adds is
// skipped by an older one. Its first byte, `{`, sets it apart from what is published.
type record struct {
	Kind    string `json:"kind"`
	Node    string `json:"node"` // 8 hexadecimal digits
	Boot    string `json:"boot"` // 32: one for each process
	Name    string `json:"name"`
	Address string `json:"address"` // of its link listener, host:port
	State   string `json:"state"`
	Linked  bool   `json:"linked,omitempty"` // to one node: its link to that node is up
	Oldest  uint8  `json:"oldest"`           // versions of links that it speaks
	Newest  uint8  `json:"newest"`
	Options string `json:"options"` // 16 hexadecimal digits: a hash of what it does for clients
	Path    string `json:"path"`
	Bound   bool   `json:"bound"` // it has engine.Access.Bind
	Loops   int    `json:"loops"`
	Version string `json:"version"`

	id engine.NodeID // Node, as parseRecord has read it
}

var errRecord = errors.New("cluster: not a record")

// appendRecord appends r to a message.
func appendRecord(dst []byte, r *record) []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // texts, numbers and flags always have a form
	}
	return append(dst, text...)
}

// parseRecord reads a record and checks each field of it. What it returns shares nothing
// with p. A kind or a state that a later version may have is no error: it is for the
// caller to skip.
func parseRecord(p []byte) (*record, error) {
	if len(p) > maxRecord || len(p) == 0 || p[0] != '{' {
		return nil, errRecord
	}
	r := &record{}
	if err := json.Unmarshal(p, r); err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	id, err := parseNode(r.Node)
	if err != nil {
		return nil, err
	}
	r.id = id
	for _, field := range []struct {
		text string
		size int
	}{{r.Boot, 32}, {r.Options, 16}} {
		if _, err := hex.DecodeString(field.text); err != nil || len(field.text) != field.size {
			return nil, errRecord
		}
	}
	for _, text := range []string{r.Kind, r.Name, r.State, r.Path, r.Version} {
		if len(text) > maxName || !plain(text) {
			return nil, errRecord
		}
	}
	if checkAddress(r.Address) != nil || r.Oldest > r.Newest || r.Loops < 0 {
		return nil, errRecord
	}
	return r, nil
}

// parseNode reads an id as nodeText writes it.
func parseNode(text string) (engine.NodeID, error) {
	n, err := strconv.ParseUint(text, 16, 32)
	id := engine.NodeID(n)
	if err != nil || id == 0 || nodeText(id) != text {
		return 0, errRecord
	}
	return id, nil
}

// plain reports whether text can stand in a line of a log as it is.
func plain(text string) bool {
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// checkAddress says what is wrong with a host:port that others dial.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || n == 0:
		return fmt.Errorf("address %s: its port is not one to dial", address)
	case host == "" || len(address) > maxName || !plain(address):
		return fmt.Errorf("address %q: its host is not one to dial", address)
	}
	return nil
}
