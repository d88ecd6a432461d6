package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The kinds of a crowd's members.
const (
	overWebSocket = iota
	overPolling   // on one kept-alive connection
	overMany      // polling with a connection for each request
	afterUpgrade  // polling, then WebSocket
	crowdKinds
)

var crowdNames = [crowdKinds]string{"websocket", "polling, kept alive", "polling, a connection each", "upgraded"}

// crowdPatience is for one answer, on a machine that has other things to do.
const crowdPatience = 60 * time.Second

// A member is one session of a crowd: it counts what the server sends, which has
// to be numbered from 0, until the server closes it.
type member struct {
	addr     string
	kind     int
	sid      string
	received int
	err      error // what was not in order
	conn     net.Conn
	r        *bufio.Reader
}

// crowd opens n sessions of all kinds, some at a time, and lets each read until
// its end. opened counts those that have got their first message.
type crowd struct {
	members []*member
	opened  atomic.Int64
	wait    sync.WaitGroup
}

func newCrowd(addr string, n int) *crowd {
	c := &crowd{}
	opening := make(chan struct{}, 64)
	for i := range n {
		m := &member{addr: addr, kind: i % crowdKinds}
		c.members = append(c.members, m)
		c.wait.Go(func() {
			opening <- struct{}{}
			err := m.open()
			<-opening
			if err == nil {
				err = m.follow(func() { c.opened.Add(1) })
			}
			m.hangUp()
			m.err = err
		})
	}
	return c
}

func (m *member) dial() (err error) {
	m.hangUp()
	if m.conn, err = net.DialTimeout("tcp", m.addr, crowdPatience); err != nil {
		return err
	}
	m.r = bufio.NewReaderSize(m.conn, 1024)
	return nil
}

func (m *member) hangUp() {
	if m.conn != nil {
		_ = m.conn.Close()
		m.conn = nil
	}
}

func (m *member) write(text string) error {
	if err := m.conn.SetDeadline(time.Now().Add(crowdPatience)); err != nil {
		return err
	}
	_, err := io.WriteString(m.conn, text)
	return err
}

func (m *member) get(query string) (status int, body string, err error) {
	return m.request("GET", query, "")
}

// request makes one request as its kind does.
func (m *member) request(method, query, data string) (status int, body string, err error) {
	more := ""
	if m.kind == overMany {
		more = "Connection: close\r\n"
	}
	if m.conn == nil || m.kind == overMany {
		if err := m.dial(); err != nil {
			return 0, "", err
		}
	}
	if data != "" {
		more += fmt.Sprintf("Content-Length: %d\r\n", len(data))
	}
	if err := m.write(method + " /engine.io/?" + query + " HTTP/1.1\r\nHost: x\r\n" + more + "\r\n" + data); err != nil {
		return 0, "", err
	}
	r, err := http.ReadResponse(m.r, nil)
	if err != nil {
		return 0, "", err
	}
	p, err := io.ReadAll(r.Body)
	return r.StatusCode, string(p), err
}

func (m *member) open() error {
	if m.kind == overWebSocket {
		if err := m.switchOver("EIO=4&transport=websocket"); err != nil {
			return err
		}
		_, data, err := readFrame(m.r)
		if err != nil {
			return err
		}
		return m.opens(data)
	}
	status, body, err := m.get("EIO=4&transport=polling")
	if err != nil || status != 200 {
		return fmt.Errorf("handshake: %d %q %w", status, body, err)
	}
	if err := m.opens(body); err != nil || m.kind != afterUpgrade {
		return err
	}
	if err := m.switchOver("EIO=4&transport=websocket&sid=" + m.sid); err != nil {
		return err
	}
	if err := m.write(masked(fin|text, "2probe")); err != nil {
		return err
	}
	if _, data, err := readFrame(m.r); err != nil || data != "3probe" {
		return fmt.Errorf("probe: %q %w", data, err)
	}
	return m.write(masked(fin|text, "5"))
}

func (m *member) switchOver(query string) error {
	if err := m.dial(); err != nil {
		return err
	}
	if err := m.write("GET /engine.io/?" + query + " HTTP/1.1\r\nHost: x\r\n" + wsHeaders + "\r\n"); err != nil {
		return err
	}
	r, err := http.ReadResponse(m.r, nil)
	if err == nil && r.StatusCode != 101 {
		err = errors.New(r.Status)
	}
	return err
}

func (m *member) opens(packet string) error {
	var o open
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "0")), &o); err != nil {
		return fmt.Errorf("%w: %q", err, packet)
	}
	m.sid = o.Sid
	return nil
}

var errOver = errors.New("closed in good order")

// follow reads until the server closes the session; nil says that it did.
func (m *member) follow(first func()) error {
	for {
		before := m.received
		err := m.next()
		if before == 0 && m.received > 0 {
			first()
		}
		if err != nil {
			if err == errOver {
				return nil
			}
			return err
		}
	}
}

// next takes one frame or the answer to one poll.
func (m *member) next() error {
	if m.kind == overPolling || m.kind == overMany {
		status, body, err := m.get("EIO=4&transport=polling&sid=" + m.sid)
		if err != nil || status != 200 {
			return fmt.Errorf("poll: %d %q %w", status, body, err)
		}
		for packet := range strings.SplitSeq(body, "\x1e") {
			if err := m.packet(packet); err != nil {
				return err
			}
		}
		return nil
	}
	if err := m.conn.SetDeadline(time.Now().Add(crowdPatience)); err != nil {
		return err
	}
	head, data, err := readFrame(m.r)
	switch {
	case err != nil:
		return err
	case head == fin|closing:
		_ = m.write(masked(fin|closing, data))
		return errOver
	}
	return m.packet(data)
}

func (m *member) packet(packet string) error {
	switch {
	case packet == "1":
		return errOver
	case packet == "2":
		return m.send("3")
	case packet == "6":
		return nil
	case !strings.HasPrefix(packet, fmt.Sprintf("4%d ", m.received)):
		return fmt.Errorf("message %d expected, got %.40q", m.received, packet)
	}
	m.received++
	return nil
}

// send sends a packet as its kind does.
func (m *member) send(packet string) error {
	if m.kind != overPolling && m.kind != overMany {
		return m.write(masked(fin|text, packet))
	}
	status, body, err := m.request("POST", "EIO=4&transport=polling&sid="+m.sid, packet)
	if err == nil && status != 200 {
		err = fmt.Errorf("post: %d %q", status, body)
	}
	return err
}

// readFrame reads one frame of the server.
func readFrame(r *bufio.Reader) (head byte, payload string, err error) {
	var b [2]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, "", err
	}
	size := int(b[1])
	switch {
	case size == 126:
		var long [2]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return 0, "", err
		}
		size = int(long[0])<<8 | int(long[1])
	case size > 126:
		return 0, "", fmt.Errorf("a long or masked frame: %#x", b)
	}
	data := make([]byte, size)
	_, err = io.ReadFull(r, data)
	return b[0], string(data), err
}
