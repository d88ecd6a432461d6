//go:build linux

package load

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// sipsPerSecond is how often a session reads.
const sipsPerSecond = 10

// updates is sessions that read what the server publishes, slowly. A connection is
// one over Ethernet: over loopback the kernel would hold megabytes for each.
type updates struct {
	base
	began int64               // when the first session was open; 0 before
	sips  int64               // so many were taken, of the sessions in turn
	last  []map[uint64]uint64 // of each session, the newest number of each key
	keys  map[uint64]*[2]update
}

// update is what a message says.
type update struct {
	key, number uint64 // of the key
	made        int64  // nanoseconds since 1970
}

func (u *updates) timing() timing { return timing{opens: true, warms: true, ends: true} }

func (u *updates) attach(r *runner) {
	u.base.attach(r)
	u.keys = map[uint64]*[2]update{}
	for _, s := range r.sessions {
		s.narrow = true
		u.last = append(u.last, map[uint64]uint64{})
	}
}

// opened leaves the reading to tick. What came with the answer to the handshake was
// read before.
func (u *updates) opened(s *session) { s.conns[roleSocket].deaf = true }

func (u *updates) begin() { u.began = u.now }

// tick has those sessions read whose turn has come.
func (u *updates) tick() {
	all := int64(len(u.sessions))
	for due := (u.now - u.began) * sipsPerSecond * all / int64(time.Second); u.sips < due; u.sips++ {
		if s := u.sessions[u.sips%all]; s.state == stateOpen {
			u.clock()
			s.conns[roleSocket].sip(u.plan.ReadRate / sipsPerSecond)
		}
	}
}

func (u *updates) next() int64 { return u.now + int64(time.Millisecond) }

// message looks at an update: one that is older than the last of its key is wrong.
func (u *updates) message(s *session, data []byte, binary bool) {
	m, ok := parseUpdate(data)
	newest, any := u.last[s.number][m.key]
	switch {
	case !ok || binary:
		u.wrong(1, "session %d: no update: %.80q", s.number, data)
		return
	case any && m.number <= newest:
		u.wrong(1, "session %d: update %d of key %d after %d", s.number, m.number, m.key, newest)
		return
	}
	u.last[s.number][m.key] = m.number
	u.span(m)
	u.done(1, u.now-int64(time.Since(time.Unix(0, m.made))))
}

// span keeps the first and the newest update of each key.
func (u *updates) span(m update) {
	if k := u.keys[m.key]; k == nil {
		u.keys[m.key] = &[2]update{m, m}
	} else if m.number > k[1].number {
		k[1] = m
	}
}

// end tells how many updates a second the server has made: those that were replaced
// or dropped count in the numbers of the others.
func (u *updates) end() {
	for _, k := range u.keys {
		if d := time.Duration(k[1].made - k[0].made); d > 0 {
			u.out.Made += float64(k[1].number-k[0].number) / d.Seconds()
		}
	}
}

// parseUpdate borrows data.
func parseUpdate(data []byte) (m update, ok bool) {
	key, rest, _ := bytes.Cut(data, []byte(" "))
	number, rest, _ := bytes.Cut(rest, []byte(" "))
	made, _, _ := bytes.Cut(rest, []byte(" "))
	var errs [3]error
	m.key, errs[0] = strconv.ParseUint(string(key), 10, 64)
	m.number, errs[1] = strconv.ParseUint(string(number), 10, 64)
	m.made, errs[2] = strconv.ParseInt(string(made), 10, 64)
	return m, errors.Join(errs[:]...) == nil
}
