package engine

import (
	"errors"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

var errEmptyID = errors.New("engine: GenerateID returned an empty id")

var errUnusableID = errors.New("engine: an id of the application is not UTF-8")

// usableID reports whether a client can say id again unchanged: bytes that are not
// UTF-8 become other ones in JSON, and the session could never be reached.
func usableID(id string) bool {
	return utf8.ValidString(id)
}

// ownIDs finds sessions whose ids the application has chosen, which do not say
// where they live. It is empty, and costs nothing, without such ids.
type ownIDs struct {
	inUse atomic.Bool
	mu    sync.RWMutex
	homes map[string]sid // guarded by mu
}

func (o *ownIDs) find(id string) (home sid, ok bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	home, ok = o.homes[id]
	return home, ok
}

func (o *ownIDs) taken(id string) bool {
	_, ok := o.find(id)
	return ok
}

// add reports false when the id is taken: two sessions with one id would close
// each other.
func (o *ownIDs) add(id string, home sid) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.homes[id]; ok {
		return false
	}
	if o.homes == nil {
		o.homes = map[string]sid{}
	}
	o.homes[id] = home
	o.inUse.Store(true)
	return true
}

func (o *ownIDs) remove(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.homes, id)
}
