package engine

import (
	"bytes"
	"context"
	"log/slog"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"turbine/internal/seldom"
	"turbine/loop"
)

// watchdog reports callbacks that hold up their loop for longer than
// Options.Timeouts.SlowCallback. It is a goroutine that lives as long as Serve, and
// looks at the loops' marks every half of that time: a callback that it meets three
// times in a row is slow. It counts looks, not time: while the process is stopped, or
// gets no CPU, neither the callback nor the count advances. While no callback runs at
// all it sleeps, so that an idle process pays nothing.
type watchdog struct {
	server *Server
	number int64         // among those of the process
	step   time.Duration // between two looks
	seen   []sighting    // by loop
	slow   atomic.Int64  // callbacks found, for Stats

	asleep atomic.Bool
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}

	began   time.Time // what the time of the records counts from
	records seldom.Once
}

// sighting is what the watchdog has seen of a loop.
type sighting struct {
	call  uint64
	looks int // at the same call, one behind another, except the first
	next  int // when it is told again
}

const (
	slowLooks  = 2  // so many steps are Options.Timeouts.SlowCallback
	restLooks  = 10 // without a callback until it sleeps
	tellAgain  = 10 // times as long
	maxStack   = 8 << 10
	loopLabel  = "turbine-loop"
	loopFrames = "turbine/loop.(*Loop)."
)

// newWatchdog is called before the loops run. It returns nil where nobody is to
// watch.
func newWatchdog(s *Server) *watchdog {
	if s.options.Timeouts.SlowCallback < 0 {
		return nil
	}
	return &watchdog{
		server: s, number: watchdogs.Add(1), step: s.options.Timeouts.SlowCallback / slowLooks,
		began: time.Now(), wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// start begins to watch the server's loops, which do not run yet.
func (w *watchdog) start() {
	if w == nil {
		return
	}
	w.attach()
	go w.run()
}

// attach makes the loops' marks known, and the loops' goroutines by a label.
func (w *watchdog) attach() {
	w.server.watchdog.Store(w)
	w.seen = make([]sighting, len(w.server.shards))
	for _, sh := range w.server.shards {
		sh.mark.dog = w
		ctx := pprof.WithLabels(context.Background(), pprof.Labels(loopLabel, w.label(sh.loop)))
		_ = sh.loop.Post(loop.Func(func() { pprof.SetGoroutineLabels(ctx) }))
	}
}

var watchdogs atomic.Int64 // to tell apart the loops of several servers

// label is what tells the loop's goroutine from all others of the process.
func (w *watchdog) label(l *loop.Loop) string {
	return strconv.FormatInt(w.number, 10) + "." + strconv.Itoa(l.Index())
}

// end stops the goroutine and waits for it.
func (w *watchdog) end() {
	if w == nil {
		return
	}
	close(w.stop)
	<-w.done
}

func (w *watchdog) run() {
	defer close(w.done)
	ticker := time.NewTicker(w.step)
	defer ticker.Stop()
	for idle := 0; ; {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
		}
		if w.look() {
			idle = 0
			continue
		}
		if idle++; idle < restLooks {
			continue
		}
		idle = 0
		ticker.Stop()
		if !w.rest() {
			return
		}
		ticker.Reset(w.step)
	}
}

// rest sleeps until a callback begins. It reports false when the server has ended.
func (w *watchdog) rest() bool {
	w.asleep.Store(true)
	for _, sh := range w.server.shards {
		if sh.mark.call.Load() != 0 { // it may have begun before it could see that we sleep
			w.asleep.Store(false)
			return true
		}
	}
	select {
	case <-w.wake:
		return true
	case <-w.stop:
		return false
	}
}

// rouse is called by a loop that has entered a callback.
func (w *watchdog) rouse() {
	if w.asleep.CompareAndSwap(true, false) {
		select {
		case w.wake <- struct{}{}:
		default: // one is on its way
		}
	}
}

// look looks at each loop once, and reports whether any is in a callback.
func (w *watchdog) look() (busy bool) {
	for i, sh := range w.server.shards {
		call, seen := sh.mark.call.Load(), &w.seen[i]
		if call == 0 || call != seen.call {
			*seen = sighting{call: call, next: slowLooks}
			busy = busy || call != 0
			continue
		}
		busy = true
		seen.looks++
		if seen.looks < seen.next {
			continue
		}
		if seen.next == slowLooks {
			w.slow.Add(1)
		}
		seen.next *= tellAgain
		w.tell(sh, call, time.Duration(seen.looks)*w.step)
	}
	return busy
}

// tell writes a record, at most one a second.
func (w *watchdog) tell(sh *shard, call uint64, held time.Duration) {
	suppressed, ok := w.records.Allow(time.Since(w.began))
	if !ok {
		return
	}
	session, stack := sh.mark.session.Load(), stackOf(w.label(sh.loop))
	if sh.mark.call.Load() != call {
		stack = "" // it is over: these are somebody else's
		session = nil
	}
	attrs := []slog.Attr{
		slog.String("callback", kindOf(call).String()), slog.Int("loop", sh.loop.Index()), slog.Duration("held", held),
	}
	if session != nil {
		attrs = append(attrs, slog.String("session", session.PublicID()))
	}
	attrs = append(attrs, slog.String("stack", stack), slog.Int64("suppressed", suppressed))
	w.server.options.Logger.LogAttrs(context.Background(), slog.LevelWarn, "a callback holds up its event loop; see Options.Executor", attrs...)
}

// stackOf is what the goroutine with that label does, as a stack from the goroutine
// profile: taking that stops the world for a moment only, whatever the number of
// goroutines. Goroutines that a callback has started also have the label, but no loop
// below them.
func stackOf(label string) string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return err.Error()
	}
	labels := strconv.Quote(loopLabel) + ":" + strconv.Quote(label)
	for record := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(record, labels) && strings.Contains(record, loopFrames) {
			return frames(record)
		}
	}
	return ""
}

// frames are the lines of a record that name functions, without addresses.
func frames(record string) string {
	var text strings.Builder
	for line := range strings.Lines(record) {
		if !strings.HasPrefix(line, "#\t0x") || text.Len() > maxStack {
			continue
		}
		if words := strings.Fields(line); len(words) >= 4 {
			text.WriteString(words[2] + " " + strings.Join(words[3:], " ") + "\n")
		}
	}
	return text.String()
}

// callKind is a callback of the application that runs on a loop.
type callKind uint8

const (
	callNone callKind = iota
	callAdmit
	callConnectionError
	callInitialHeaders
	callHeaders
	callOpen
	callPacket
	callMessage
	callPacketCreate
	callHeartbeat
	callUpgrading
	callUpgrade
	callFlush
	callFlushed
	callHighWater
	callLowWater
	callDrain
	callClose
	callSent
	callMerge
	callKeep
	callDone
	callBind
	callGenerateID
	callMiddleware
	callAllow
	callSubmit
)

// callNames are what an application looks for in its own source.
var callNames = [...]string{
	callNone:            "none",
	callAdmit:           "Events.Admit",
	callConnectionError: "Events.ConnectionError",
	callInitialHeaders:  "Events.InitialHeaders",
	callHeaders:         "Events.Headers",
	callOpen:            "Events.Open",
	callPacket:          "Events.Packet",
	callMessage:         "Events.Message",
	callPacketCreate:    "Events.PacketCreate",
	callHeartbeat:       "Events.Heartbeat",
	callUpgrading:       "Events.Upgrading",
	callUpgrade:         "Events.Upgrade",
	callFlush:           "Events.Flush",
	callFlushed:         "Events.Flushed",
	callHighWater:       "Events.HighWater",
	callLowWater:        "Events.LowWater",
	callDrain:           "Events.Drain",
	callClose:           "Events.Close",
	callSent:            "SendOptions.Sent",
	callMerge:           "SendOptions.Merge",
	callKeep:            "Audience.Keep",
	callDone:            "Audience.Done",
	callBind:            "Options.Access.Bind",
	callGenerateID:      "Options.GenerateID",
	callMiddleware:      "Options.Middleware",
	callAllow:           "CORS.Allow",
	callSubmit:          "Executor.Submit",
}

func (k callKind) String() string { return callNames[k] }

// mark is which callback a loop is in, for the watchdog: two atomic stores for each
// callback, or for all messages of one read, and no clock. Callbacks do not nest. It
// belongs to the loop, except what is atomic.
type mark struct {
	call    atomic.Uint64           // a number of its own, and its kind in 8 bits; 0 outside of callbacks
	session atomic.Pointer[Session] // of that call; nil when it has none

	on       bool
	inside   bool
	calls    uint64    // the last number, shifted
	last     *Session  // what session holds
	messages *Session  // between begin and end: whose
	dog      *watchdog // nil where nobody watches
}

// begin enters Events.Message until end, except for other callbacks in between.
func (m *mark) begin(s *Session) {
	m.messages = s
	m.enter(callMessage, s)
}

func (m *mark) end() {
	m.messages = nil
	m.leave()
}

func (m *mark) enter(k callKind, s *Session) {
	if !m.on {
		return
	}
	if s != m.last {
		m.last = s
		m.session.Store(s)
	}
	m.calls += 1 << 8
	m.inside = true
	m.call.Store(m.calls | uint64(k))
	if m.dog != nil && m.dog.asleep.Load() {
		m.dog.rouse()
	}
}

func (m *mark) leave() {
	switch {
	case !m.inside:
	case m.messages != nil:
		m.enter(callMessage, m.messages)
	default:
		m.inside = false
		m.call.Store(0)
	}
}

// forget lets go of a session that is over.
func (m *mark) forget(s *Session) {
	if m.last == s {
		m.last = nil
		m.session.Store(nil)
	}
}

// kindOf is the kind in what mark.call holds.
func kindOf(call uint64) callKind { return callKind(call & 0xff) }
