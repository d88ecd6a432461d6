package engine

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// A tag marks what belongs to one client: all that it sends, and all that is
// sent to its session, consists of it. So a byte of somebody else's, or of a
// buffer that was given back, which the tag invariants overwrites, is seen.
type tag string

func newTag(i int) tag { return tag(fmt.Sprintf("(%03d)", i)) }

// fill is n times the tag.
func (g tag) fill(n int) string { return strings.Repeat(string(g), n) }

// owns reports whether text is the tag, over and over.
func (g tag) owns(text []byte) bool {
	return len(text)%len(g) == 0 && bytes.Count(text, []byte(g)) == len(text)/len(g)
}

// origin is one that isolationOptions let in.
func (g tag) origin() string { return "https://client-" + string(g[1:4]) + ".example" }

// lines are the fields of a request of its: what responses repeat.
func (g tag) lines(more ...string) []string {
	return append([]string{"Origin: " + g.origin(), "X-Tag: " + g.fill(1+len(more)), "Access-Control-Request-Headers: x-" + string(g[1:4])}, more...)
}

func isolationOptions() Options {
	return Options{
		Access:               Access{CORS: &CORS{Patterns: []*regexp.Regexp{regexp.MustCompile(`^https://client-\d+\.example$`)}, Credentials: true}},
		Cookie:               &Cookie{EveryResponse: true},
		CompressionThreshold: 400,
		PerMessageDeflate:    &PerMessageDeflate{Threshold: 400},
		MaxPayload:           100_000,
		Queue:                Queue{MaxBytes: 1 << 20},
	}
}

// isolationEvents echo, hold what comes against the tag of the handshake, and
// put the request's tag into the response. fail may be called on any loop.
func isolationEvents(e *Events, fail func(format string, args ...any)) {
	open := e.Open
	e.Open = func(s *Session, r *Request) {
		if open != nil {
			open(s, r)
		}
		s.SetValue(tag(r.Query("tag")))
	}
	e.Message = func(s *Session, m Message) {
		if g := s.Value().(tag); !g.owns(m.Data) {
			fail("%s got %.200q", g, m.Data)
		}
		_ = s.Send(m) // it may be over
	}
	e.Headers = func(r *Request, h http.Header) { h.Set("X-Tag", r.Header("X-Tag")) }
}

// A sought is a response that a client waits for.
type sought struct {
	tag    tag
	method string
	x      string // X-Tag of its request
	what   string // for messages
}

var (
	foreignTag = regexp.MustCompile(`\(\d*\)?|client-\d+`)
	plainHead  = regexp.MustCompile(`^HTTP/1\.1 \d{3} [A-Za-z ]*(\r\n[A-Za-z-]+: [ -~]*)*$`)
	plainBody  = regexp.MustCompile(`^(ok|\{"code":\d,"message":"[A-Za-z ]+"\}|Service Unavailable|Session ID unknown|Bad request)?$`)
)

// whole returns the response at the front of in, taken apart, and its length: 0
// while it is not complete.
func whole(in []byte, method string) (head string, fields http.Header, body []byte, n int) {
	end := bytes.Index(in, []byte("\r\n\r\n"))
	if end < 0 {
		return "", nil, nil, 0
	}
	head, n = string(in[:end]), end+4
	fields = http.Header{}
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, value, _ := strings.Cut(line, ": ")
		fields.Add(name, value)
	}
	length, _ := strconv.Atoi(fields.Get("Content-Length"))
	if method == "HEAD" || head[9:12] == "204" || head[9:12] == "101" {
		length = 0
	}
	if len(in) < n+length {
		return "", nil, nil, 0
	}
	return head, fields, in[n : n+length], n + length
}

// check says what is wrong with a response: anything in it that its request and
// its session did not put there.
func (w sought) check(t *testing.T, head string, fields http.Header, body []byte) error {
	g, status := w.tag, head[9:12]
	if !plainHead.MatchString(head) {
		return fmt.Errorf("%s %s: head %q", g, w.what, head)
	}
	for _, found := range foreignTag.FindAllString(head, -1) {
		if found != string(g) && found != "client-"+string(g[1:4]) {
			return fmt.Errorf("%s %s: %q in head %q", g, w.what, found, head)
		}
	}
	wanted := map[string]string{"Access-Control-Allow-Origin": g.origin()}
	switch {
	case w.what == "evil", w.what == "malformed":
		wanted["Access-Control-Allow-Origin"] = ""
	case w.method == "OPTIONS":
		wanted["Access-Control-Allow-Headers"] = "x-" + string(g[1:4])
	case status == "200" || status == "101":
		wanted["X-Tag"] = w.x
	}
	for name, value := range wanted {
		if fields.Get(name) != value {
			return fmt.Errorf("%s %s: no %s: %s in head %q", g, w.what, name, value, head)
		}
	}
	switch fields.Get("Content-Encoding") {
	case "gzip":
		body = decode(t, encodingGzip, body)
	case "deflate":
		body = decode(t, encodingDeflate, body)
	}
	return w.checkBody(body)
}

func (w sought) checkBody(body []byte) error {
	text := string(body)
	if script, ok := strings.CutPrefix(text, "___eio["+string(w.tag[1:4])+"]("); ok {
		script, ok = strings.CutSuffix(script, ");")
		if !ok || json.Unmarshal([]byte(script), &text) != nil {
			return fmt.Errorf("%s %s: script %.200q", w.tag, w.what, body)
		}
	}
	if plainBody.MatchString(text) {
		return nil
	}
	for packet := range strings.SplitSeq(text, "\x1e") {
		if err := w.tag.checkPacket(packet); err != nil {
			return fmt.Errorf("%s: %w", w.what, err)
		}
	}
	return nil
}

// checkPacket is for one from the server, on either transport.
func (g tag) checkPacket(p string) error {
	switch {
	case p == "1", p == "2", p == "6", p == "3probe":
		return nil
	case strings.HasPrefix(p, "0"):
		var open struct{ SID string }
		if err := json.Unmarshal([]byte(p[1:]), &open); err != nil || len(open.SID) != sidLength {
			return fmt.Errorf("%s: open packet %.200q", g, p)
		}
		return nil
	case strings.HasPrefix(p, "4") && g.owns([]byte(p[1:])):
		return nil
	case strings.HasPrefix(p, "b"):
		if data, err := base64.StdEncoding.DecodeString(p[1:]); err == nil && g.owns(data) {
			return nil
		}
	}
	return fmt.Errorf("%s: packet %.200q", g, p)
}

// checkFrames takes the frames at the front of in and returns what is left.
func (g tag) checkFrames(t *testing.T, in []byte) (rest []byte, err error) {
	for {
		h, n, err := wsframe.ParseHeader(in)
		if errors.Is(err, wsframe.ErrIncomplete) || err == nil && len(in) < n+int(h.Length) {
			return in, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: frame %.100q: %w", g, in, err)
		}
		payload := string(in[n : n+int(h.Length)])
		if h.Rsv == 0x4 {
			payload = (&unpacker{}).unpack(t, []byte(payload))
		}
		switch {
		case h.OpCode == ws.OpClose && len(payload) <= 2:
		case h.OpCode == ws.OpBinary && g.owns([]byte(payload)):
		case h.OpCode == ws.OpPong && g.owns([]byte(payload)):
		case h.OpCode == ws.OpText:
			if err := g.checkPacket(payload); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%s: frame %+v %.200q", g, h, payload)
		}
		in = in[n+int(h.Length):]
	}
}

// The checks find what they are for.
func TestIsolationChecksFind(t *testing.T) {
	g := newTag(7)
	good := "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: " + g.origin() + "\r\nX-Tag: (007)\r\nContent-Length: 11\r\n\r\n4(007)(007)"
	check := func(response string) error {
		head, fields, body, n := whole([]byte(response), "GET")
		require.NotZero(t, n)
		return sought{tag: g, method: "GET", x: "(007)", what: "poll"}.check(t, head, fields, body)
	}
	require.NoError(t, check(good))
	for _, change := range [][2]string{
		{"4(007)(007)", "4(007)(008)"}, {"4(007)(007)", "4(007)(00\xdb)"}, {"4(007)(007)", "4\xdb\xdb\xdb\xdb\xdb\xdb\xdb\xdb\xdb\xdb"},
		{"4(007)(007)", "4(007)(007\x00"}, {"4(007)(007)", "4007)(007)("}, {"4(007)(007)", "(007)(007)4"}, {"4(007)(007)", `0{"sid":"a"}`},
		{"client-007", "client-008"}, {"X-Tag: (007)", "X-Tag: (008)"}, {"X-Tag: (007)", "X-Tag: (007)(007)"}, {"X-Tag: (007)", "X-Tag: \xdb\xdb"},
		{"200 OK", "200 \xdb\xdb"}, {"Content-Length", "Set-Cookie: a=(008)\r\nContent-Length"},
	} {
		require.Contains(t, good, change[0])
		require.Error(t, check(strings.Replace(good, change[0], change[1], 1)), "%q", change)
	}
	for _, frames := range []string{"\x81\x064(008)", "\x82\x05(008)", "\x81\x03\xdb\xdb\xdb", "\x88\x03\x03\xe8x", strings.Repeat("\xdb", 100)} {
		_, err := g.checkFrames(t, []byte(frames))
		require.Error(t, err, "%q", frames)
	}
}
