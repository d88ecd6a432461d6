package cluster

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"

	"turbine/engine"
)

// parts is into how many parts groups are divided by their names. A node that has very
// many groups of one part subscribes to the part.
const parts = 256

// subjects are those of one cluster in NATS. All begin with its prefix, so that an account
// of an external server needs to allow `turbine.<cluster>.>` and nothing else.
//
//	.node             who is there: hello, beat, bye
//	.node.<id>        answers, and what is for one node
//	.who.<id>         which node has that id
//	.q                queries
//	.p.<part>.<group> what is for one group
//	.all, .users      what is for all sessions, and for users
//	.v1.>             reserved for backends
type subjects string

func subjectsOf(cluster string) subjects { return subjects("turbine." + cluster) }

func (s subjects) nodes() string { return string(s) + ".node" }
func (s subjects) query() string { return string(s) + ".q" }
func (s subjects) all() string   { return string(s) + ".all" }
func (s subjects) users() string { return string(s) + ".users" }

func (s subjects) node(id engine.NodeID) string { return string(s) + ".node." + nodeText(id) }
func (s subjects) who(id engine.NodeID) string  { return string(s) + ".who." + nodeText(id) }

// group is where what is for one group goes, part where all groups of a part are.
func (s subjects) group(name string) string {
	return string(s) + ".p." + strconv.Itoa(int(partOf(name))) + "." + groupToken(name)
}

func (s subjects) part(part uint8) string {
	return string(s) + ".p." + strconv.Itoa(int(part)) + ".*"
}

// nodeText is an id as it stands in subjects, logs and members: 8 hexadecimal digits.
func nodeText(id engine.NodeID) string { return fmt.Sprintf("%08x", uint32(id)) }

// groupToken is a group's name in a subject: unchanged where it is letters, digits, `_`
// and `-`, at most 64 of them, otherwise `~` and 22 characters of its SHA-256. The true
// name travels in the body, because two names might have one token.
func groupToken(name string) string {
	if isToken(name, 64) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "~" + base64.RawURLEncoding.EncodeToString(sum[:])[:22]
}

// isToken reports whether text is 1 to limit letters, digits, `_` and `-` of ASCII.
func isToken(text string, limit int) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return text != "" && len(text) <= limit
}

// partOf is FNV-1a of a group's name, modulo parts.
func partOf(name string) uint8 {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return uint8(h % parts)
}
