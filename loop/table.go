package loop

import (
	"sync"
	"sync/atomic"
)

const (
	chunkBits = 12
	chunkSize = 1 << chunkBits
	// maxDescriptor bounds the numbers a Table holds: 16 million.
	maxDescriptor = chunkSize * chunkSize
)

// Table finds a connection by its descriptor. All loops of a process share
// one, since descriptors are numbered per process: 8 bytes a connection, not 8
// for each loop. An entry is written only by the loop that owns its
// descriptor; another loop may read it through a stale event, and then sees
// that the connection is not its own. The zero value is ready.
type Table struct {
	grow   sync.Mutex
	chunks [chunkSize]atomic.Pointer[[chunkSize]atomic.Pointer[Conn]]
}

func (t *Table) get(fd int) *Conn {
	if fd < 0 || fd >= maxDescriptor {
		return nil
	}
	chunk := t.chunks[fd>>chunkBits].Load()
	if chunk == nil {
		return nil
	}
	return chunk[fd&(chunkSize-1)].Load()
}

// set reports false when fd is above what a Table holds.
func (t *Table) set(fd int, c *Conn) bool {
	if fd < 0 || fd >= maxDescriptor {
		return false
	}
	at := &t.chunks[fd>>chunkBits]
	if at.Load() == nil {
		t.grow.Lock()
		if at.Load() == nil {
			at.Store(new([chunkSize]atomic.Pointer[Conn]))
		}
		t.grow.Unlock()
	}
	at.Load()[fd&(chunkSize-1)].Store(c)
	return true
}

// clear forgets that fd is c. Its entry may be another connection's already
// when c gave the number back a moment ago.
func (t *Table) clear(fd int, c *Conn) {
	if fd < 0 || fd >= maxDescriptor {
		return
	}
	if chunk := t.chunks[fd>>chunkBits].Load(); chunk != nil {
		chunk[fd&(chunkSize-1)].CompareAndSwap(c, nil)
	}
}

// each calls f for the connections of l.
func (t *Table) each(l *Loop, f func(*Conn)) {
	for i := range t.chunks {
		chunk := t.chunks[i].Load()
		if chunk == nil {
			continue
		}
		for j := range chunk {
			if c := chunk[j].Load(); c != nil && c.Loop() == l {
				f(c)
			}
		}
	}
}
