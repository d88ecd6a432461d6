package main

import (
	"crypto/rand"
	"sync"
	"time"
)

// A login is one user in one browser, from login to logout.
type login struct {
	token  string // the cookie's value
	user   string
	expiry *time.Timer
}

// logins are those there are at present. Safe from any goroutine.
type logins struct {
	lifetime time.Duration
	ended    func(*login) // is called when one is over

	mu      sync.Mutex
	byToken map[string]*login // guarded by mu
}

// begin makes a login. It ends by itself when its lifetime is over.
func (l *logins) begin(user string) *login {
	in := &login{token: rand.Text(), user: user}
	l.mu.Lock()
	defer l.mu.Unlock()
	in.expiry = time.AfterFunc(l.lifetime, func() { l.end(in) })
	l.byToken[in.token] = in
	return in
}

// find returns the login of that token, nil when there is none or it is over.
func (l *logins) find(token string) *login {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byToken[token]
}

// end ends a login, once.
func (l *logins) end(in *login) {
	l.mu.Lock()
	there := l.byToken[in.token] == in
	delete(l.byToken, in.token)
	l.mu.Unlock()
	if there {
		in.expiry.Stop()
		l.ended(in)
	}
}
