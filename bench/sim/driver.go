package sim

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"turbine/loop"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"turbine/wsframe"
)

// firstDescriptor leaves room below, as in a process.
const firstDescriptor = 3

// What a client is about to send, as bits.
const (
	sendRequest = 1 << iota
	sendPong
	sendMessage
	isOpen
	isMute
)

var (
	request = []byte("GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: sim\r\nConnection: Upgrade\r\n" +
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	key     = [4]byte{0x21, 0x43, 0x65, 0x87}
	pong    = wsframe.AppendMaskedFrame(nil, ws.OpText, true, key, []byte("3"))
	message = wsframe.AppendMaskedFrame(nil, ws.OpText, true, key, []byte("4"+strings.Repeat("x", 128)))
)

// driver drives one loop, and is its operating system and all of its clients. These
// are two flat arrays: 9 bytes a client, with nothing in them for the collector to
// look at. All of it belongs to the driver's goroutine, except the atomic fields.
type driver struct {
	world *world
	loop  *loop.Loop
	first int // descriptor

	state []uint8 // by client
	since []int64 // by client: when it opened or sent its last pong, nanoseconds
	ready []int32 // clients with something to read for the loop
	spare []int32

	next   int // client to open
	over   bool
	random *rand.Rand
	sent   float64 // messages owed, a fraction of one included
	at     time.Duration

	ticks    bool // the loop wants them
	nextTick time.Duration

	opened, beats, lost atomic.Int64
	openBy, messages    atomic.Int64

	mu   sync.Mutex
	late *hdrhistogram.Histogram // of pings, microseconds; guarded by mu

	held    atomic.Int64 // longest the loop has had letters at a time, nanoseconds of CPU; 0 unless world.watch
	garbage *garbage
	woken   atomic.Bool
	wakes   atomic.Int64
	wakeup  chan struct{}
}

func newDriver(w *world, first, clients int) *driver {
	return &driver{
		world: w, first: first,
		state: make([]uint8, clients), since: make([]int64, clients),
		ready: make([]int32, 0, clients), spare: make([]int32, 0, clients),
		random: rand.New(rand.NewPCG(uint64(first), 1)),
		late:   hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3),
		wakeup: make(chan struct{}, 1),
	}
}

// step is how often a driver looks whether its clients have something to do.
const step = time.Millisecond

// drive is the loop's goroutine.
func (d *driver) drive() {
	if d.world.watch { // or the CPU time of a thread is not that of the loop
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	timer := time.NewTimer(step)
	defer timer.Stop()
	more := false
	for !d.world.stop.Load() {
		d.act()
		d.tick()
		busy := d.turn()
		if more || d.woken.Swap(false) {
			more = d.mail()
			busy = true
		}
		if busy {
			continue
		}
		timer.Reset(step)
		select {
		case <-d.wakeup:
		case <-timer.C:
		}
	}
}

// mail has the loop read its letters, which is how others have it do something.
func (d *driver) mail() (more bool) {
	if !d.world.watch {
		return d.loop.Mail()
	}
	began := threadCPU()
	more = d.loop.Mail()
	if took := int64(threadCPU() - began); took > d.held.Load() {
		d.held.Store(took)
	}
	return more
}

// threadCPU is the CPU time of the thread: what other processes take is not in it.
func threadCPU() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// tick is the loop's timer: step is much shorter than a tick.
func (d *driver) tick() {
	if now := d.world.clock(); d.ticks && now >= d.nextTick {
		every := d.world.server.Driver().LoopOptions().Tick
		d.nextTick = (now/every + 1) * every
		d.loop.Tick()
	}
}

// turn reports what is ready.
func (d *driver) turn() (busy bool) {
	batch := d.ready
	d.ready = d.spare[:0]
	for _, c := range batch {
		if d.state[c]&(sendRequest|sendPong|sendMessage) != 0 {
			d.loop.Ready(d.first+int(c), loop.Readable)
			busy = true
		}
	}
	d.spare = batch
	return busy
}

// act is what clients do by themselves: they come, and they send messages.
func (d *driver) act() {
	now := d.world.clock()
	elapsed := now - d.at
	d.at = now
	if by := d.openBy.Load(); by > 0 && d.next < len(d.state) {
		d.connect(now, time.Duration(by))
	}
	if d.sent += elapsed.Seconds() * float64(d.messages.Load()); d.sent > 10_000 {
		d.sent = 10_000
	}
	for ; d.sent >= 1; d.sent-- {
		c := int32(d.random.IntN(len(d.state)))
		if d.state[c]&(isOpen|sendPong|sendMessage) == isOpen {
			d.push(c, sendMessage)
		}
	}
	if d.garbage != nil {
		d.garbage.make(elapsed)
	}
}

// connect opens as many sessions as are due.
func (d *driver) connect(now, by time.Duration) {
	due := len(d.state)
	if left := by - now; left > 0 {
		due = int(float64(due) * (1 - left.Seconds()/d.world.options.Opening.Seconds()))
	}
	for ; d.next < min(due, len(d.state)); d.next++ {
		c := int32(d.next)
		if d.next < d.world.options.Mute/len(d.world.drivers) {
			d.state[c] |= isMute
		}
		d.loop.Open(d.first+d.next, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 1024))
		d.push(c, sendRequest)
	}
}

func (d *driver) push(client int32, what uint8) {
	if d.state[client]&(sendRequest|sendPong|sendMessage) == 0 {
		d.ready = append(d.ready, client)
	}
	d.state[client] |= what
}

// What follows is the loop.Kernel.

func (d *driver) Read(fd int, p []byte) (n int, err error) {
	c := fd - d.first
	state := &d.state[c]
	for _, one := range []struct {
		bit   uint8
		bytes []byte
	}{{sendRequest, request}, {sendPong, pong}, {sendMessage, message}} {
		if *state&one.bit != 0 {
			*state &^= one.bit
			n += copy(p[n:], one.bytes)
			if one.bit == sendPong {
				d.since[c] = int64(d.loop.Now())
				d.beats.Add(1)
			}
		}
	}
	if n == 0 {
		return 0, syscall.EAGAIN
	}
	return n, nil
}

// Write is what the client receives.
func (d *driver) Write(fd int, p []byte, _ bool) (int, error) {
	d.receive(int32(fd-d.first), p)
	return len(p), nil
}

func (d *driver) Writev(fd int, v [][]byte, _ bool) (n int, err error) {
	for _, p := range v {
		d.receive(int32(fd-d.first), p)
		n += len(p)
	}
	return n, nil
}

func (d *driver) receive(c int32, p []byte) {
	if d.state[c]&isOpen == 0 {
		const ok = "HTTP/1.1 101 "
		if len(p) < len(ok) || string(p[:len(ok)]) != ok {
			return // it does not open, which open notices
		}
		d.state[c] |= isOpen
		d.since[c] = int64(d.loop.Now())
		d.opened.Add(1)
		return // the open packet behind it is not looked at
	}
	for len(p) > 0 {
		h, n, err := wsframe.ParseHeader(p)
		if err != nil || len(p) < n+int(h.Length) {
			d.lose(c)
			return
		}
		if h.OpCode == ws.OpClose {
			d.lose(c)
			return
		}
		if h.OpCode == ws.OpText && h.Length == 1 && p[n] == '2' {
			d.pinged(c)
		}
		p = p[n+int(h.Length):]
	}
}

func (d *driver) pinged(c int32) {
	due := time.Duration(d.since[c]) + d.world.options.PingInterval
	d.mu.Lock()
	_ = d.late.RecordValue(max(1, int64((d.world.clock()-due)/time.Microsecond)))
	d.mu.Unlock()
	if d.state[c]&isMute == 0 {
		d.push(c, sendPong)
	}
}

// lateness is a copy of what is known up to now.
func (d *driver) lateness() *hdrhistogram.Histogram {
	d.mu.Lock()
	defer d.mu.Unlock()
	return hdrhistogram.Import(d.late.Export())
}

// Watch has nothing to do: there is always room for what the loop writes.
func (d *driver) Watch(fd int, _, _ loop.Interest) (int, error) { return fd, nil }

// LocalAddr is none: nobody asks.
func (d *driver) LocalAddr(int) netip.AddrPort { return netip.AddrPort{} }

// Shutdown and Close end a session: no client leaves by itself.
func (d *driver) Shutdown(fd int) { d.lose(int32(fd - d.first)) }

func (d *driver) Close(fd int) { d.lose(int32(fd - d.first)) }

func (d *driver) lose(c int32) {
	if d.state[c]&isOpen != 0 && !d.over {
		d.lost.Add(1)
	}
	d.state[c] &^= isOpen
}

// Wake makes drive call Mail. Safe from any goroutine.
func (d *driver) Wake() {
	d.wakes.Add(1)
	d.woken.Store(true)
	select {
	case d.wakeup <- struct{}{}:
	default:
	}
}

// Sleep takes nothing back: drive has.
func (d *driver) Sleep() {}

func (d *driver) Ticks(on bool) { d.ticks = on }
