package engine

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// serveWith serves on a socket of its own.
func serveWith(t *testing.T, o Options, e Events) (server *Server, address string, ended chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, ended = serveOn(t, o, e, listener)
	return server, listener.Addr().String(), ended
}

// serveOn serves on listener; ended has what Serve returns.
func serveOn(t *testing.T, o Options, e Events, listener net.Listener) (server *Server, ended chan error) {
	t.Helper()
	server, err := New(o, e)
	require.NoError(t, err)
	ended = make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	return server, ended
}

// wire is a client's connection on a real socket.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dialWire(t *testing.T, address string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = conn.Close() })
	return &wire{t, conn, bufio.NewReader(conn)}
}

func (w *wire) request(query string, headers ...string) *http.Response {
	w.t.Helper()
	_, err := w.conn.Write(request{method: "GET", target: "/engine.io/?" + query, headers: headers}.bytes())
	require.NoError(w.t, err)
	r, err := http.ReadResponse(w.in, nil)
	require.NoError(w.t, err)
	return r
}

func (w *wire) open() (sid string) {
	w.t.Helper()
	r := w.request("EIO=4&transport=polling")
	text, err := io.ReadAll(r.Body)
	require.NoError(w.t, err)
	_, sid, _ = strings.Cut(string(text), `"sid":"`)
	return sid[:sidLength]
}

// post sends one payload, and waits for the answer.
func (w *wire) post(sid, body string) string {
	w.t.Helper()
	_, err := w.conn.Write(request{
		method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + sid, body: body, length: true,
	}.bytes())
	require.NoError(w.t, err)
	r, err := http.ReadResponse(w.in, nil)
	require.NoError(w.t, err)
	answer, err := io.ReadAll(r.Body)
	require.NoError(w.t, err)
	return string(answer)
}

func (w *wire) get(target string) *http.Response {
	w.t.Helper()
	_, err := w.conn.Write(request{method: "GET", target: target}.bytes())
	require.NoError(w.t, err)
	r, err := http.ReadResponse(w.in, nil)
	require.NoError(w.t, err)
	body, err := io.ReadAll(r.Body)
	require.NoError(w.t, err)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

// websocket opens a session on the wire.
func (w *wire) websocket() {
	w.t.Helper()
	require.Equal(w.t, 101, w.request("EIO=4&transport=websocket", upgradeHeaders...).StatusCode)
	require.Equal(w.t, "0", w.text()[:1])
}

// write sends a text message over the WebSocket.
func (w *wire) write(text string) error {
	_, err := w.conn.Write(wsframe.AppendMaskedFrame(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte(text)))
	return err
}

// readFrame reads one frame, of a server that is ours.
func readFrame(in io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(in); err == nil {
		f.Payload = make([]byte, f.Header.Length)
		_, err = io.ReadFull(in, f.Payload)
	}
	return f, err
}

// text is the next message of the WebSocket, "" at its end.
func (w *wire) text() string {
	f, err := readFrame(w.in)
	if err != nil || f.Header.OpCode == ws.OpClose {
		return ""
	}
	return string(f.Payload)
}

// hangUp ends the connection, so that nobody waits for its end.
func (w *wire) hangUp() { _ = w.conn.Close() }
