package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"turbine/wsframe"

	"github.com/stretchr/testify/require"
)

// hostile would end a line, a string or a record where it is written as it came.
var hostile = []string{
	"x\r\nX-Injected: 1", "x\nX-Injected: 1", "x\rX-Injected: 1", "\r\n\r\n<script>", "x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nmore",
	"\r\n X-Injected: 1", "x\x00y", "x\x1b[31my", "x\x7fy", "x\x0by", "ü\u0085\u2028\u2029\ufeff", "\xff\xfe\xc0\xaf\xed\xa0\x80",
	`q"uo\te'</script>`, `\r\nX-Injected: 1`, "%0d%0aX-Injected:%201", "%250d%250a", "%u000d%u000a", "%", "x\ty", " x ", "x,y;z=1",
	strings.Repeat("long ", 1000), strings.Repeat("\r\n", 1000), strings.Repeat("é", 2000),
}

// injection is a way from a client's bytes into a response or a log.
type injection struct {
	name string
	// request holds %s where a value comes unchanged, and QUERY where it comes
	// percent-encoded.
	request string
}

const (
	injectGet  = "GET /engine.io/?EIO=4&transport=polling"
	injectEnd  = " HTTP/1.1\r\nHost: turbine\r\n"
	injectWS   = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	injectOpen = "GET /engine.io/?EIO=4&transport=websocket" + injectEnd + injectWS
)

var injections = []injection{
	{"Origin", injectGet + injectEnd + "Origin: %s\r\n\r\n"},
	{"Origin of a preflight", "OPTIONS /engine.io/" + injectEnd + "Origin: %s\r\n\r\n"},
	{"Origin of an error", "GET /engine.io/?EIO=4&transport=none" + injectEnd + "Origin: %s\r\n\r\n"},
	{"Origin of a WebSocket", injectOpen + "Origin: %s\r\n\r\n"},
	{"Access-Control-Request-Headers", "OPTIONS /engine.io/" + injectEnd + "Access-Control-Request-Headers: %s\r\n\r\n"},
	{"Access-Control-Request-Method", "OPTIONS /engine.io/" + injectEnd + "Access-Control-Request-Method: %s\r\n\r\n"},
	{"subprotocol", injectOpen + "Sec-WebSocket-Protocol: %s\r\n\r\n"},
	{"second subprotocol", injectOpen + "Sec-WebSocket-Protocol: chat, %s\r\n\r\n"},
	{"extension", injectOpen + "Sec-WebSocket-Extensions: %s\r\n\r\n"},
	{"extension's parameter", injectOpen + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=%s\r\n\r\n"},
	{"key", "GET /engine.io/?EIO=4&transport=websocket" + injectEnd + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"},
	{"version", "GET /engine.io/?EIO=4&transport=websocket" + injectEnd + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: %s\r\n\r\n"},
	{"Upgrade", injectGet + injectEnd + "Connection: Upgrade\r\nUpgrade: %s\r\n\r\n"},
	{"User-Agent", injectGet + injectEnd + "User-Agent: %s\r\n\r\n"},
	{"Cookie", injectGet + injectEnd + "Cookie: io=%s; session=%s\r\n\r\n"},
	{"Accept-Encoding", injectGet + injectEnd + "Accept-Encoding: %s\r\n\r\n"},
	{"Host", injectGet + " HTTP/1.1\r\nHost: %s\r\n\r\n"},
	{"a field's name", injectGet + injectEnd + "X%s: 1\r\n\r\n"},
	{"method", "GET%s /engine.io/?EIO=4&transport=polling" + injectEnd + "\r\n"},
	{"HTTP version", injectGet + " HTTP/1.1%s\r\nHost: turbine\r\n\r\n"},
	{"path", "GET /engine.io/%s?EIO=4&transport=polling" + injectEnd + "\r\n"},
	{"path, encoded", "GET /engine.io/QUERY?EIO=4&transport=none" + injectEnd + "\r\n"},
	{"another path", "GET /%s" + injectEnd + "\r\n"},
	{"query", injectGet + "&%s" + injectEnd + "\r\n"},
	{"EIO", "GET /engine.io/?transport=polling&EIO=QUERY" + injectEnd + "\r\n"},
	{"transport", "GET /engine.io/?EIO=4&transport=QUERY" + injectEnd + "\r\n"},
	{"transport of a WebSocket", "GET /engine.io/?EIO=4&transport=QUERY" + injectEnd + injectWS + "\r\n"},
	{"sid", injectGet + "&sid=QUERY" + injectEnd + "\r\n"},
	{"sid of a WebSocket", "GET /engine.io/?EIO=4&transport=websocket&sid=QUERY" + injectEnd + injectWS + "\r\n"},
	{"j", injectGet + "&j=QUERY" + injectEnd + "\r\n"},
	{"j behind a number", injectGet + "&j=0QUERY" + injectEnd + "\r\n"},
	{"b64", injectGet + "&b64=QUERY" + injectEnd + "\r\n"},
	{"body", "POST /engine.io/?EIO=4&transport=polling" + injectEnd + "Content-Length: 9\r\n\r\n%s"},
	{"content type", "POST /engine.io/?EIO=4&transport=polling" + injectEnd + "Content-Type: %s\r\n\r\n"},

	// What an application does with what a client sent.
	{"refusal", injectGet + "&refuse=QUERY" + injectEnd + "\r\n"},
	{"refusal of a WebSocket", "GET /engine.io/?EIO=4&transport=websocket&refuse=QUERY" + injectEnd + injectWS + "\r\n"},
	{"error of Admit", injectGet + "&error=QUERY" + injectEnd + "\r\n"},
	{"header value", injectGet + "&echo=QUERY" + injectEnd + "\r\n"},
	{"header value of a WebSocket", "GET /engine.io/?EIO=4&transport=websocket&echo=QUERY" + injectEnd + injectWS + "\r\n"},
	{"header name", injectGet + "&name=QUERY" + injectEnd + "\r\n"},
	{"id", injectGet + "&id=QUERY" + injectEnd + "\r\n"},
	{"id of a WebSocket", "GET /engine.io/?EIO=4&transport=websocket&id=QUERY" + injectEnd + injectWS + "\r\n"},
	{"id and JSONP", injectGet + "&j=1&id=QUERY" + injectEnd + "\r\n"},
	{"panic", injectGet + "&panic=QUERY" + injectEnd + "\r\n"},
	{"panic with an error", injectGet + "&panicerror=QUERY" + injectEnd + "\r\n"},
}

// injectServer does with what clients send all that an application may.
func injectServer(t *testing.T, logs *logLines) *bench {
	o := Options{
		Access:            Access{CORS: &CORS{AnyOrigin: true, Credentials: true}},
		Cookie:            &Cookie{EveryResponse: true},
		PerMessageDeflate: &PerMessageDeflate{},
		Logger:            slog.New(logs),
		Debug:             func(scope string) *slog.Logger { return slog.New(logs).With("scope", scope) },
		Middleware: []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Middleware", r.URL.Path+r.UserAgent()+r.URL.Query().Get("echo"))
				next.ServeHTTP(w, r)
			})
		}},
	}
	return newSpec(t, 1, o, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error {
			if p := a.Query("panic"); p != "" {
				panic(p)
			}
			if p := a.Query("panicerror"); p != "" {
				panic(errors.New(p))
			}
			if text := a.Query("error"); text != "" {
				return errors.New(text)
			}
			if refusal := a.Query("refuse"); refusal != "" {
				return Refuse(refusal)
			}
			a.ResponseHeader().Set("X-Echo", a.Query("echo"))
			a.ResponseHeader().Add(a.Query("name"), "named")
			a.SetID(a.Query("id"))
			return nil
		}
		e.Headers = func(r *Request, h http.Header) {
			h.Set("X-Header", r.Query("echo"))
			h[r.Query("name")] = []string{"named too"}
			h.Set("X-Query", r.Target())
		}
	})
}

// knownFields are what responses may have in addition to what the application
// names.
var knownFields = map[string]bool{
	"access-control-allow-origin": true, "access-control-allow-credentials": true, "access-control-allow-methods": true,
	"access-control-allow-headers": true, "vary": true, "content-type": true, "content-length": true, "cache-control": true,
	"connection": true, "date": true, "set-cookie": true, "upgrade": true, "sec-websocket-accept": true,
	"sec-websocket-protocol": true, "sec-websocket-extensions": true, "sec-websocket-version": true, "content-encoding": true,
	"x-middleware": true, "x-echo": true, "x-header": true, "x-query": true,
}

var statusLine = regexp.MustCompile(`^HTTP/1\.1 \d{3} [A-Za-z ]*$`)

// readStrictly takes raw bytes of a server apart as the strictest client would:
// nothing in a head but lines of known fields that end with CRLF, and nothing
// behind a body but the next head. value may also be a field's
// name, if it can.
func readStrictly(t *testing.T, raw []byte, method, value string) (statuses []int) {
	t.Helper()
	for len(raw) > 0 {
		head, rest, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
		require.True(t, ok, "no head: %q", raw)
		fields := strings.Split(string(head), "\r\n")
		require.Regexp(t, statusLine, fields[0])
		status, _ := strconv.Atoi(fields[0][9:12])
		statuses = append(statuses, status)
		length := 0
		for _, field := range fields[1:] {
			name, content, ok := strings.Cut(field, ": ")
			require.True(t, ok, "no field: %q", field)
			require.True(t, knownFields[strings.ToLower(name)] || mayBeNamed(name, value), "unknown field: %q", field)
			require.False(t, strings.ContainsFunc(content, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }), "%q", field)
			if strings.EqualFold(name, "Content-Length") {
				n, err := strconv.Atoi(content)
				require.NoError(t, err, "%q", field)
				length = n
			}
		}
		if status == 101 {
			for len(rest) > 0 {
				_, n := parseFrame(rest)
				require.NotZero(t, n, "no frame: %q", rest)
				rest = rest[n:]
			}
			return statuses
		}
		if method == "HEAD" || status == 204 {
			length = 0
		}
		require.LessOrEqual(t, length, len(rest), "%q", raw)
		raw = rest[length:]
	}
	return statuses
}

// mayBeNamed reports whether a field may be called name where an application
// takes a client's word for it: a token, decoded once or not.
func mayBeNamed(name, value string) bool {
	decoded, _ := url.QueryUnescape(value)
	return strings.EqualFold(name, value) && isToken(value) || strings.EqualFold(name, decoded) && isToken(decoded)
}

// Whatever a client puts anywhere, a response has the fields that the server and
// the application gave it, and a line of the log is one record.
func TestNothingIsInjected(t *testing.T) {
	logged := 0
	for _, in := range injections {
		t.Run(in.name, func(t *testing.T) {
			logs := newLogLines()
			b := injectServer(t, logs)
			for _, value := range hostile {
				raw := strings.ReplaceAll(in.request, "%s", value)
				raw = strings.ReplaceAll(raw, "QUERY", url.QueryEscape(value))
				if strings.Contains(in.request, "QUERY") {
					injectOne(t, b, raw, value)
					raw = strings.ReplaceAll(in.request, "QUERY", value) // also unchanged
				}
				injectOne(t, b, raw, value)
			}
			b.server.CloseSessions()
			b.world.Advance(b.options.Timeouts.Close + time.Second)
			b.world.Close()
			require.Zero(t, OnLoan())
			logs.check(t)
			logged += logs.records
		})
	}
	require.Greater(t, logged, len(hostile)*len(injections), "records, or there was nothing to see")
}

func injectOne(t *testing.T, b *bench, raw, value string) {
	t.Helper()
	b.world.Advance(1100 * time.Millisecond) // panics are logged once a second
	peer := b.world.Dial()
	peer.Write([]byte(raw))
	b.world.Run()
	got := bytes.Clone(peer.Read())
	method, _, _ := strings.Cut(raw, " ")
	if statuses := readStrictly(t, got, method, value); len(statuses) == 0 {
		require.NotContains(t, raw, "\r\n\r\n", "no answer") // its head is not complete
	}
	peer.Reset()
	b.world.Run()
}

// logLines is what slog's handlers write, as text and as JSON.
type logLines struct {
	slog.Handler
	json    slog.Handler
	text    *bytes.Buffer
	objects *bytes.Buffer
	records int
	parent  *logLines
}

func newLogLines() *logLines {
	text, objects := new(bytes.Buffer), new(bytes.Buffer)
	all := &slog.HandlerOptions{Level: slog.LevelDebug}
	return &logLines{Handler: slog.NewTextHandler(text, all), json: slog.NewJSONHandler(objects, all), text: text, objects: objects}
}

func (l *logLines) Handle(ctx context.Context, r slog.Record) error {
	root := l
	for root.parent != nil {
		root = root.parent
	}
	root.records++
	return errors.Join(l.Handler.Handle(ctx, r), l.json.Handle(ctx, r))
}

func (l *logLines) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logLines{Handler: l.Handler.WithAttrs(attrs), json: l.json.WithAttrs(attrs), parent: l}
}

var logLine = regexp.MustCompile(`^time=\S+ level=(DEBUG|INFO|WARN|ERROR) msg=`)

func (l *logLines) check(t *testing.T) {
	t.Helper()
	text := l.text.String()
	require.True(t, utf8.ValidString(text))
	// slog leaves DEL unchanged, which means nothing to a terminal.
	at := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != 0x7f && !unicode.IsPrint(r) })
	if at >= 0 {
		t.Fatalf("unprintable in the log: %q", text[max(0, at-100):min(len(text), at+20)])
	}
	require.Equal(t, l.records, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		require.Regexp(t, logLine, line)
	}
	decoder, objects := json.NewDecoder(l.objects), 0
	for ; ; objects++ {
		var record struct{ Time, Level, Msg string }
		if err := decoder.Decode(&record); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		require.NotEmpty(t, record.Level)
	}
	require.Equal(t, l.records, objects)
}

// The numbers of an answer are as many as the requests: what is in a value never
// makes the server see, or send, one more.
func TestOneAnswerForOneRequest(t *testing.T) {
	b := injectServer(t, newLogLines())
	for _, in := range injections {
		if !strings.Contains(in.request, "QUERY") {
			continue
		}
		for _, value := range hostile {
			peer := b.world.Dial()
			peer.Write([]byte(strings.ReplaceAll(in.request, "QUERY", url.QueryEscape(value))))
			b.world.Run()
			got := bytes.Clone(peer.Read())
			require.Len(t, readStrictly(t, got, "GET", value), 1, "%s %q", in.name, value)
			peer.Reset()
			b.world.Run()
		}
	}
	b.world.Close()
}

// JSONP writes a client's text into a script: whatever is in it, the script is
// one call with one string.
func TestJSONPIsOneCall(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling + "&j=7")
	for _, value := range hostile {
		if !utf8.ValidString(value) {
			continue // no text: Send's caller has to see to that
		}
		require.NoError(t, b.session("A").Send(Message{Data: []byte(value)}))
		r := b.fetch("GET", "EIO=4&transport=polling&j=7&sid=A")
		script, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		argument, ok := strings.CutPrefix(string(script), "___eio[7](")
		require.True(t, ok, "%q", script)
		argument, ok = strings.CutSuffix(argument, ");")
		require.True(t, ok, "%q", script)
		require.False(t, strings.ContainsFunc(argument, func(r rune) bool {
			return slices.Contains([]rune{'\n', '\r', '\u2028', '\u2029'}, r) // these end a line of a script
		}), "%q", script)
		var text string
		require.NoError(t, json.Unmarshal([]byte(argument), &text), "%q", argument)
		require.Equal(t, "4"+value, text)
	}
	b.finish()
}

// A close frame says nothing that a client sent.
func TestCloseFrameEchoesTheCodeAlone(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsWebSocket)
	reason := "bye\r\nX-Injected: 1"
	b.client("w", "").peer.Write(wsframe.AppendMaskedFrame(nil, 8, true, [4]byte{1, 2, 3, 4}, append([]byte{3, 232}, reason...)))
	require.Equal(t, []string{"w: close 1000", "w: closed"}, b.collect(), fmt.Sprintf("%q", reason))
	b.finish()
}
