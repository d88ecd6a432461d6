package cluster

import (
	"errors"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"turbine/engine"
)

// publisher is what is known of what another node publishes. It belongs to the goroutine
// that receives.
type publisher struct {
	last    [allParts]uint64 // the number that came last
	since   [parts]int64     // whole, when last was taken for a beginning
	missing uint64           // of which nobody was told
}

// gapPause is the least time between two events of a gap: a receiver that is too slow
// finds one at nearly every message.
const gapPause = time.Second

// receive is the goroutine that receives.
func (b *bus) receive() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case m := <-b.in:
			b.take(m)
		case <-pause.C:
			b.tellGaps()
			pause.Reset(gapPause)
		case <-b.quit:
			return
		}
	}
}

// take delivers a message, if it is one, and the first time.
func (b *bus) take(m *nats.Msg) {
	part, ok := b.partOfSubject(m.Subject)
	if !ok {
		return
	}
	what, err := parseBody(m.Data)
	switch {
	case what.kind == bodyQuery:
		b.o.Query(m.Data)
		return
	case what.kind == bodyAnswer:
		b.o.Answer(m.Data)
		return
	case errors.Is(err, errVersion): // of a later version, or for somebody else
		return
	case err != nil:
		b.malformed(m.Subject)
		return
	case what.node == b.o.ID || !b.first(part, &what):
		return
	}
	b.counts.received.Add(1)
	if what.kind == bodyTold {
		b.hearTold(&what)
		return
	}
	for i := range what.messages {
		p, err := engine.Prepare(what.messages[i])
		if err != nil {
			b.malformed(m.Subject)
			continue
		}
		if what.noCompress {
			p = p.With(engine.SendOptions{NoCompress: true})
		}
		b.deliver(engine.Audience{Groups: what.groups, Except: what.except, Done: b.credit.next(len(what.messages[i].Data), b.quit)}, p)
	}
}

func (b *bus) malformed(subject string) {
	b.counts.malformed.Add(1)
	if n, ok := b.strangers.Allow(b.o.Now()); ok {
		b.o.Log.Warn("NATS brought what no node publishes", "subject", subject, "suppressed", n)
	}
}

// credit bounds what waits in the queues of the loops. They have no limit, so a node that
// publishes faster than another one's loops reach its sessions would fill the memory
// there. A mark stands behind some messages; while many marks have not been reached, the
// goroutine that receives waits, and what then does not fit into its channel is lost and
// counted.
type credit struct {
	room     chan struct{} // has what is given for each mark that has not been reached
	messages int           // since the last mark
	bytes    int
}

const (
	maxMarks     = 64
	markMessages = 256
	markBytes    = 1 << 20
)

// next is the Done of the next message: nil, or a mark. It waits for room for the mark.
func (c *credit) next(size int, quit <-chan struct{}) func(taken, refused int) {
	c.messages++
	c.bytes += size
	if c.messages < markMessages && c.bytes < markBytes {
		return nil
	}
	c.messages, c.bytes = 0, 0
	select {
	case c.room <- struct{}{}:
	case <-quit:
		return nil
	}
	return func(int, int) { <-c.room }
}

// hearTold calls Told, whose panic ends nothing.
func (b *bus) hearTold(what *body) {
	if b.o.Told == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			b.o.Log.Error("panic in Options.Told", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	b.o.Told(what.node, what.told)
}

// first reports whether this is the first time that the message comes, and counts those
// that are missing before it. A message comes twice while its group and the whole part
// are both subscribed; the numbers of a publisher rise within a part.
func (b *bus) first(part int, what *body) bool {
	p := b.heard[what.node]
	if p == nil {
		if len(b.heard) >= maxPublisher {
			b.tellGaps()
			clear(b.heard) // incarnations of long ago; the next number of each is a beginning
		}
		p = new(publisher)
		b.heard[what.node] = p
	}
	last := p.last[part]
	if what.seq <= last {
		b.counts.duplicates.Add(1)
		return false
	}
	p.last[part] = what.seq
	complete := b.complete(p, part)
	if missing := what.seq - last - 1; missing > 0 && last > 0 && complete {
		b.counts.gaps.Add(missing)
		p.missing += missing
		b.gaps = true
	}
	return true
}

// tellGaps tells what was found to be missing since the last time, by publisher.
func (b *bus) tellGaps() {
	if !b.gaps {
		return
	}
	b.gaps = false
	for node, p := range b.heard {
		if p.missing > 0 {
			b.o.Gap(node, p.missing)
			p.missing = 0
		}
	}
}

// complete reports whether every number of the part is to come here: what is for all
// always, what is for groups where their part has been subscribed whole for so long that
// every server knows, and a number has come since.
func (b *bus) complete(p *publisher, part int) bool {
	if part >= parts {
		return part != partNode
	}
	since := b.whole[part].Load()
	if since == 0 || b.o.Now()-time.Duration(since) < lingering {
		return false
	}
	began := p.since[part] != since
	p.since[part] = since
	return !began
}

// partOfSubject is which numbers count for what comes on a subject.
func (b *bus) partOfSubject(subject string) (part int, ok bool) {
	rest, ok := strings.CutPrefix(subject, string(b.o.Subjects))
	if !ok || rest == "" {
		return 0, false
	}
	rest = rest[1:]
	switch kind, rest, _ := strings.Cut(rest, "."); kind {
	case "all":
		return partAll, true
	case "users":
		return partUsers, true
	case "node", "q":
		return partNode, true
	case "p":
		number, _, _ := strings.Cut(rest, ".")
		n, err := strconv.ParseUint(number, 10, 8)
		return int(n), err == nil // #nosec G115 -- 8 bits
	}
	return 0, false
}
