package ops

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

// errRevoked is why the context of a request ends whose client may not ask for it any
// more.
var errRevoked = errors.New("the key counts no more")

// underWay are the requests that are served for a client that had to show something.
// The zero value has none. Safe from any goroutine.
type underWay struct {
	mu  sync.Mutex
	all map[*allowed]struct{} // guarded by mu
}

// An allowed request ends when the keys change so that its client may not ask for it.
type allowed struct {
	r      *http.Request
	needs  scopes // guarded by underWay.mu
	cancel context.CancelCauseFunc
}

// allowedKey is what a request's context has it under.
type allowedKey struct{}

// begin adds a request that needs the scope, before it is authorized: of keys that change
// meanwhile it is told by the one or by the other. Its context, which the request that
// begin returns has, ends with errRevoked. done is to be called when it is answered.
func (u *underWay) begin(r *http.Request, scope Scope) (watched *http.Request, done func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	a := &allowed{needs: scopes(0).with(scope), cancel: cancel}
	a.r = r.WithContext(context.WithValue(ctx, allowedKey{}, a))
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[*allowed]struct{}{}
	}
	u.all[a] = struct{}{}
	return a.r, func() {
		u.mu.Lock()
		delete(u.all, a)
		u.mu.Unlock()
		cancel(nil)
	}
}

// also adds a scope to what the request needs, before it is authorized for it.
func (u *underWay) also(r *http.Request, scope Scope) {
	if a, ok := r.Context().Value(allowedKey{}).(*allowed); ok {
		u.mu.Lock()
		defer u.mu.Unlock()
		a.needs = a.needs.with(scope)
	}
}

// revoke ends the requests that do not pass, and returns them.
func (u *underWay) revoke(passes func(r *http.Request, needs scopes) bool) (ended []*http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for a := range u.all {
		if !passes(a.r, a.needs) {
			a.cancel(errRevoked)
			delete(u.all, a)
			ended = append(ended, a.r)
		}
	}
	return ended
}

// isRevoked reports whether the request was ended by revoke.
func isRevoked(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errRevoked) }
