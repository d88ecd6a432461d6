package cluster

import (
	"encoding/binary"
	"errors"

	"turbine/engine"
)

// A query asks all nodes, on `.q`; each answers to `.node.<id>` of the node that asks.
// Both begin as a body of the bus does, with the query's number in the place of seq:
//
//	version u8 | kind u8 | flags u8 (0) | node u32 | number u64 | question or answer
//
//	question  what u8 | limit u32 | length of the group's name, uvarint | group | asked
//	answer    what u8 | refused u8 | count u64, or public ids of 22 bytes, or told
const (
	bodyQuery  bodyKind = 3
	bodyAnswer bodyKind = 4
)

// question is what a query is for.
type question uint8

const (
	askCount    question = 1 // how many members a group has
	askSessions question = 2 // which they are, at most limit
	askOpaque   question = 3 // what stands on top knows
)

// publicIDSize is the length of engine.Session.PublicID.
const publicIDSize = 22

var errQuery = errors.New("cluster: a query or an answer that no node of this version sends")

// queryBody is a question. What parseQuery returns shares the bytes that it was given,
// except group.
type queryBody struct {
	node   engine.NodeID // that asks
	number uint64
	what   question
	limit  uint32
	group  string
	asked  []byte
}

// answerBody is an answer. Of value, ids and told the one that what says is there.
type answerBody struct {
	node    engine.NodeID // that answers
	number  uint64
	what    question
	refused bool // the node has no answer
	value   uint64
	ids     []string
	told    []byte
}

func appendQueryHead(dst []byte, kind bodyKind, node engine.NodeID, number uint64) []byte {
	dst = append(dst, bodyVersion, byte(kind), 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(node))
	return binary.LittleEndian.AppendUint64(dst, number)
}

// parseQueryHead returns what is behind the head.
func parseQueryHead(p []byte, kind bodyKind) (node engine.NodeID, number uint64, r reader, err error) {
	switch {
	case len(p) < 2 || p[0] != bodyVersion || bodyKind(p[1]) != kind:
		return 0, 0, r, errVersion
	case len(p) < bodyHead:
		return 0, 0, r, errQuery
	}
	node = engine.NodeID(binary.LittleEndian.Uint32(p[3:]))
	number = binary.LittleEndian.Uint64(p[7:])
	if node == 0 || number == 0 {
		return 0, 0, r, errQuery
	}
	return node, number, reader{rest: p[bodyHead:]}, nil
}

func appendQuery(dst []byte, q *queryBody) []byte {
	dst = appendQueryHead(dst, bodyQuery, q.node, q.number)
	dst = append(dst, byte(q.what))
	dst = binary.LittleEndian.AppendUint32(dst, q.limit)
	dst = binary.AppendUvarint(dst, uint64(len(q.group)))
	dst = append(dst, q.group...)
	return append(dst, q.asked...)
}

// parseQuery reads what appendQuery wrote. A question that a later version may ask is no
// error: the node refuses it.
func parseQuery(p []byte) (q queryBody, err error) {
	node, number, r, err := parseQueryHead(p, bodyQuery)
	if err != nil {
		return q, err
	}
	q = queryBody{node: node, number: number, what: question(r.byte())}
	if len(r.rest) < 4 {
		return queryBody{}, errQuery
	}
	q.limit = binary.LittleEndian.Uint32(r.rest)
	r.rest = r.rest[4:]
	q.group = string(r.bytes())
	if r.failed {
		return queryBody{}, errQuery
	}
	q.asked = r.rest
	return q, nil
}

func appendAnswer(dst []byte, a *answerBody) []byte {
	dst = appendQueryHead(dst, bodyAnswer, a.node, a.number)
	dst = append(dst, byte(a.what))
	if a.refused {
		return append(dst, 1)
	}
	dst = append(dst, 0)
	switch a.what {
	case askCount:
		return binary.LittleEndian.AppendUint64(dst, a.value)
	case askSessions:
		for _, id := range a.ids {
			dst = append(dst, id...)
		}
		return dst
	case askOpaque:
	}
	return append(dst, a.told...)
}

// parseAnswer reads what appendAnswer wrote. It shares nothing with p.
func parseAnswer(p []byte) (a answerBody, err error) {
	node, number, r, err := parseQueryHead(p, bodyAnswer)
	if err != nil {
		return a, err
	}
	a = answerBody{node: node, number: number, what: question(r.byte())}
	refused := r.byte()
	a.refused = refused == 1
	switch {
	case r.failed || refused > 1 || a.refused && len(r.rest) > 0:
		return answerBody{}, errQuery
	case a.refused:
	case a.what == askCount:
		if len(r.rest) != 8 {
			return answerBody{}, errQuery
		}
		a.value = binary.LittleEndian.Uint64(r.rest)
	case a.what == askSessions:
		return a, a.readIDs(r.rest)
	case a.what == askOpaque:
		a.told = append([]byte{}, r.rest...)
	default:
		return answerBody{}, errQuery
	}
	return a, nil
}

func (a *answerBody) readIDs(p []byte) error {
	if len(p)%publicIDSize != 0 || len(p) > maxListed*publicIDSize {
		return errQuery
	}
	for ; len(p) > 0; p = p[publicIDSize:] {
		id := string(p[:publicIDSize])
		if !isToken(id, publicIDSize) {
			return errQuery
		}
		a.ids = append(a.ids, id)
	}
	return nil
}
