// Package e2e tests the turbine binary from outside: it builds it, starts it
// on a free port and talks to it over real sockets. It imports nothing of the
// project but a table of requests and what makes certificates, so that it sees
// only what a peer sees.
//
//   - clients_test.go runs the official Engine.IO clients of three generations,
//     installed in clients/ by a lock file (`make setup`).
//   - unclean_test.go, frames_test.go, upgrade_test.go and cut_test.go send by
//     hand what no proper client sends, and check what the protocol text says
//     the sender gets; each ends with a session that is served as before.
//   - heartbeat_test.go does what a client does, or not, when it is pinged.
//   - features_test.go runs the clients again with compression, cookies, CORS,
//     an initial packet, admission (testapp) and another path, and JSONP by hand.
//   - browser_test.go has a real browser load a page from another origin; see
//     browser/.
//   - proxied_test.go, habits_test.go and smuggling_test.go put nginx and haproxy
//     in front of two instances, with the recipes of docs/deploy.md: the clients
//     again, many on shared connections, and the table of internal/requests.
//     proxied_address_test.go adds Caddy, the PROXY protocol and Unix sockets, and
//     looks whether the server knows its clients' addresses.
//   - faults_test.go and sigterm_test.go take from the process what it needs:
//     descriptors, memory, its logs, its time, and its life.
//   - autobahn_test.go has the Autobahn|Testsuite fuzz the WebSocket echo of
//     target, the code of the WebSocket transport; see autobahn/.
//   - mountings_test.go runs the clients again with TLS, inside net/http, and with an
//     Executor.
//   - mounts_test.go runs the tests of mounts/, a module of its own, where the
//     server is a route of gin, chi and echo.
//   - binary_test.go and signals_test.go check the command line, the environment and
//     the signals.
//   - drain_test.go shuts a server down (feeder) under a crowd of 5,000 sessions and
//     some of the official clients, and counts their messages.
//   - restart_test.go replaces the process under clients that connect without
//     pause; listen_test.go has it on several addresses and Unix sockets.
//   - tls_test.go has it speak TLS, with certificates that change.
//
// The binary is built with the tags and the race detector of the test run:
// `go test -race -tags invariants ./internal/e2e` tests such a binary.
//
// TURBINE_E2E_URL=http://127.0.0.1:3000 tests a server that already runs
// instead. It has to echo, accept both revisions and have default options.
// Tests that need other options, and those of the few places where turbine is
// deliberately stricter than the reference server, are then skipped. Run it with
// -count=1: the go command does not see when such a server has changed.
package e2e
