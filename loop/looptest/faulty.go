package looptest

import (
	"math/rand/v2"
	"sync/atomic"
	"syscall"

	"turbine/loop"
)

// Rates says how many of 10,000 calls of each kind fare so. Those of reads and
// writes exclude each other.
type Rates struct {
	Short       int // reads, writes: for a part of the bytes only
	NotNow      int // reads, writes: EAGAIN, though the socket was reported
	Interrupted int // reads, writes: EINTR
	Shortage    int // reads, writes: ENOBUFS, ENOMEM
	Broken      int // reads, writes: ECONNRESET, EPIPE, ETIMEDOUT
	Watch       int // ENOMEM, ENOSPC: each ends a connection
	Accept      int // EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPROTO, EINTR
}

// The kinds of faults.
const (
	faultShort = iota
	faultNotNow
	faultInterrupted
	faultShortage
	faultBroken
	faultWatch
	faultAccept
	faultKinds
)

var faultNames = [faultKinds]string{"short", "EAGAIN", "EINTR", "shortage", "broken", "watch", "accept"}

// A Faulty makes the calls of a machine's loops fail at random: it is a
// loop.Faults, for one machine. The same seed gives the same faults for the same
// calls.
type Faulty struct {
	seed   uint64
	rates  Rates
	random *rand.Rand // of accepts, on loop 0
	off    atomic.Bool
	counts [faultKinds]atomic.Int64
}

// NewFaulty makes a Faulty.
func NewFaulty(seed uint64, rates Rates) *Faulty {
	return &Faulty{seed: seed, rates: rates, random: rand.New(rand.NewPCG(seed, 1<<32))} // #nosec G404 -- a seed plays it again
}

// Heal ends the faults. Safe from any goroutine.
func (f *Faulty) Heal() { f.off.Store(true) }

// Counts tells the number of faults so far, by kind. Safe from any goroutine.
func (f *Faulty) Counts() map[string]int64 {
	counts := map[string]int64{}
	for i, name := range faultNames {
		counts[name] = f.counts[i].Load()
	}
	return counts
}

// Kernel puts the faults in front of k.
func (f *Faulty) Kernel(index int, k loop.Kernel) loop.Kernel {
	return &faultyKernel{Kernel: k, faults: f, random: rand.New(rand.NewPCG(f.seed, uint64(index)))} // #nosec G404 -- the same
}

var (
	acceptErrors   = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO, syscall.EINTR}
	shortageErrors = []error{syscall.ENOBUFS, syscall.ENOMEM}
	readErrors     = []error{syscall.ECONNRESET, syscall.ETIMEDOUT}
	writeErrors    = []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT}
	watchErrors    = []error{syscall.ENOMEM, syscall.ENOSPC}
)

// Accept fails at random.
func (f *Faulty) Accept() error {
	if f.draw(f.random) >= f.rates.Accept {
		return nil
	}
	return f.fail(f.random, faultAccept, acceptErrors)
}

// draw is below a rate as often as that says, and never once healed.
func (f *Faulty) draw(r *rand.Rand) int {
	if f.off.Load() {
		return 10_000
	}
	return r.IntN(10_000)
}

func (f *Faulty) fail(r *rand.Rand, kind int, errors []error) error {
	f.counts[kind].Add(1)
	return errors[r.IntN(len(errors))]
}

// faultyKernel is a Kernel with faults. It belongs to its loop's goroutine.
type faultyKernel struct {
	loop.Kernel
	faults *Faulty
	random *rand.Rand
	vector [loop.MaxVector][]byte
}

// transfer chooses how a read or write fares: with an error, or with at most
// limit bytes.
func (k *faultyKernel) transfer(size int, broken []error) (limit int, err error) {
	f := k.faults
	n, r := f.draw(k.random), &f.rates
	below := func(rate int) bool { n -= rate; return n < 0 }
	switch {
	case below(r.Short):
		if size > 1 {
			f.counts[faultShort].Add(1)
			return 1 + k.random.IntN(min(size-1, 1+k.random.IntN(4096))), nil
		}
	case below(r.NotNow):
		f.counts[faultNotNow].Add(1)
		return 0, syscall.EAGAIN
	case below(r.Interrupted):
		f.counts[faultInterrupted].Add(1)
		return 0, syscall.EINTR
	case below(r.Shortage):
		return 0, f.fail(k.random, faultShortage, shortageErrors)
	case below(r.Broken):
		return 0, f.fail(k.random, faultBroken, broken)
	}
	return size, nil
}

func (k *faultyKernel) Read(fd int, p []byte) (int, error) {
	limit, err := k.transfer(len(p), readErrors)
	if err != nil {
		return 0, err
	}
	return k.Kernel.Read(fd, p[:limit])
}

func (k *faultyKernel) Write(fd int, p []byte, more bool) (int, error) {
	limit, err := k.transfer(len(p), writeErrors)
	if err != nil {
		return 0, err
	}
	return k.Kernel.Write(fd, p[:limit], more)
}

func (k *faultyKernel) Writev(fd int, v [][]byte, more bool) (int, error) {
	size := 0
	for _, p := range v {
		size += len(p)
	}
	limit, err := k.transfer(size, writeErrors)
	if err != nil {
		return 0, err
	}
	if limit == size {
		return k.Kernel.Writev(fd, v, more)
	}
	short := k.vector[:0]
	for _, p := range v {
		p = p[:min(len(p), limit)]
		if limit -= len(p); len(p) > 0 {
			short = append(short, p)
		}
	}
	defer clear(short)
	return k.Kernel.Writev(fd, short, more)
}

func (k *faultyKernel) Watch(fd int, from, to loop.Interest) (int, error) {
	// What is only taken back needs no memory.
	if to&^from != 0 && k.faults.draw(k.random) < k.faults.rates.Watch {
		return fd, k.faults.fail(k.random, faultWatch, watchErrors)
	}
	return k.Kernel.Watch(fd, from, to)
}
