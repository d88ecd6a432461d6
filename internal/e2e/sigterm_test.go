package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSIGTERMAtAnyMoment ends servers in the middle of handshakes, upgrades,
// polls and messages: the process ends with code 0 in its time, every client
// sees an end, and what has arrived has no gap. The moment depends on the seed.
func TestSIGTERMAtAnyMoment(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			// Nobody polls for some of the sessions: they, and not the drain, have little time.
			args := []string{"--addr", "127.0.0.1:0", "--drain-timeout", "30s", "--close-timeout", "1500ms", "--loops", "2"}
			if seed%2 == 1 {
				args = append(args, "--app", "broadcast")
			}
			l := &dyingLoad{t: t, server: start(t, command(context.Background(), t, args...)), moment: make(chan struct{})}
			l.endAtRandom(seed, 400, map[string]func(*dyingClient) error{
				"handshakes": (*dyingClient).shakeHands, "websocket": (*dyingClient).onWebSocket,
				"polling": (*dyingClient).onPolling, "upgrade": (*dyingClient).upgrading,
			})
			require.Empty(t, l.server.stderr.complaints())
		})
	}
}

// TestSIGTERMLosesNothing counts what the application's Send has accepted, up to
// the end, for sessions on WebSocket: their clients get all of it.
func TestSIGTERMLosesNothing(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			cmd := testapp(t)
			cmd.Args = append(cmd.Args, "30s")
			l := &dyingLoad{t: t, server: start(t, cmd), moment: make(chan struct{}), admitted: "&token=secret"}
			l.endAtRandom(seed, 3000, map[string]func(*dyingClient) error{"websocket": (*dyingClient).onWebSocket})
			_, accepted, _ := strings.Cut(l.server.stdout.String(), "testapp: accepted ")
			n, err := strconv.ParseInt(strings.TrimSpace(accepted), 10, 64)
			require.NoError(t, err)
			require.NotZero(t, n)
			require.Equal(t, n, l.born.Load(), "messages that arrived on WebSocket")
		})
	}
}

// complaints are the lines about errors.
func (o *output) complaints() (lines []string) {
	for line := range strings.Lines(o.String()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			lines = append(lines, line)
		}
	}
	return lines
}

// dyingLoad is some clients of a server that is about to end.
type dyingLoad struct {
	t        *testing.T
	server   *server
	admitted string // what the query of a handshake needs

	events atomic.Int64 // what has happened: handshakes, messages, upgrades
	born   atomic.Int64 // messages that arrived at sessions that began on WebSocket
	last   int64        // the event at which the moment has come
	moment chan struct{}
	once   sync.Once
}

// endAtRandom sends SIGTERM at one of the first most events and waits until all
// is over. There are some clients of each kind.
func (l *dyingLoad) endAtRandom(seed uint64, most int64, kinds map[string]func(*dyingClient) error) {
	l.last = 1 + rand.New(rand.NewPCG(seed, 1)).Int64N(most)
	var clients sync.WaitGroup
	for name, live := range kinds {
		for i := range 4 {
			clients.Go(func() {
				c := &dyingClient{load: l, name: fmt.Sprintf("%s%d", name, i), seen: map[string]int{}}
				defer c.hangUp()
				if err := live(c); err != nil {
					l.t.Errorf("%s: %v", c.name, err)
				}
			})
		}
	}
	select {
	case <-l.moment:
	case <-time.After(3 * patience):
		l.t.Error("the moment does not come")
	}
	l.server.stop(l.t) // by one SIGTERM: a second one would end it at once
	clients.Wait()
}

// happened counts an event.
func (l *dyingLoad) happened() {
	if l.events.Add(1) == l.last {
		l.once.Do(func() { close(l.moment) })
	}
}

// dyingClient is one client. The end of the server ends whatever it does; only
// what the server does wrong is an error.
type dyingClient struct {
	load *dyingLoad
	name string
	conn net.Conn
	r    *bufio.Reader
	sid  string
	sent int
	seen map[string]int // by sender: the number of its next message, after the first
}

// errGone is the end that a client may see: of its session, or of the server.
var errGone = errors.New("over")

func over(err error) error {
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

func (c *dyingClient) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// dial ends the client when the server does not take connections any more.
func (c *dyingClient) dial() error {
	c.hangUp()
	conn, err := net.DialTimeout("tcp", c.load.server.addr, patience)
	if err != nil {
		return errGone
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
	return conn.SetDeadline(time.Now().Add(3 * patience))
}

// ask sends a request and returns the response. A connection that ends instead
// is the end.
func (c *dyingClient) ask(request string) (*http.Response, []byte, error) {
	if _, err := io.WriteString(c.conn, request); err != nil {
		return nil, nil, errGone
	}
	response, err := http.ReadResponse(c.r, &http.Request{Method: request[:strings.IndexByte(request, ' ')]})
	if err != nil {
		return nil, nil, c.lost(err)
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response, nil, nil
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("a response is cut: %w", err)
	}
	return response, body, nil
}

// lost tells an end from a silence.
func (c *dyingClient) lost(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("the server neither answers nor ends")
	}
	return errGone
}

func (c *dyingClient) query(transport string) string {
	return "EIO=4&transport=" + transport + "&sid=" + c.sid
}

// handshake opens a session by polling.
func (c *dyingClient) handshake() error {
	if err := c.dial(); err != nil {
		return err
	}
	s := c.load.server
	response, body, err := c.ask(s.getRequest("EIO=4&transport=polling" + c.load.admitted))
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusServiceUnavailable {
		return errGone
	}
	_, rest, found := strings.Cut(string(body), `"sid":"`)
	if response.StatusCode != http.StatusOK || !found {
		return fmt.Errorf("handshake: %d %q", response.StatusCode, body)
	}
	c.sid, _, _ = strings.Cut(rest, `"`)
	c.load.happened()
	return nil
}

func (c *dyingClient) shakeHands() error {
	for range 100_000 {
		if err := c.handshake(); err != nil {
			return over(err)
		}
	}
	return nil
}

func (c *dyingClient) next() string {
	message := fmt.Sprintf("4%s %d", c.name, c.sent)
	c.sent++
	return message
}

// arrived takes a message, which must be the sender's next one.
func (c *dyingClient) arrived(message string) error {
	sender, digits, _ := strings.Cut(message, " ")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return fmt.Errorf("not a message: %q", message)
	}
	next, known := c.seen[sender]
	if sender == c.name {
		known = true // it has heard all of its own
	}
	if known && n != next {
		return fmt.Errorf("message %d of %s where %d was due", n, sender, next)
	}
	c.seen[sender] = n + 1
	c.load.happened()
	return nil
}

func (c *dyingClient) onPolling() error {
	if err := c.handshake(); err != nil {
		return over(err)
	}
	s := c.load.server
	for range 100_000 {
		response, body, err := c.ask(s.postRequest(c.query("polling"), c.next()))
		if err != nil {
			return over(err)
		}
		if response.StatusCode != http.StatusOK {
			return c.gone(response, body)
		}
		if err := c.poll(); err != nil {
			return over(err)
		}
	}
	return nil
}

// poll polls once.
func (c *dyingClient) poll() error {
	response, body, err := c.ask(c.load.server.getRequest(c.query("polling")))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		if err := c.gone(response, body); err != nil {
			return err
		}
		return errGone
	}
	for packet := range strings.SplitSeq(string(body), "\x1e") {
		switch {
		case packet == "1":
			return errGone
		case strings.HasPrefix(packet, "4"):
			if err := c.arrived(packet[1:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// gone checks a refusal: only of a session that is over, which none is before
// the moment. A WebSocket is refused in words.
func (c *dyingClient) gone(response *http.Response, body []byte) error {
	unknown := bytes.Contains(body, []byte(`"code":1`)) || string(body) == "Session ID unknown"
	if response.StatusCode != http.StatusServiceUnavailable && !unknown {
		return fmt.Errorf("refused: %d %q", response.StatusCode, body)
	}
	select {
	case <-c.load.moment:
		return nil
	default:
		return fmt.Errorf("refused before the end: %d %q", response.StatusCode, body)
	}
}

func (c *dyingClient) onWebSocket() error {
	if err := c.dial(); err != nil {
		return over(err)
	}
	response, body, err := c.ask(c.load.server.upgradeRequest("EIO=4&transport=websocket" + c.load.admitted))
	if err != nil {
		return over(err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return c.gone(response, body)
	}
	c.load.happened()
	return over(c.talk(&c.load.born))
}

func (c *dyingClient) upgrading() error {
	if err := c.handshake(); err != nil {
		return over(err)
	}
	polling, r := c.conn, c.r
	c.conn = nil
	defer polling.Close()
	if err := c.dial(); err != nil {
		return over(err)
	}
	response, body, err := c.ask(c.load.server.upgradeRequest(c.query("websocket")))
	if err != nil {
		return over(err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return c.gone(response, body)
	}
	_, _ = io.WriteString(c.conn, masked(fin|text, "2probe"))
	switch packet, err := c.frame(); {
	case err != nil:
		return over(err)
	case packet != "3probe":
		return fmt.Errorf("answer to the probe: %q", packet)
	}
	_, _ = io.WriteString(polling, c.load.server.getRequest(c.query("polling"))) // ended by a noop
	if _, err := http.ReadResponse(r, nil); err != nil {
		return over(c.lost(err))
	}
	_, _ = io.WriteString(c.conn, masked(fin|text, "5"))
	c.load.happened()
	return over(c.talk(new(atomic.Int64)))
}

// talk sends messages on the WebSocket, some ahead, until it is closed.
func (c *dyingClient) talk(count *atomic.Int64) error {
	const ahead = 5
	for range ahead {
		_, _ = io.WriteString(c.conn, masked(fin|text, c.next()))
	}
	for range 1_000_000 {
		packet, err := c.frame()
		if err != nil {
			return err
		}
		if !strings.HasPrefix(packet, "4") {
			continue
		}
		count.Add(1)
		if err := c.arrived(packet[1:]); err != nil {
			return err
		}
		if strings.HasPrefix(packet[1:], c.name) {
			_, _ = io.WriteString(c.conn, masked(fin|text, c.next())) // the end shows when reading
		}
	}
	return nil
}

// frame reads one text frame. A close frame is the end, as is nothing else: a
// WebSocket that was opened is closed properly.
func (c *dyingClient) frame() (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return "", fmt.Errorf("no close frame: %w", err)
	}
	size := uint64(head[1])
	if size == 126 {
		var length [2]byte
		if _, err := io.ReadFull(c.r, length[:]); err != nil {
			return "", fmt.Errorf("a frame is cut: %w", err)
		}
		size = uint64(binary.BigEndian.Uint16(length[:]))
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return "", fmt.Errorf("a frame is cut: %w", err)
	}
	switch head[0] {
	case fin | text:
		return string(payload), nil
	case fin | closing:
		return "", errGone
	}
	return "", fmt.Errorf("frame %#x", head[0])
}
