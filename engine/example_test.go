package engine_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"turbine/engine"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// An echo server, here on a free port and with a client for one message.
func ExampleServer() {
	server, err := engine.New(engine.Options{}, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }, // m.Data is borrowed, Send copies
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	url := "http://" + listener.Addr().String() + "/engine.io/?EIO=4&transport=polling"
	_, sid, _ := strings.Cut(fetch(http.Get(url)), `"sid":"`)
	url += "&sid=" + sid[:27]
	fmt.Println(fetch(http.Post(url, "text/plain", strings.NewReader("4hello"))))
	fmt.Println(fetch(http.Get(url)))
	fmt.Println(fetch(http.Post(url, "text/plain", strings.NewReader("1"))))

	http.DefaultClient.CloseIdleConnections()
	fmt.Println(server.Shutdown(context.Background()))
	fmt.Println(<-served)
	// Output:
	// ok
	// 4hello
	// ok
	// <nil>
	// engine: server closed
}

func fetch(r *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	line, _ := bufio.NewReader(r.Body).ReadString('\n')
	return line
}

// A message to all sessions is encoded once. This program runs in memory: the
// World drives the loops, and its clock moves only when told.
func ExampleServer_Broadcast() {
	server, err := engine.New(engine.Options{}, engine.Events{
		Close: func(_ *engine.Session, reason engine.Reason, _ error) { fmt.Println(reason) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	world := looptest.NewWorld(2, loop.Options{}, server.Driver().Accept)
	server.Driver().UseLoops(world.Loops())
	defer world.Close()

	peers := []*looptest.Peer{world.Dial(), world.Dial()}
	for _, p := range peers {
		p.Write([]byte("GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\n" +
			"Host: example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	}
	world.Run()
	for _, p := range peers {
		p.Read()
	}
	fmt.Println(server.Stats().Sessions, "sessions")

	hello, err := engine.Prepare(engine.Message{Data: []byte("hello, all")})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = server.Broadcast(hello)
	world.Run()
	for _, p := range peers {
		fmt.Printf("%q\n", p.Read())
		p.Write(wsframe.AppendMaskedFrame(nil, ws.OpClose, true, [4]byte{}, nil))
	}
	world.Run()
	// Output:
	// 2 sessions
	// "\x81\v4hello, all"
	// "\x81\v4hello, all"
	// transport close
	// transport close
}

// Groups have names; a message to one is encoded once. A client that reads too
// slowly loses messages here, not the session, and is told how far behind it is.
func ExampleServer_Publish() {
	server, err := engine.New(engine.Options{
		Queue: engine.Queue{Overflow: engine.OverflowDrop, MaxPackets: 2, HighWater: 200},
	}, engine.Events{
		Open:      func(s *engine.Session, r *engine.Request) { s.Join(r.Query("match")) },
		HighWater: func(_ *engine.Session, buffered int) { fmt.Println(buffered, "bytes wait") },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	world := looptest.NewWorld(2, loop.Options{}, server.Driver().Accept)
	server.Driver().UseLoops(world.Loops())
	defer world.Close()

	peer := world.Dial()
	peer.Write([]byte("GET /engine.io/?EIO=4&transport=polling&match=7 HTTP/1.1\r\nHost: example\r\n\r\n"))
	world.Run()
	_, rest, _ := strings.Cut(string(peer.Read()), `"sid":"`)
	sid, _, _ := strings.Cut(rest, `"`)

	for _, score := range []string{"1:0", "1:1", "2:1"} {
		p, _ := engine.Prepare(engine.Message{Data: []byte(score)}) // its error says that this is not UTF-8
		_ = server.Publish("7", p)
	}
	world.Run()
	peer.Write([]byte("GET /engine.io/?EIO=4&transport=polling&sid=" + sid + " HTTP/1.1\r\nHost: example\r\n\r\n"))
	world.Run()
	_, body, _ := strings.Cut(string(peer.Read()), "\r\n\r\n")
	fmt.Printf("%q\n", body)
	// Output:
	// 262 bytes wait
	// "41:0\x1e41:1"
}

// Clients need a token, looked up at once. What Admit finds out about a client
// goes with its session.
func ExampleEvents_admit() {
	users := map[string]string{"secret": "Ada"}
	url, stop := serve(engine.New(engine.Options{}, engine.Events{
		Admit: func(a *engine.Admission) error {
			user, ok := users[a.Query("token")]
			if !ok {
				return engine.Refuse("wrong token")
			}
			a.SetValue(user)
			return nil
		},
		Open: func(s *engine.Session, _ *engine.Request) {
			_ = s.Send(engine.Message{Data: []byte("hello " + s.Value().(string))})
		},
	}))
	defer stop()

	fmt.Println(fetch(http.Get(url)))
	fmt.Println(fetch(http.Get(join(url + "&token=secret"))))
	// Output:
	// {"code":4,"message":"wrong token"}
	// 4hello Ada
}

// A decision that takes its time is made on another goroutine.
func ExampleAdmission_Later() {
	lookUp := func(token string) (user string, err error) { // may ask a database
		if token != "secret" {
			return "", engine.Refuse("wrong token")
		}
		return "Ada", nil
	}
	url, stop := serve(engine.New(engine.Options{Timeouts: engine.Timeouts{Admit: 5 * time.Second}}, engine.Events{
		Admit: func(a *engine.Admission) error {
			verdict, token := a.Later(), a.Query("token") // a is borrowed: read it here
			go func() {
				user, err := lookUp(token)
				if err != nil {
					verdict.Refuse(err) // of any other error the client hears nothing
					return
				}
				verdict.SetValue(user)
				verdict.Accept()
			}()
			return nil
		},
		Open: func(s *engine.Session, _ *engine.Request) {
			_ = s.Send(engine.Message{Data: []byte("hello " + s.Value().(string))})
		},
	}))
	defer stop()

	fmt.Println(fetch(http.Get(url)))
	fmt.Println(fetch(http.Get(join(url + "&token=secret"))))
	// Output:
	// {"code":4,"message":"wrong token"}
	// 4hello Ada
}

// Rooms are the application's own: a set of sessions under a lock, for sessions
// live on several loops.
func Example_rooms() {
	var mu sync.Mutex
	rooms := map[string]map[*engine.Session]bool{} // guarded by mu
	url, stop := serve(engine.New(engine.Options{}, engine.Events{
		Open: func(s *engine.Session, r *engine.Request) {
			room := r.Query("room")
			s.SetValue(room)
			mu.Lock()
			defer mu.Unlock()
			if rooms[room] == nil {
				rooms[room] = map[*engine.Session]bool{}
			}
			rooms[room][s] = true
		},
		Message: func(s *engine.Session, m engine.Message) {
			prepared, _ := engine.Prepare(m) // encoded once for all; what came from a client is UTF-8
			mu.Lock()
			defer mu.Unlock()
			for member := range rooms[s.Value().(string)] {
				_ = member.SendPrepared(prepared) // never waits
			}
		},
		Close: func(s *engine.Session, _ engine.Reason, _ error) {
			room := s.Value().(string)
			mu.Lock()
			defer mu.Unlock()
			if delete(rooms[room], s); len(rooms[room]) == 0 {
				delete(rooms, room)
			}
		},
	}))
	defer stop()

	ada, bob, eve := join(url+"&room=red"), join(url+"&room=red"), join(url+"&room=blue")
	say(ada, "4hello, red")
	say(eve, "4hello, blue")
	fmt.Println(fetch(http.Get(ada)))
	fmt.Println(fetch(http.Get(bob)))
	fmt.Println(fetch(http.Get(eve)))
	// Output:
	// 4hello, red
	// 4hello, red
	// 4hello, blue
}

// Ids of your own, here with a prefix that tells a load balancer where the session
// lives. They must be hard to guess: whoever knows one is that client.
func ExampleOptions_generateID() {
	url, stop := serve(engine.New(engine.Options{
		GenerateID: func(*engine.Request) (string, error) { return "eu1-" + rand.Text(), nil },
	}, engine.Events{
		Open: func(s *engine.Session, _ *engine.Request) {
			_ = s.Send(engine.Message{Data: []byte(s.ID()[:4])})
		},
	}))
	defer stop()

	fmt.Println(fetch(http.Get(join(url))))
	// Output:
	// 4eu1-
}

// Responses to polls are compressed unless switched off, WebSocket messages
// when PerMessageDeflate is given.
func ExampleOptions_compression() {
	url, stop := serve(engine.New(engine.Options{
		CompressionThreshold: 512,
		PerMessageDeflate:    &engine.PerMessageDeflate{Threshold: 512},
	}, engine.Events{
		Open: func(s *engine.Session, _ *engine.Request) {
			_ = s.Send(engine.Message{Data: make([]byte, 1000)})
		},
	}))
	defer stop()

	poll := ask(http.MethodGet, join(url), "Accept-Encoding", "gzip")
	fmt.Println(poll.Header.Get("Content-Encoding"), poll.ContentLength < 1000)

	open := ask(http.MethodGet, strings.Replace(url, "polling", "websocket", 1),
		"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13",
		"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Extensions", "permessage-deflate")
	fmt.Println(open.StatusCode, open.Header.Get("Sec-WebSocket-Extensions"))
	// Output:
	// gzip true
	// 101 permessage-deflate; server_no_context_takeover; client_no_context_takeover
}

// Pages of another origin may connect by polling, with cookies.
func ExampleCORS() {
	url, stop := serve(engine.New(engine.Options{
		Access: engine.Access{CORS: &engine.CORS{Origins: []string{"https://example.com"}, Credentials: true}},
	}, engine.Events{}))
	defer stop()

	for _, origin := range []string{"https://example.com", "https://example.org"} {
		preflight := ask(http.MethodOptions, url, "Origin", origin, "Access-Control-Request-Method", "POST")
		fmt.Printf("%d %q\n", preflight.StatusCode, preflight.Header.Get("Access-Control-Allow-Origin"))
	}
	// Output:
	// 204 "https://example.com"
	// 204 ""
}

// Pages of other origins are refused unless they are listed. What is no browser
// sends no Origin.
func ExampleOptions_origins() {
	url, stop := serve(engine.New(engine.Options{
		Access: engine.Access{Origins: []string{"https://example.com"}}, // the server's public name, behind a proxy that changes Host
	}, engine.Events{}))
	defer stop()

	for _, origin := range []string{"https://example.com", "https://example.org"} {
		fmt.Println(ask(http.MethodGet, url, "Origin", origin).StatusCode)
	}
	fmt.Println(ask(http.MethodGet, url).StatusCode)
	// Output:
	// 200
	// 403
	// 200
}

// A session id alone is of no use here: each request of the session has to come
// from the same address, with the same login.
func ExampleOptions_bind() {
	login := engine.BindCookie("login")
	url, stop := serve(engine.New(engine.Options{
		Access: engine.Access{Bind: func(r *engine.Request) string { return engine.BindIP(r) + " " + login(r) }},
	}, engine.Events{
		Open: func(s *engine.Session, _ *engine.Request) { _ = s.Send(engine.Message{Data: []byte("hello")}) },
	}))
	defer stop()

	session := join(url) // without that cookie
	fmt.Println(ask(http.MethodGet, session, "Cookie", "login=ada").StatusCode)
	fmt.Println(ask(http.MethodGet, session).StatusCode)
	// Output:
	// 403
	// 200
}

// A load balancer can keep a session on its server by a cookie.
func ExampleCookie() {
	url, stop := serve(engine.New(engine.Options{
		Cookie: &engine.Cookie{Name: "sticky", Secure: true, SameSite: engine.SameSiteNone},
	}, engine.Events{}))
	defer stop()

	name, value, _ := strings.Cut(ask(http.MethodGet, url).Header.Get("Set-Cookie"), "=")
	_, attributes, _ := strings.Cut(value, "; ")
	fmt.Println(name, attributes)
	// Output:
	// sticky Path=/; HttpOnly; Secure; SameSite=None
}

// Middlewares made for net/http see every request before the server does. They
// run on the event loop: no waiting in them.
func ExampleOptions_middleware() {
	header := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Served-By", "turbine")
			next.ServeHTTP(w, r)
		})
	}
	version := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-App-Version") == "1" {
				http.Error(w, "please update", http.StatusUpgradeRequired)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	url, stop := serve(engine.New(engine.Options{
		Middleware: []func(http.Handler) http.Handler{header, version}, // the first one outermost
	}, engine.Events{}))
	defer stop()

	for _, app := range []string{"1", "2"} {
		r := ask(http.MethodGet, url, "X-App-Version", app)
		fmt.Println(r.StatusCode, r.Header.Get("X-Served-By"))
	}
	// Output:
	// 426 turbine
	// 200 turbine
}

// serve runs the server of an example on a free port; url begins a polling
// session. stop ends it without waiting for its sessions.
func serve(server *engine.Server, err error) (url string, stop func()) {
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return "http://" + listener.Addr().String() + "/engine.io/?EIO=4&transport=polling", func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(ctx)
		<-served
	}
}

// join begins a polling session and returns the URL of its polls and posts.
func join(url string) string {
	_, rest, _ := strings.Cut(fetch(http.Get(url)), `"sid":"`)
	sid, _, _ := strings.Cut(rest, `"`)
	return url + "&sid=" + sid
}

// say posts packets to a session.
func say(url, packets string) { _ = fetch(http.Post(url, "text/plain", strings.NewReader(packets))) }

// ask makes a request with header fields, given as names and values, and
// returns the head of the response.
func ask(method, url string, fields ...string) *http.Response {
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	_ = response.Body.Close()
	return response
}

// TLS on the server's own port. A client may show a certificate, and is then known by
// it. ReloadTLS reads the files again, for a signal or whatever else says that they have
// changed.
func ExampleServer_ServeTLS() {
	dir, authority, client, err := exampleCertificates()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := engine.New(engine.Options{
		TLS: &engine.TLS{
			CertFile:     filepath.Join(dir, "cert.pem"),
			KeyFile:      filepath.Join(dir, "key.pem"),
			ClientCAFile: filepath.Join(dir, "ca.pem"),
			ClientAuth:   tls.VerifyClientCertIfGiven,
		},
	}, engine.Events{
		Admit: func(a *engine.Admission) error {
			if shown := a.TLS().PeerCertificates; len(shown) > 0 {
				a.SetValue(shown[0].Subject.CommonName)
			}
			return nil
		},
		Open: func(s *engine.Session, _ *engine.Request) { fmt.Println("open:", s.Value()) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	listener, err := engine.Listen("127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener) }()

	for _, certificates := range [][]tls.Certificate{nil, {client}} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority, Certificates: certificates}}
		answer := fetch((&http.Client{Transport: transport}).Get("https://" + listener.Addr().String() + "/engine.io/?EIO=4&transport=polling"))
		fmt.Println(answer[:7])
		transport.CloseIdleConnections()
	}
	fmt.Println(server.ReloadTLS())

	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nobody polls: do not wait for them
	_ = server.Shutdown(ctx)
	fmt.Println(<-served)
	// Output:
	// open: <nil>
	// 0{"sid"
	// open: ann
	// 0{"sid"
	// <nil>
	// engine: server closed
}

// exampleCertificates makes what an authority would give: files for the server,
// and a certificate for the client ann.
func exampleCertificates() (dir string, pool *x509.CertPool, client tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", nil, client, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ann"}, IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", nil, client, err
	}
	keyText, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", nil, client, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyText})
	if dir, err = os.MkdirTemp("", "example"); err != nil {
		return "", nil, client, err
	}
	for name, text := range map[string][]byte{"cert.pem": certPEM, "key.pem": keyPEM, "ca.pem": certPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return dir, nil, client, err
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	client, err = tls.X509KeyPair(certPEM, keyPEM)
	return dir, pool, client, err
}
