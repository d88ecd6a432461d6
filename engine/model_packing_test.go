package engine_test

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/race"
	"turbine/loop/looptest"
	"turbine/wsframe"

	"github.com/stretchr/testify/require"
)

// packedSteps are those of a run with large messages, which take their time.
const packedSteps = 150

// modelPacks makes messages large, and WebSockets compressed, so that much happens
// while one message is compressed in portions. Sessions also end at once, by
// CloseNow or a panic. A nil one does nothing.
type modelPacks struct {
	deflate engine.PerMessageDeflate
	pace    time.Duration // of a step
	world   *looptest.World
	quick   bool
	large   atomic.Int64 // messages above 64 KB that came to clients compressed

	mu         sync.Mutex
	random     *rand.Rand
	compressor wsframe.Compressor
}

func newModelPacks(seed uint64) *modelPacks {
	random := rand.New(rand.NewPCG(seed, 6))
	return &modelPacks{
		random:  random,
		deflate: engine.PerMessageDeflate{ContextTakeover: random.IntN(2) == 0, ClientContextTakeover: random.IntN(2) == 0},
		pace:    time.Duration(10+random.IntN(90)) * time.Microsecond,
	}
}

func (k *modelPacks) options(o *engine.Options) {
	o.PerMessageDeflate, o.Logger = &k.deflate, slog.New(slog.DiscardHandler)
	o.Queue.MaxBytes *= 16
	o.Queue.Budget *= 16
}

func (k *modelPacks) begin(world *looptest.World) {
	if k != nil {
		k.world = world
		world.Pace(k.pace)
	}
}

// calm is for when all is to come to rest.
func (k *modelPacks) calm() {
	if k != nil {
		k.quick = true
		k.world.Pace(0)
	}
}

// turns lets the loops work a little, so that clients and callers act while messages
// are compressed. It reports whether there is nothing to do so.
func (k *modelPacks) turns(random *rand.Rand) (all bool) {
	if k == nil || k.quick {
		return true
	}
	for range random.IntN(6) {
		k.world.Turn()
	}
	return false
}

// grow makes some messages large: about as large as takes portions, or larger.
func (k *modelPacks) grow(random *rand.Rand, p []byte) []byte {
	if k == nil {
		return p
	}
	size := 0
	switch random.IntN(6) {
	case 0:
		size = 64<<10 - 3 + random.IntN(6)
	case 1:
		size = 64<<10 + random.IntN(300_000)
	}
	if more := size - len(p); more > 0 {
		p = append(p, make([]byte, more)...)
	}
	number := bytes.IndexByte(p, ' ') + 1
	for i := number; i < len(p); i++ {
		p[i] = ballast(number, i, len(p))
	}
	return p
}

// ballast is what a message has at i. Not all of it is the same, and it says how long
// the message is.
func ballast(number, i, size int) byte { return 'a' + byte((i*i>>5+size+number)%26) }

// whole checks that p is what grow has made of it.
func (k *modelPacks) whole(p []byte) bool {
	number := bytes.IndexByte(p, ' ') + 1
	for i := number; i < len(p); i++ {
		if p[i] != ballast(number, i, len(p)) {
			return false
		}
	}
	return true
}

// offer is a header of the handshake of a WebSocket.
func (k *modelPacks) offer(random *rand.Rand) string {
	if k == nil || random.IntN(8) == 0 {
		return ""
	}
	return "Sec-WebSocket-Extensions: permessage-deflate; " +
		[]string{"client_max_window_bits", "server_max_window_bits=9", "server_max_window_bits=12", "server_no_context_takeover"}[random.IntN(4)] + "\r\n"
}

// chance is one in n.
func (k *modelPacks) chance(n int) bool {
	if k == nil || k.quick {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.random.IntN(n) == 0
}

// sendPacked is send with options, half of the time.
func (m *modelSession) sendPacked(message engine.Message) error {
	k := m.client.packs
	o := engine.SendOptions{NoCompress: k.chance(6)}
	if n := m.accepted; k.chance(2) {
		o.Sent = func() { m.sent(n) }
	}
	var err error
	if k.chance(3) {
		p, _ := engine.Prepare(message)
		err = m.session.SendPrepared(p.With(o))
	} else {
		err = m.session.SendWith(message, o)
	}
	if err == nil && o.Sent != nil {
		m.sents = append(m.sents, m.accepted)
	}
	return err
}

// sent is SendOptions.Sent of message n.
func (m *modelSession) sent(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sents) == 0 || m.sents[0] != n {
		m.client.fail("session %d is told that message %d was sent, not one of %v", m.client.name, n, m.sents)
		return
	}
	m.sents = m.sents[1:]
	m.client.packs.panic()
}

func (k *modelPacks) panic() {
	if k.chance(1500) {
		panic("of the model")
	}
}

// operate ends the session of m at once, now and then.
func (k *modelPacks) operate(m *modelSession) {
	if k.chance(150) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.session != nil {
			m.session.CloseNow()
			m.ended, m.now = true, true
		}
	}
}

// negotiate reads the answer to the handshake.
func (w *modelWS) negotiate(head string) {
	_, extension, _ := strings.Cut(head, "Sec-WebSocket-Extensions: ")
	extension, _, _ = strings.Cut(extension, "\r\n")
	w.deflate = strings.HasPrefix(extension, "permessage-deflate")
	w.takeover = w.deflate && !strings.Contains(extension, "server_no_context_takeover")
}

// unpack decompresses a message with the standard library.
func (w *modelWS) unpack(p []byte) ([]byte, error) {
	r := flate.NewReaderDict(io.MultiReader(bytes.NewReader(p), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")), w.window)
	text, err := io.ReadAll(r)
	if w.takeover {
		w.window = append(w.window, text...)
		w.window = slices.Clone(w.window[max(0, len(w.window)-32<<10):])
	}
	return text, err
}

// compressed is a message that a client sends.
func (k *modelPacks) compressed(payload []byte) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.compressor.Compress(nil, payload)
}

// packsNext reports whether the next message of the client is sent compressed.
func (c *modelClient) packsNext(payload []byte) bool {
	return c.packs != nil && c.websocket.deflate && len(payload) > 0 && c.random.IntN(3) == 0
}

func packedRuns(runs int) int {
	if testing.Short() || race.Enabled {
		return max(1, runs/4)
	}
	return runs
}

// TestModelPacksOnceInOrder is TestModelDeliversOnceInOrder with large messages on
// compressed WebSockets, and sessions that end while one of them is compressed. It is
// so where system calls fail, and with an Executor.
func TestModelPacksOnceInOrder(t *testing.T) {
	for _, faulty := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("faults: %v, Executor: %v", faulty, late), func(t *testing.T) {
				var counts modelCounts
				large := int64(0)
				modelSeeds(t, &counts, func() bool { return counts.runs < packedRuns(*modelPacked) || large == 0 }, func(seed uint64) {
					k := newModelPacks(seed)
					var faults *looptest.Faulty
					if faulty {
						faults = looptest.NewFaulty(seed, modelRates)
					}
					var executor *modelExecutor
					if late {
						executor = newModelExecutor(seed)
					}
					r := newModelRun(t, seed, &counts, executor.options, k.options)
					r.packs = k
					runModelWith(t, r, faults, executor)
					large += k.large.Load()
				})
				t.Log(large, "large messages")
			})
		}
	}
}

// TestModelKeepsTheOrderOfCallersWhilePacking is TestModelKeepsTheOrderOfCallers with
// large messages on compressed WebSockets: of one client, for many, and with keys.
func TestModelKeepsTheOrderOfCallersWhilePacking(t *testing.T) {
	for _, faulty := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("faults: %v, Executor: %v", faulty, late), func(t *testing.T) {
				var counts modelCounts
				large := int64(0)
				modelSeeds(t, &counts, func() bool { return counts.runs < packedRuns(*modelPacked) || large == 0 }, func(seed uint64) {
					k := newModelPacks(seed)
					var faults *looptest.Faulty
					if faulty {
						faults = looptest.NewFaulty(seed, orderRates)
					}
					var executor *modelExecutor
					if late {
						executor = newModelExecutor(seed)
					}
					r := newOrderRun(t, seed, &counts, 1, executor.options, k.options)
					r.packs, r.order.size = k, packedCrowd
					runModelWith(t, r, faults, executor)
					require.Equal(t, r.order.asked, r.order.dones.Load(), "calls of Audience.Done")
					large += k.large.Load()
				})
				t.Log(large, "large messages")
			})
		}
	}
}

// TestModelKeepsTheOrderOfCallersWhilePackingOnSockets is the same on the real kernel,
// where several loops work on one message at the same time.
func TestModelKeepsTheOrderOfCallersWhilePackingOnSockets(t *testing.T) {
	var counts modelCounts
	modelSeeds(t, &counts, func() bool { return counts.runs < *modelPacked/4 }, func(seed uint64) {
		k := newModelPacks(seed)
		r := newOrderRun(t, seed, &counts, socketDrivers, func(o *engine.Options) { o.Loops = 3 }, k.options)
		r.packs, r.order.size = k, packedCrowd
		serveModelOnSockets(t, r, orderSteps/6, false)
		require.Positive(t, k.large.Load())
	})
}

// packedCrowd are sessions enough for some loops to work on one message.
const packedCrowd = 12
