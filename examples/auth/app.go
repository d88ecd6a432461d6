package main

import (
	"context"
	"net/http"
	"time"

	"turbine/engine"

	"github.com/gin-gonic/gin"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"
)

// cookie holds the token of a login.
const cookie = "login"

type app struct {
	passwords map[string][]byte // bcrypt, by user
	secure    bool
	attempts  *rate.Limiter // to log in: each costs much processor time
	logins    logins
	server    *engine.Server
}

func newApp(passwords map[string][]byte, secure bool, lifetime time.Duration) (*app, error) {
	a := &app{
		passwords: passwords,
		secure:    secure,
		attempts:  rate.NewLimiter(5, 20),
		logins:    logins{lifetime: lifetime, byToken: map[string]*login{}},
	}
	a.logins.ended = a.closeSessions
	var err error
	a.server, err = engine.New(engine.Options{
		// Each request of a session has to bring the login that it began with: its
		// id alone is of no use to anybody else.
		Access: engine.Access{Bind: token},
	}, engine.Events{
		Admit:   a.admit,
		Open:    a.open,
		Message: a.message,
	})
	return a, err
}

func (a *app) routes() http.Handler {
	r := gin.New()
	r.Use(gin.Recovery())
	r.POST("/login", a.login)
	members := r.Group("/", a.membersOnly)
	members.GET("/me", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"user": loginOf(c.Request.Context()).user}) })
	members.POST("/logout", a.logout)
	members.Any("/engine.io/*any", gin.WrapH(a.server))
	return r
}

// loginKey is where a request's context has its login.
type loginKey struct{}

func loginOf(ctx context.Context) *login {
	in, _ := ctx.Value(loginKey{}).(*login)
	return in
}

// membersOnly is the middleware that finds the user, or answers 401.
func (a *app) membersOnly(c *gin.Context) {
	value, _ := c.Cookie(cookie) // "" when there is none
	in := a.logins.find(value)
	if in == nil {
		c.AbortWithStatusJSON(http.StatusUnauthorized, gin.H{"error": "log in first: POST /login with user and password"})
		return
	}
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), loginKey{}, in))
}

func (a *app) login(c *gin.Context) {
	if !a.attempts.Allow() {
		c.Header("Retry-After", "1")
		c.JSON(http.StatusTooManyRequests, gin.H{"error": "too many try to log in: wait a second"})
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 4096)
	user, password := c.PostForm("user"), c.PostForm("password")
	hash, known := a.passwords[user]
	if !known {
		hash = nobody // it takes as long as for somebody
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || !known {
		c.JSON(http.StatusUnauthorized, gin.H{"error": "there is no such user with that password"})
		return
	}
	in := a.logins.begin(user)
	a.setCookie(c, in.token, int(a.logins.lifetime.Seconds()))
	c.JSON(http.StatusOK, gin.H{"user": user})
}

// nobody is the hash of a password that was forgotten at once.
var nobody = []byte("$2a$10$L.e9mHWLMlTgqVTkfRUW..hg/4uDqo7UWwOb/iSHPcuya14qr084u")

func (a *app) logout(c *gin.Context) {
	a.logins.end(loginOf(c.Request.Context()))
	a.setCookie(c, "", -1)
	c.Status(http.StatusNoContent)
}

func (a *app) setCookie(c *gin.Context, value string, maxAge int) {
	c.SetSameSite(http.SameSiteLaxMode)
	c.SetCookie(cookie, value, maxAge, "/", "", a.secure, true)
}

// token is the cookie's value in a request that the engine sees.
var token = engine.BindCookie(cookie)

// admit gives the session the login that the middleware has found.
func (a *app) admit(handshake *engine.Admission) error {
	in := loginOf(handshake.Context())
	if in == nil {
		return engine.Refuse("log in first")
	}
	handshake.SetValue(in)
	return nil
}

func (a *app) open(s *engine.Session, _ *engine.Request) {
	in := s.Value().(*login)
	_ = s.Send(engine.Message{Data: []byte("hello " + in.user)})
	if a.logins.find(in.token) == nil {
		s.Close() // the logout came between admit and here: nobody else would
	}
}

// message tells everybody what somebody says.
func (a *app) message(s *engine.Session, m engine.Message) {
	if m.Binary {
		return
	}
	text := s.Value().(*login).user + ": " + string(m.Data)
	// A user's name may be anything that a password was set for.
	if p, err := engine.Prepare(engine.Message{Data: []byte(text)}); err == nil {
		_ = a.server.Broadcast(p)
	}
}

// closeSessions ends what a login has open, after what is queued for it.
func (a *app) closeSessions(in *login) {
	for s := range a.server.Sessions() {
		if s.Value() == in {
			s.Close()
		}
	}
}
