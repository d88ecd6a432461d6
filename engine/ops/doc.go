// Package ops is the operator's side of a server: its health, its figures, for
// Prometheus too, its settings, its end and a status page, as one http.Handler. It opens
// no port, and costs nothing where it is not used.
//
//	handler, err := ops.New(ops.Options{Server: server, Version: "1.2.3"})
//	if err != nil {
//		return err
//	}
//	l, err := net.Listen("tcp", "127.0.0.1:3001")
//	if err != nil {
//		return err
//	}
//	return ops.NewServer(handler).Serve(l, nil)
//
// It belongs on an address of its own, never on that of the clients. Without Keys and
// without Certificates a request is answered only if it comes over the loopback
// interface or a Unix socket. A page in a browser cannot use the Handler in either
// case, except a page of its own.
//
// Each route needs a Scope, and the table in routes.go has all of them; only the status
// page, under / and /page/, needs none, and asks /v1 for what it shows. Where
// something is wrong the answer is a problem+json of RFC 9457, whose detail says what
// to do. No answer has a session's id, a key, or an error of the application.
package ops
