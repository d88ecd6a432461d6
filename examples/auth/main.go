// Auth is an application made with gin, whose users log in, and an Engine.IO
// server mounted in it: a client that is not logged in gets 401, the user is known in all
// callbacks, and logging out ends what the user has open.
//
//	go run ./auth
//
// Without -users it makes up a user and says how to log in.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/crypto/bcrypt"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "address to listen on; :3000 is also for other machines")
	users := flag.String("users", "", "file of users and their passwords, as made by: htpasswd -nbB NAME PASSWORD")
	secure := flag.Bool("secure", false, "send the cookie by HTTPS only: for everything but tries on this machine")
	lifetime := flag.Duration("lifetime", 12*time.Hour, "how long a login lasts")
	drain := flag.Duration("drain", 8*time.Second, "how long clients may take to leave after SIGTERM")
	flag.Parse()
	if err := run(*addr, *users, *secure, *lifetime, *drain); err != nil {
		fmt.Fprintln(os.Stderr, "auth:", err)
		os.Exit(1)
	}
}

func run(addr, users string, secure bool, lifetime, drain time.Duration) error {
	passwords, err := readPasswords(users)
	if err != nil {
		return err
	}
	a, err := newApp(passwords, secure, lifetime)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (is another one running? choose an address with -addr)", err)
	}
	gin.SetMode(gin.ReleaseMode)
	site := &http.Server{
		Handler:           a.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- site.Serve(listener) }()
	fmt.Printf("auth: listening on http://%s\n", listener.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		stop() // a second signal ends the program at once
	}
	// First the sessions, whose clients may need another request to see their end, then
	// the rest of the site.
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := errors.Join(a.server.Shutdown(ctx), site.Shutdown(ctx)); err != nil {
		slog.Warn("not everybody left in time", "error", err)
	}
	return nil
}

// readPasswords returns the bcrypt hash of each user's password, from a file with
// lines of the form name:hash.
func readPasswords(file string) (map[string][]byte, error) {
	if file == "" {
		password := rand.Text()
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
		fmt.Printf("auth: without -users there is one user, ada, whose password is now %s\n", password)
		return map[string][]byte{"ada": hash}, err
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the file of whoever starts the program
	if err != nil {
		return nil, fmt.Errorf("-users: %w", err)
	}
	passwords := map[string][]byte{}
	for n, line := range strings.Split(string(text), "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, hash, _ := strings.Cut(strings.TrimSpace(line), ":")
		if _, err := bcrypt.Cost([]byte(hash)); name == "" || err != nil {
			return nil, fmt.Errorf("-users: line %d of %s is not name:hash with a hash of bcrypt (htpasswd -nbB NAME PASSWORD)", n+1, file)
		}
		passwords[name] = []byte(hash)
	}
	return passwords, nil
}
