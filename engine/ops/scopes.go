package ops

import (
	"fmt"
	"strings"
)

// A Scope is a part of operations that a key may be for.
type Scope uint8

// The scopes.
const (
	Health   Scope = iota // is it alive, and ready for clients
	Metrics               // figures for Prometheus
	Read                  // everything else that can be looked at
	Publish               // messages to clients
	Sessions              // the end of single sessions
	Debug                 // levels of the log, profiles, and traces of sessions
	Drain                 // the end of the server
	Payloads              // what clients and the application tell each other, in a trace

	numScopes = iota
)

// nothing is the scope of a route that everybody may use, with whatever is wrong with a
// key that is shown.
const nothing Scope = 255

var scopeNames = [numScopes]string{"health", "metrics", "read", "publish", "sessions", "debug", "drain", "payloads"}

// String is the scope's name in files and flags.
func (s Scope) String() string {
	if int(s) < len(scopeNames) {
		return scopeNames[s]
	}
	return "unknown"
}

// ParseScope is the Scope with that name.
func ParseScope(name string) (Scope, error) {
	for i, known := range scopeNames {
		if known == name {
			return Scope(i), nil // #nosec G115 -- eight of them
		}
	}
	return 0, fmt.Errorf("%.40q is no scope; there are %s", name, strings.Join(scopeNames[:], ", "))
}

// scopes is a set of them.
type scopes uint16

const allScopes scopes = 1<<numScopes - 1

func (s scopes) has(scope Scope) bool { return s>>scope&1 == 1 }

func (s scopes) with(scope Scope) scopes { return s | 1<<scope }

// parseScopes reads a comma-separated list of names.
func parseScopes(text string) (set scopes, err error) {
	for name := range strings.SplitSeq(text, ",") {
		scope, err := ParseScope(name)
		if err != nil {
			return 0, err
		}
		set = set.with(scope)
	}
	return set, nil
}
