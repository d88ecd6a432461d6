package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"turbine/engine"
	"turbine/internal/seldom"
)

const (
	incoming     = 65_536   // messages that wait for the goroutine that delivers them
	maxWaiting   = 64 << 20 // bytes that wait for the connection to NATS
	perMessage   = 8        // bytes that a message takes beside its data
	maxNames     = 32 << 10 // bytes of the names in one publish
	maxPublisher = 1024     // nodes whose numbers are known, 4 KiB each
)

var (
	// ErrBusDown is what a publish returns that does not reach other nodes, because there
	// is no connection to NATS, or because NATS takes less than is published.
	ErrBusDown = errors.New("cluster: the bus is down: what is published stays on this node")
	// ErrTooLarge is what a publish returns that is larger than nodes take from each
	// other: Options.MaxMessage of data, or 32 KiB of names.
	ErrTooLarge = errors.New("cluster: larger than Options.MaxMessage: it stays on this node")

	errSlow = errors.New("cluster: messages came faster than this node took them")
)

// The parts of all subjects, each with numbers of its own: those of groups, and these.
const (
	partAll = parts + iota
	partUsers
	partNode
	allParts
)

// busOptions are what a bus stands on.
type busOptions struct {
	ID       engine.NodeID
	Subjects subjects
	Log      *slog.Logger
	// Gap is told of messages of another node that did not arrive; node is 0, and missing
	// too, where nobody knows whose they were, nor how many.
	Gap func(node engine.NodeID, missing uint64)
	Now func() time.Duration
	// Told gives body to what stands on top, on the goroutine that receives. Nil: nobody
	// is told.
	Told func(from engine.NodeID, body []byte)
	// Query and Answer are what comes of the kinds of that name. They borrow p.
	Query, Answer func(p []byte)
}

// A bus is engine.Bus on NATS: publishes leave in the order of the calls, on one
// connection, and reach this node's sessions in the order in which they come.
//
// Two goroutines do it. The one that sends takes what callers have left in a queue: they
// are loops, and nats.go may wait for its socket. The one that receives has one channel
// for all subscriptions.
type bus struct {
	o    busOptions
	up   atomic.Bool
	wake chan struct{} // cap 1
	quit chan struct{}
	in   chan *nats.Msg
	all  sync.WaitGroup

	mu      sync.Mutex
	next    [allParts]uint64 // guarded by mu; the last number that was given
	fill    *outgoing        // guarded by mu
	stopped bool             // guarded by mu

	maxMessage int                                         // written by start
	deliver    func(a engine.Audience, p *engine.Prepared) // likewise; to sessions of this node

	conn          *nats.Conn     // the sender's
	spare         *outgoing      // the sender's
	subscriptions *subscriptions // the sender's
	whole         [parts]atomic.Int64

	heard  map[engine.NodeID]*publisher // the receiver's
	gaps   bool                         // the receiver's: some publisher has a missing one
	credit credit                       // the receiver's

	counts    busCounts
	strangers seldom.Once
}

type busCounts struct {
	sent, down, tooLarge, received, malformed, gaps, duplicates, slow atomic.Uint64
	interest                                                          atomic.Int64
}

// BusStats count what was published and told. All but Interest count since the start.
type BusStats struct {
	Sent       uint64 // given to NATS
	Down       uint64 // not: there was no connection, or NATS took less than was published
	TooLarge   uint64 // not: above MaxMessage
	Received   uint64 // from other nodes
	Malformed  uint64 // came, and could not be read
	Gaps       uint64 // of other nodes, that did not come, of those that this node can know of
	Duplicates uint64 // came twice, and counted once
	Slow       uint64 // times that messages came faster than this node took them
	Interest   int    // subscriptions for groups
}

func (b *bus) stats() BusStats {
	n := &b.counts
	return BusStats{
		Sent: n.sent.Load(), Down: n.down.Load(), TooLarge: n.tooLarge.Load(), Received: n.received.Load(), Malformed: n.malformed.Load(),
		Gaps: n.gaps.Load(), Duplicates: n.duplicates.Load(), Slow: n.slow.Load(), Interest: int(n.interest.Load()),
	}
}

// outgoing is what callers have left for the sender: publishes, and interests.
type outgoing struct {
	bytes []byte
	items []outgoingItem
}

type outgoingItem struct {
	subject string // "" for an interest
	end     int    // of its body in bytes, which begins where the one before ends
	group   string
	on      bool
	raw     bool // it is not counted as published
}

func newBus(o busOptions) *bus {
	b := &bus{
		o: o, wake: make(chan struct{}, 1), quit: make(chan struct{}),
		fill: new(outgoing), spare: new(outgoing), heard: map[engine.NodeID]*publisher{},
	}
	b.subscriptions = newSubscriptions(o.Subjects, b.subscribe, b.subscribeFailed, b.widened)
	b.credit.room = make(chan struct{}, maxMarks)
	return b
}

// start begins to send and to receive.
func (b *bus) start(conn *nats.Conn, maxMessage int, deliver func(engine.Audience, *engine.Prepared)) error {
	b.mu.Lock()
	b.conn, b.in = conn, make(chan *nats.Msg, incoming)
	b.maxMessage, b.deliver = maxMessage, deliver
	b.mu.Unlock()
	own := []string{b.o.Subjects.all(), b.o.Subjects.node(b.o.ID), b.o.Subjects.query()}
	if b.o.Told != nil {
		own = append(own, b.o.Subjects.users())
	}
	for _, subject := range own {
		if _, err := conn.ChanSubscribe(subject, b.in); err != nil {
			return fmt.Errorf("cluster: NATS: %w", err)
		}
	}
	b.up.Store(conn.IsConnected())
	b.all.Go(b.send)
	b.all.Go(b.receive)
	return nil
}

// stop sends what waits, and ends both goroutines. Without a start it only lets nothing
// more in.
func (b *bus) stop() {
	b.mu.Lock()
	stopped := b.stopped
	b.stopped = true
	b.mu.Unlock()
	b.up.Store(false)
	if !stopped {
		close(b.quit)
	}
	b.all.Wait()
}

// connected says whether there is a connection to NATS.
func (b *bus) connected(is bool) { b.up.Store(is) }

// slow is told that NATS has brought more than the goroutine that receives could take.
func (b *bus) slow() {
	b.counts.slow.Add(1)
	b.o.Gap(0, 0)
}

// Publish is engine.Bus's.
func (b *bus) Publish(groups, except []string, m []engine.Message, o engine.SendOptions) error {
	size := 0
	for i := range m {
		size += len(m[i].Data)
		if i > 0 {
			size += perMessage
		}
	}
	part, subject := partAll, b.o.Subjects.all()
	if len(groups) == 1 {
		part, subject = int(partOf(groups[0])), b.o.Subjects.group(groups[0])
	}
	return b.put(part, subject, size, &body{kind: bodyMessages, noCompress: o.NoCompress, groups: groups, except: except, messages: m})
}

// put gives what is published its number and its place in the queue.
func (b *bus) put(part int, subject string, size int, what *body) error {
	names := 0
	for _, list := range [2][]string{what.groups, what.except} {
		for _, name := range list {
			names += len(name) + 2
		}
	}
	what.node = b.o.ID
	b.mu.Lock()
	if b.deliver != nil && size > b.maxMessage || names > maxNames {
		b.mu.Unlock()
		b.counts.tooLarge.Add(1)
		return ErrTooLarge
	}
	b.next[part]++ // also of what does not leave: who hears the next one knows that one is missing
	what.seq = b.next[part]
	if !b.up.Load() || len(b.fill.bytes) > maxWaiting {
		b.mu.Unlock()
		b.counts.down.Add(1)
		return ErrBusDown
	}
	b.fill.bytes = appendBody(b.fill.bytes, what)
	b.fill.items = append(b.fill.items, outgoingItem{subject: subject, end: len(b.fill.bytes)})
	b.mu.Unlock()
	b.signal()
	return nil
}

// raw sends a body that has no number, behind what was published before. It borrows body.
// Safe from any goroutine.
func (b *bus) raw(subject string, body []byte) error {
	b.mu.Lock()
	if len(body) > b.maxMessage+maxNames {
		b.mu.Unlock()
		return ErrTooLarge
	}
	if !b.up.Load() || len(b.fill.bytes) > maxWaiting {
		b.mu.Unlock()
		return ErrBusDown
	}
	b.fill.bytes = append(b.fill.bytes, body...)
	b.fill.items = append(b.fill.items, outgoingItem{subject: subject, end: len(b.fill.bytes), raw: true})
	b.mu.Unlock()
	b.signal()
	return nil
}

// tell is Cluster.Tell.
func (b *bus) tell(to Target, p []byte) error {
	what := &body{kind: bodyTold, told: p}
	part, subject := partAll, b.o.Subjects.all()
	switch to.kind {
	case targetAll:
	case targetUsers:
		part, subject = partUsers, b.o.Subjects.users()
	case targetGroup:
		what.groups = []string{to.group}
		part, subject = int(partOf(to.group)), b.o.Subjects.group(to.group)
	case targetNode:
		part, subject = partNode, b.o.Subjects.node(to.node)
	}
	return b.put(part, subject, len(p), what)
}

// Interest is engine.Bus's.
func (b *bus) Interest(group string, on bool) {
	b.mu.Lock()
	if b.stopped {
		b.mu.Unlock()
		return
	}
	b.fill.items = append(b.fill.items, outgoingItem{group: group, on: on, end: len(b.fill.bytes)})
	b.mu.Unlock()
	b.signal()
}

func (b *bus) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// send is the goroutine that sends.
func (b *bus) send() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-b.wake:
		case <-timer.C:
		case <-b.quit:
			b.flush()
			return
		}
		b.flush()
		if next := b.subscriptions.tick(b.o.Now()); next > 0 {
			timer.Reset(next - b.o.Now())
		}
		b.counts.interest.Store(int64(b.subscriptions.count()))
	}
}

// maxKept is the room that the queue keeps when it is empty, in bytes.
const maxKept = 1 << 20

// flush sends what waits.
func (b *bus) flush() {
	b.mu.Lock()
	out := b.fill
	b.fill, b.spare = b.spare, out
	b.mu.Unlock()
	begin := 0
	for i := range out.items {
		item := &out.items[i]
		if item.subject == "" {
			b.subscriptions.set(item.group, item.on, b.o.Now())
		} else if err := b.conn.Publish(item.subject, out.bytes[begin:item.end]); err != nil {
			b.counts.down.Add(1) // the receivers find a gap
		} else if !item.raw {
			b.counts.sent.Add(1)
		}
		begin = item.end
	}
	clear(out.items)
	out.items, out.bytes = out.items[:0], out.bytes[:0]
	if cap(out.bytes) > maxKept {
		*out = outgoing{}
	}
}

func (b *bus) subscribe(subject string) (cancel func(), err error) {
	s, err := b.conn.ChanSubscribe(subject, b.in)
	if err != nil {
		return nil, err
	}
	return func() { _ = s.Unsubscribe() }, nil
}

func (b *bus) subscribeFailed(err error) {
	b.o.Log.Error("a group is not subscribed in NATS, so its members here miss what other nodes publish", "error", err)
}

// widened is told that a part is subscribed whole from now on, or no more.
func (b *bus) widened(part uint8, whole bool) {
	since := int64(0)
	if whole {
		since = max(1, int64(b.o.Now()))
	}
	b.whole[part].Store(since)
}
