package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A caller is one client behind the proxy. It may not use testing.T, because
// many run at once.
type caller struct {
	p      *proxy
	cookie string
	conn   net.Conn
	r      *bufio.Reader
	sid    string
	last   reply
}

func (p *proxy) caller(cookie string) *caller { return &caller{p: p, cookie: cookie} }

func (c *caller) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *caller) write(text string) error {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.p.addr, patience)
		if err != nil {
			return err
		}
		c.conn, c.r = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	_, err := io.WriteString(c.conn, text)
	return err
}

// head is a request without the empty line behind its fields.
func (c *caller) head(method, query string) string {
	return c.p.head(method, query) + "Cookie: " + c.cookie + "\r\n"
}

func (c *caller) read(method string) (status int, body string, err error) {
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err
	}
	c.last = reply{resp.StatusCode, resp.Header, string(b), resp.Close}
	if resp.Close {
		c.hangUp()
	}
	return resp.StatusCode, string(b), nil
}

func (c *caller) request(method, query, body string) (status int, answer string, err error) {
	text := c.head(method, query)
	if method == "POST" {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if err := c.write(text + "\r\n" + body); err != nil {
		return 0, "", err
	}
	return c.read(method)
}

// expect checks what the last request was answered with.
func expect(wantStatus int, wantBody string) func(status int, body string, err error) error {
	return func(status int, body string, err error) error {
		if err != nil {
			return fmt.Errorf("instead of %d %.60q: %w", wantStatus, wantBody, err)
		}
		if status != wantStatus || body != wantBody {
			return fmt.Errorf("%d %.200q, want %d %.200q", status, body, wantStatus, wantBody)
		}
		return nil
	}
}

// open begins a session, unless there is one.
func (c *caller) open() error {
	if c.sid != "" {
		return nil
	}
	status, body, err := c.request("GET", "EIO=4&transport=polling", "")
	if err != nil {
		return err
	}
	_, rest, ok := strings.Cut(body, `"sid":"`)
	if status != 200 || !ok {
		return fmt.Errorf("handshake: %d %q", status, body)
	}
	c.sid, _, _ = strings.Cut(rest, `"`)
	return nil
}

func (c *caller) query() string { return "EIO=4&transport=polling&sid=" + c.sid }

// echo posts a text and polls it.
func (c *caller) echo(text string) error {
	if err := c.open(); err != nil {
		return err
	}
	if err := expect(200, "ok")(c.request("POST", c.query(), "4"+text)); err != nil {
		return fmt.Errorf("post: %w", err)
	}
	return c.polls("4" + text)
}

func (c *caller) polls(payload string) error {
	if err := expect(200, payload)(c.request("GET", c.query(), "")); err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}

// marked makes a handshake whose answer bears a number.
func (c *caller) marked(n int) error {
	status, body, err := c.request("GET", fmt.Sprintf("EIO=4&transport=polling&j=%d", n), "")
	if err != nil {
		return err
	}
	if mark := fmt.Sprintf("___eio[%d](", n); status != 200 || !strings.HasPrefix(body, mark) {
		return fmt.Errorf("%d %.100q, want %s", status, body, mark)
	}
	return nil
}

// habits are what the clients do, round for round. Each ends with something
// whose answer is nobody else's.
var habits = []struct {
	name string
	do   func(c *caller, text string) error
}{
	{"posts and polls", func(c *caller, text string) error {
		return c.echo(text + strings.Repeat(" long", 10*len(text)*len(text)))
	}},
	{"pipelines", func(c *caller, text string) error {
		if err := c.open(); err != nil {
			return err
		}
		post := func(body string) string {
			return c.head("POST", c.query()) + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
		}
		if err := c.write(post("4"+text+" a") + post("4"+text+" b") + c.head("GET", c.query()) + "\r\n"); err != nil {
			return err
		}
		return errors.Join(expect(200, "ok")(c.read("POST")), expect(200, "ok")(c.read("POST")),
			expect(200, "4"+text+" a\x1e4"+text+" b")(c.read("GET")))
	}},
	{"posts slowly", func(c *caller, text string) error {
		if err := c.open(); err != nil {
			return err
		}
		other := c.p.caller(c.cookie)
		defer other.hangUp()
		body := "4" + text
		if err := c.write(c.head("POST", c.query()) + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))); err != nil {
			return err
		}
		for i, piece := range []string{body[:1], body[1:5], body[5:]} {
			if err := other.echo(fmt.Sprintf("%s meanwhile %d", text, i)); err != nil {
				return err
			}
			if err := c.write(piece); err != nil {
				return err
			}
		}
		if err := expect(200, "ok")(c.read("POST")); err != nil {
			return err
		}
		return c.polls(body)
	}},
	{"posts chunks slowly", func(c *caller, text string) error {
		if err := c.open(); err != nil {
			return err
		}
		other := c.p.caller(c.cookie)
		defer other.hangUp()
		if err := c.write(c.head("POST", c.query()) + "Transfer-Encoding: chunked\r\n\r\n"); err != nil {
			return err
		}
		for i, piece := range []string{"1\r\n4\r\n", fmt.Sprintf("%x;a=b\r\n", len(text)), text + "\r\n0\r\nX: y\r\n\r\n"} {
			if err := other.echo(fmt.Sprintf("%s meanwhile %d", text, i)); err != nil {
				return err
			}
			if err := c.write(piece); err != nil {
				return err
			}
		}
		if err := expect(200, "ok")(c.read("POST")); err != nil {
			return err
		}
		return c.polls("4" + text)
	}},
	{"asks for heads", func(c *caller, text string) error {
		if err := expect(400, "")(c.request("HEAD", "EIO=4&transport=polling", "")); err != nil {
			return err
		}
		return c.marked(len(text) + 100*int(text[len(text)-1]))
	}},
	{"leaves in the middle of a post", func(c *caller, text string) error {
		if err := c.open(); err != nil {
			return err
		}
		if err := c.write(c.head("POST", c.query()) + "Content-Length: 1000\r\n\r\n4half"); err != nil {
			return err
		}
		c.hangUp()
		c.sid = ""
		return c.echo(text)
	}},
	{"leaves in the middle of a poll", func(c *caller, text string) error {
		if err := c.open(); err != nil {
			return err
		}
		if err := c.write(c.head("GET", c.query()) + "\r\n"); err != nil {
			return err
		}
		c.hangUp()
		c.sid = ""
		return c.echo(text)
	}},
	{"posts too much", func(c *caller, text string) error {
		if err := c.echo(text); err != nil {
			return err
		}
		if err := c.write(c.head("POST", c.query()) + "Transfer-Encoding: chunked\r\n\r\n" + "f4240\r\n"); err != nil {
			return err
		}
		conn := c.conn
		var sent sync.WaitGroup
		sent.Go(func() { _, _ = io.WriteString(conn, strings.Repeat("4", 1_000_000)+"\r\n1\r\n4\r\n0\r\n\r\n") })
		status, _, err := c.read("POST")
		c.hangUp()
		conn.Close()
		sent.Wait()
		if err != nil || status != 413 {
			return fmt.Errorf("too large a post: %d %w", status, err)
		}
		c.sid = "" // a proxy that has passed on a part of it has ended the session
		return c.echo(text + " and goes on")
	}},
	{"posts what is no packet", func(c *caller, text string) error {
		if err := c.open(); err != nil {
			return err
		}
		if err := expect(400, "")(c.request("POST", c.query(), "?"+text)); err != nil {
			return err
		}
		c.sid = ""
		if err := expect(400, `{"code":0,"message":"Transport unknown"}`)(c.request("GET", "EIO=4&transport=carrier-pigeon", "")); err != nil {
			return err
		}
		return c.echo(text)
	}},
	{"is refused in the middle of others", func(c *caller, text string) error {
		if err := c.echo(text + " before"); err != nil {
			return err
		}
		if err := c.write(c.head("POST", c.query()) + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n4ab"); err != nil {
			return err
		}
		if status, _, err := c.read("POST"); err != nil || status != 400 {
			return fmt.Errorf("two lengths: %d %w", status, err)
		}
		c.hangUp()
		return c.echo(text + " behind")
	}},
	{"speaks WebSocket", func(c *caller, text string) error {
		c.hangUp()
		if err := c.write(c.head("GET", "EIO=4&transport=websocket") + wsHeaders + "\r\n" + masked(fin|0x1, "4"+text)); err != nil {
			return err
		}
		defer c.hangUp()
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.StatusCode != 101 {
			return fmt.Errorf("no WebSocket: %v %w", resp, err)
		}
		for {
			var head [2]byte
			if _, err := io.ReadFull(c.r, head[:]); err != nil {
				return err
			}
			frame := make([]byte, head[1]) // the open packet and the echo are short
			if _, err := io.ReadFull(c.r, frame); err != nil {
				return err
			}
			if strings.HasPrefix(string(frame), "0{") {
				continue
			}
			if want := "4" + text; string(frame) != want {
				return fmt.Errorf("frame %q, want %q", frame, want)
			}
			return nil
		}
	}},
}
