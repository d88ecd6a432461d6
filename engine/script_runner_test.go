package engine

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// bench is a server in a World, the clients a test dialled, and what the
// application heard. Tests of all kinds use it; script.go's language is made of
// its methods.
type bench struct {
	t      testing.TB
	world  *looptest.World
	server *Server
	dial   func(b *bench, sid string) *looptest.Peer

	options Options
	echo    bool
	reject  string                   // what Admit answers
	on      func(event, name string) // called in each event, after it was logged
	hand    *byHand                  // the Executor; nil without
	nodes   *MemNodes                // of which this is the first; nil where it is alone
	others  []*bench                 // the other nodes'
	held    bool                     // its tasks wait until rest is called

	logged   counter
	accepted []*httpConn // in the order in which the connections were made
	clients  []*client
	sessions []*Session
	names    map[*Session]string
	closes   map[*Session]int
	ends     [NumReasons]int64 // Close events by reason
	log      []string
	ids      map[string]string // of sessions -> their names
	idSizes  []int             // of ids, in the order in which they came
	stirred  bool              // a client has ended its direction, and the server does not know yet
}

// Where connections land.
func dialInTurn(b *bench, _ string) *looptest.Peer { return b.world.Dial() }

// dialAway dials a loop that is not the session's home, so that every request
// is relayed and every WebSocket moves.
func dialAway(b *bench, id string) *looptest.Peer {
	home := 0
	if decoded, ok := parseSID([]byte(id), false); ok {
		home = decoded.home()
	}
	if id == "" {
		return b.world.Dial()
	}
	return b.world.DialLoop((home + 1) % len(b.world.Loops()))
}

func newBench(t testing.TB, loops int, o Options) *bench {
	b := &bench{t: t, dial: dialInTurn, names: map[*Session]string{}, closes: map[*Session]int{}, ids: map[string]string{}}
	if loops < 0 {
		loops, b.dial = -loops, dialAway
	}
	if o.Logger == nil {
		o.Logger = slog.New(&b.logged)
	}
	if o.Limits.Exempt == nil {
		o.Limits.Exempt = oneAddress
	}
	if o.Timeouts.FirstRequest == 0 { // many scripts wait for other deadlines
		o.Timeouts.FirstRequest = time.Hour
	}
	b.hand, _ = o.Executor.(*byHand)
	server, err := New(o, Events{
		Admit:   b.admit,
		Open:    b.opened,
		Message: b.messaged,
		Upgrade: func(s *Session) { b.heard("upgrade", s, "") },
		Drain:   func(s *Session) { b.heard("drain", s, "") },
		Close:   b.closed,
	})
	require.NoError(t, err)
	b.server, b.options = server, server.options
	if server.dispatch != nil {
		begun := time.Now()
		server.dispatch.clock = func() time.Time { return begun } // callbacks take no time
		server.dispatch.after = func(time.Duration, func()) {}    // what a test does by hand is not late
	}
	b.world = looptest.NewWorld(loops, server.Driver().LoopOptions(), func(c *loop.Conn) loop.Handler {
		h := newHTTPConn(server, c)
		b.accepted = append(b.accepted, h)
		return h
	})
	server.Driver().UseLoops(b.world.Loops())
	return b
}

func (b *bench) admit(*Admission) error {
	if b.on != nil {
		b.on("admit", "")
	}
	if b.reject != "" {
		return Refuse(strings.TrimPrefix(b.reject, "-"))
	}
	return nil
}

func (b *bench) heard(event string, s *Session, detail string) {
	name := b.name(s)
	b.log = append(b.log, strings.TrimSpace(event+" "+name+" "+detail))
	if b.on != nil {
		b.on(event, name)
	}
}

func (b *bench) opened(s *Session, _ *Request) {
	b.sessions = append(b.sessions, s)
	name := letters(len(b.sessions) - 1)
	b.names[s] = name
	if id := s.ID(); b.ids[id] == "" {
		b.ids[id] = name
		if !slices.Contains(b.idSizes, len(id)) {
			b.idSizes = append(b.idSizes, len(id))
		}
	}
	b.heard("open", s, "")
}

func (b *bench) messaged(s *Session, m Message) {
	detail := strconv.Quote(string(m.Data))
	if utf8.Valid(m.Data) && !m.Binary {
		detail = `"` + show(m.Data) + `"`
	}
	if m.Binary {
		detail = strings.TrimSpace("binary " + hex.EncodeToString(m.Data))
	}
	if b.echo {
		_ = s.Send(m)
	}
	b.heard("message", s, detail)
}

func (b *bench) closed(s *Session, r Reason, err error) {
	b.closes[s]++
	b.ends[r]++
	detail := strconv.Quote(r.String())
	if err != nil {
		detail += " " + err.Error()
	}
	b.heard("close", s, detail)
}

// concealed has the names of sessions in the place of their ids.
func (b *bench) concealed(line string) string {
	var out strings.Builder
	done := 0
	for i := 0; i < len(line); i++ {
		for _, n := range b.idSizes {
			if i+n > len(line) {
				continue
			}
			if name, ok := b.ids[line[i:i+n]]; ok {
				out.WriteString(line[done:i])
				out.WriteString(name)
				done = i + n
				i = done - 1
				break
			}
		}
	}
	if done == 0 {
		return line
	}
	return out.String() + line[done:]
}

// letters names the sessions A to Z, then AA.
func letters(i int) string {
	if i < 26 {
		return string(rune('A' + i))
	}
	return letters(i/26-1) + letters(i%26)
}

func (b *bench) name(s *Session) string {
	if n := b.names[s]; n != "" {
		return n
	}
	return "?"
}

func (b *bench) session(name string) *Session {
	for s, n := range b.names {
		if n == name {
			return s
		}
	}
	b.t.Fatalf("no session %s", name)
	return nil
}

// finish ends all sessions as a shutdown does, closes the world and looks for
// what was left behind.
func (b *bench) finish() {
	b.t.Helper()
	b.server.CloseSessions()
	for _, other := range b.others {
		other.server.CloseSessions()
	}
	b.advance(b.options.Timeouts.Close + time.Second)
	b.rest()
	if b.nodes != nil {
		require.Empty(b.t, b.nodes.Left(), "under way between nodes")
		b.nodes = nil
		for _, other := range b.others {
			other.nodes, other.others = nil, nil
			other.finish()
		}
	}
	b.world.Close()
	require.True(b.t, b.server.dispatch.idle(), "events left")
	require.Zero(b.t, b.server.Stats().Pending, "bytes counted as pending")
	require.Zero(b.t, b.world.Sockets(), "descriptors left open")
	require.Zero(b.t, b.server.Stats().Sessions, "sessions left")
	require.Zero(b.t, b.server.places.taken.Load(), "places of sessions left")
	require.Zero(b.t, b.server.places.byAddress.Len(), "addresses with sessions left")
	require.Zero(b.t, b.server.Stats().Queued, "bytes counted as queued")
	require.Equal(b.t, b.ends, b.server.Stats().Closed, "sessions counted as closed, by reason")
	requireBalance(b.t, b.server.Stats())
	for _, shard := range b.server.shards {
		require.Empty(b.t, shard.groups, "groups left")
		require.Zero(b.t, shard.bodies, "bytes of bodies counted")
	}
	require.Zero(b.t, OnLoan(), "buffers left on loan")
	require.Zero(b.t, b.logged.lines.Load(), "a panic was logged")
	for _, s := range b.sessions {
		require.Equal(b.t, 1, b.closes[s], "Close events of %s", b.name(s))
	}
}

// A client is one connection of a test, as its far end sees it.
type client struct {
	name    string // "" for one that serves a single request
	peer    *looptest.Peer
	in      []byte
	methods []string // of the requests that wait for a response
	show    []string // headers to print
	ws      bool
	raw     bool
	finned  bool // we ended our direction
	told    bool // its end was printed
	over    bool // and nothing is left of it
}

func (b *bench) client(name, sid string) *client {
	for _, c := range b.clients {
		if name != "" && c.name == name {
			return c
		}
	}
	c := &client{name: name, peer: b.dial(b, sid)}
	b.clients = append(b.clients, c)
	return c
}

// request writes an HTTP request on c.
func (b *bench) request(c *client, r request) {
	c.methods = append(c.methods, r.method)
	c.peer.Write(r.bytes())
}

type request struct {
	method, target string
	version        string
	headers        []string
	body           string
	length         bool
}

func (r request) bytes() []byte {
	version := r.version
	if version == "" {
		version = "1.1"
	}
	head := fmt.Sprintf("%s %s HTTP/%s\r\nHost: turbine\r\n", r.method, r.target, version)
	for _, h := range r.headers {
		head += h + "\r\n"
	}
	if r.length {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(r.body))
	}
	return []byte(head + "\r\n" + r.body)
}

var upgradeHeaders = []string{
	"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

// frame is a masked frame as a client sends it.
func frame(op ws.OpCode, payload string) []byte {
	return wsframe.AppendMaskedFrame(nil, op, true, [4]byte{1, 2, 3, 4}, []byte(payload))
}

// turn lets the loops work, and those of other nodes.
func (b *bench) turn() {
	if b.nodes != nil {
		b.nodes.Rest()
		return
	}
	b.world.Run()
}

// advance moves the clock.
func (b *bench) advance(d time.Duration) {
	if b.nodes != nil {
		b.nodes.Advance(d)
		return
	}
	b.world.Advance(d)
}

// work lets the loops do what is to be done, and the Executor, unless its tasks
// are held.
func (b *bench) work() {
	if b.turn(); !b.held {
		b.rest()
	}
}

// rest is work until nobody has anything to do.
func (b *bench) rest() {
	for b.turn(); b.hand != nil && b.hand.step(); {
		b.turn()
	}
}

// collect returns what has arrived on all connections since the last time.
func (b *bench) collect() (lines []string) {
	b.stirred = false
	b.work()
	for _, c := range slices.Clone(b.clients) {
		lines = append(lines, b.gather(c)...)
	}
	return lines
}

func (b *bench) collectFrom(c *client) (lines []string) {
	b.stirred = true
	return b.gather(c)
}

// gather is collectFrom where the loops have nothing to do, unless something was stirred.
func (b *bench) gather(c *client) (lines []string) {
	if b.stirred {
		b.stirred = false
		b.work()
	}
	if c.over {
		return nil
	}
	say := func(line string) {
		if c.name != "" {
			line = c.name + ": " + line
		}
		lines = append(lines, strings.TrimRight(b.concealed(line), " "))
	}
	if c.peer.Buffered() > 0 {
		c.in = append(c.in, c.peer.Read()...)
		b.work()
		c.in = append(c.in, c.peer.Read()...)
	}
	answered := false
	for len(c.in) > 0 {
		var line string
		var n int
		if c.ws {
			line, n = parseFrame(c.in)
		} else {
			line, n = c.parseResponse()
		}
		if n == 0 {
			break
		}
		answered = true
		say(line)
		c.in = c.in[n:]
	}
	if c.peer.EOF() && !c.told {
		c.told = true
		if len(c.in) > 0 {
			say("remains " + show(c.in))
		}
		if c.peer.Aborted() && !c.finned {
			say("aborted")
		} else {
			say("closed")
		}
	}
	if c.name == "" && answered && len(c.methods) == 0 && !c.finned {
		c.finned = true
		c.told = c.told || !c.peer.EOF()
		c.peer.CloseWrite()
		b.stirred = true
	}
	c.over = c.told && len(c.in) == 0 && c.peer.EOF()
	return lines
}

// parseResponse parses one HTTP response at the front of c.in.
func (c *client) parseResponse() (line string, n int) {
	end := bytes.Index(c.in, []byte("\r\n\r\n"))
	if end < 0 {
		return "", 0
	}
	head := strings.Split(string(c.in[:end]), "\r\n")
	n = end + 4
	_, status, _ := strings.Cut(head[0], " ")
	status = status[:min(3, len(status))]
	values := map[string][]string{}
	for _, h := range head[1:] {
		name, value, _ := strings.Cut(h, ": ")
		values[strings.ToLower(name)] = append(values[strings.ToLower(name)], value)
	}
	length := 0
	if v := values["content-length"]; len(v) > 0 {
		length, _ = strconv.Atoi(v[0])
	}
	method := ""
	if len(c.methods) > 0 {
		method = c.methods[0]
	}
	if status == "101" {
		c.ws = true
	}
	if status != "100" && len(c.methods) > 0 {
		c.methods = c.methods[1:]
	}
	if method == "HEAD" || status == "101" || status == "100" {
		length = 0
	}
	if len(c.in) < n+length {
		return "", 0
	}
	line = status
	for _, name := range c.show {
		for _, v := range values[strings.ToLower(name)] {
			line += fmt.Sprintf(" [%s: %s]", name, v)
		}
		if len(values[strings.ToLower(name)]) == 0 {
			line += fmt.Sprintf(" [no %s]", name)
		}
	}
	body := c.in[n : n+length]
	if slices.Equal(values["content-type"], []string{typeOctets}) {
		line += fmt.Sprintf(" hex %x", body)
	} else {
		line += " " + show(body)
	}
	return line, n + length
}

// parseFrame parses one frame from the server.
func parseFrame(p []byte) (line string, n int) {
	h, n, err := wsframe.ParseHeader(p)
	if err != nil || len(p) < n+int(h.Length) {
		return "", 0
	}
	payload := p[n : n+int(h.Length)]
	n += len(payload)
	switch {
	case h.Masked || !h.Fin || h.Rsv != 0:
		return fmt.Sprintf("bad frame %x", p[:n]), n
	case h.OpCode == ws.OpText:
		return `text "` + show(payload) + `"`, n
	case h.OpCode == ws.OpBinary:
		return fmt.Sprintf("binary %x", payload), n
	case h.OpCode == ws.OpPong:
		return `pong "` + show(payload) + `"`, n
	case h.OpCode == ws.OpPing:
		return `ping "` + show(payload) + `"`, n
	case h.OpCode == ws.OpClose && len(payload) >= 2:
		line = fmt.Sprintf("close %d", int(payload[0])<<8|int(payload[1]))
		if len(payload) > 2 {
			line += ` "` + show(payload[2:]) + `"`
		}
		return line, n
	case h.OpCode == ws.OpClose:
		return "close", n
	}
	return fmt.Sprintf("unknown frame %x", p[:n]), n
}

// show prints text unchanged and everything else as \xNN; what repeats is
// shortened.
func show(p []byte) string {
	var out strings.Builder
	for i := 0; i < len(p); {
		r, n := utf8.DecodeRune(p[i:])
		repeat := i + n
		for repeat+n <= len(p) && bytes.Equal(p[repeat:repeat+n], p[i:i+n]) {
			repeat += n
		}
		if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) {
			for _, c := range p[i : i+n] {
				fmt.Fprintf(&out, `\x%02x`, c)
			}
		} else {
			out.WriteRune(r)
		}
		if count := (repeat - i) / n; count > 40 {
			fmt.Fprintf(&out, "{x%d}", count)
			i = repeat
			continue
		}
		i += n
	}
	return out.String()
}

// run executes one command of a script and returns what it printed.
func (b *bench) run(line string) (lines []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	words, err := split(line)
	if err != nil {
		return nil, err
	}
	if err := b.command(words[0], words[1:], &lines); err != nil {
		return nil, err
	}
	return append(lines, b.collect()...), nil
}

func (b *bench) command(verb string, args []string, lines *[]string) error {
	switch verb {
	case "get", "post", "ws":
		return b.httpCommand(verb, args)
	case "dial":
		b.client(args[0], "").raw = true
	case "raw":
		data := strings.Join(args[2:], "")
		if args[1] == "hex" {
			p, err := hex.DecodeString(data)
			if err != nil {
				return err
			}
			data = string(p)
		} else if text, err := repeated(args[1]); err != nil {
			return err
		} else {
			data = text
		}
		c := b.client(args[0], "")
		if strings.HasPrefix(data, "HEAD ") {
			c.methods = append(c.methods, "HEAD")
		}
		b.client(args[0], "").peer.Write([]byte(b.reveal(data)))
	case "bytes": // one by one
		for _, c := range []byte(b.reveal(args[1])) {
			b.client(args[0], "").peer.Write([]byte{c})
			b.turn()
		}
	case "show":
		b.client(args[0], "").show = strings.Split(args[1], ",")
	case "frame":
		return b.frameCommand(args)
	case "frames": // many text frames in one write
		var all []byte
		for _, text := range args[1:] {
			all = append(all, frame(ws.OpText, text)...)
		}
		b.client(args[0], "").peer.Write(all)
	case "close":
		payload := ""
		if len(args) > 1 {
			code, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			payload = string([]byte{byte(code >> 8), byte(code)}) + strings.Join(args[2:], " ")
		}
		b.client(args[0], "").peer.Write(frame(ws.OpClose, payload))
	case "send":
		for _, text := range args[1:] {
			if text, err := repeated(text); err != nil {
				return err
			} else if err := b.session(args[0]).Send(Message{Data: []byte(text)}); err != nil {
				*lines = append(*lines, err.Error())
			}
		}
	case "sendbin":
		p, err := hex.DecodeString(strings.Join(args[1:], ""))
		if err != nil {
			return err
		}
		if err := b.session(args[0]).Send(Message{Binary: true, Data: p}); err != nil {
			*lines = append(*lines, err.Error())
		}
	case "packet": // on whatever transport the session has
		return b.packetCommand(args)
	case "drained": // the client takes all there is
		s := b.session(args[0])
		if s.Transport() == WebSocket {
			b.client("w", "").peer.SetWindow(4000000)
			return nil
		}
		for range 2 {
			if p, ok := s.transport.(*polling); ok && s.state != sessionClosed && p.poll == nil {
				if err := b.httpCommand("get", []string{"sid=" + args[0]}); err != nil {
					return err
				}
				*lines = append(*lines, b.collect()...)
			}
		}
	case "broadcast":
		_ = b.server.Broadcast(prepared(Message{Data: []byte(args[0])}))
	case "broadcastbin":
		p, err := hex.DecodeString(strings.Join(args, ""))
		if err != nil {
			return err
		}
		_ = b.server.Broadcast(prepared(Message{Binary: true, Data: p}))
	case "close-session":
		b.session(args[0]).Close()
	case "advance":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		b.advance(d)
	case "fin":
		b.client(args[0], "").finned = true
		b.client(args[0], "").peer.CloseWrite()
	case "reset":
		b.client(args[0], "").finned = true
		b.client(args[0], "").told = true
		b.client(args[0], "").peer.Reset()
	case "window":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		b.client(args[0], "").peer.SetWindow(n)
	case "sessions":
		b.turn()
		for _, s := range b.sessions {
			if s.state != sessionClosed {
				*lines = append(*lines, b.name(s)+" "+describe(s))
			}
		}
		if len(*lines) == 0 {
			*lines = append(*lines, "none")
		}
	case "events":
		b.turn()
		// The order between sessions is no promise: they may be on two loops.
		slices.SortStableFunc(b.log, func(x, y string) int {
			a, c := strings.Fields(x)[1], strings.Fields(y)[1]
			return cmp.Or(len(a)-len(c), strings.Compare(a, c))
		})
		*lines = append(*lines, b.log...)
		if len(b.log) == 0 {
			*lines = append(*lines, "none")
		}
		b.log = nil
	case "shutdown":
		b.server.CloseSessions()
	case "drain": // drain DELAY PERIOD
		delay, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		over, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		b.server.beginDrain(delay, over)
	case "stop-accepting":
		b.server.StopAccepting()
	case "end-connections":
		b.server.endConnections()
	default:
		return fmt.Errorf("unknown command %q", verb)
	}
	return nil
}

func (b *bench) packetCommand(args []string) error {
	s := b.session(args[0])
	switch {
	case s.Transport() == WebSocket:
		return b.frameCommand([]string{"w", "text", args[1]})
	case s.revision == Revision3:
		return b.httpCommand("post", []string{"sid=" + args[0], fmt.Sprintf("%d:%s", len(args[1]), args[1])})
	}
	return b.httpCommand("post", []string{"sid=" + args[0], args[1]})
}

// describe is a session's state in words.
func describe(s *Session) string {
	text := [...]string{"", "open", "closing", "closed"}[s.state] + " " + s.Transport().String()
	if s.upgrade != nil {
		text += " " + [...]string{"", "probing", "probed", "done", "over"}[s.upgrade.state]
	}
	return text
}

// reveal puts ids in the place of names in "sid=A".
func (b *bench) reveal(text string) string {
	before, after, ok := strings.Cut(text, "sid=")
	if !ok {
		return text
	}
	end := strings.IndexAny(after, "& ")
	if end < 0 {
		end = len(after)
	}
	name, rest := after[:end], after[end:]
	for s, n := range b.names {
		if n == name {
			name = s.ID()
			break
		}
	}
	return before + "sid=" + name + b.reveal(rest)
}

func (b *bench) httpCommand(verb string, args []string) error {
	r := request{method: "GET"}
	query, path, name, sid, show, transport := "", "/engine.io/", "", "", "", "polling"
	switch verb {
	case "post":
		r.method, r.length = "POST", true
	case "ws":
		r.headers, transport = upgradeHeaders, "websocket"
	}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		switch {
		case strings.HasPrefix(arg, "EIO=") || strings.HasPrefix(arg, "transport=") || strings.HasPrefix(arg, "?"):
			query = strings.TrimPrefix(arg, "?")
		case key == "sid":
			sid = value
		case key == "conn":
			name = value
		case key == "method":
			r.method = value
		case key == "path":
			path = value
		case key == "version":
			r.version = value
		case key == "show":
			show = value
		case key == "header":
			r.headers = append(slices.Clone(r.headers), value)
		case key == "without":
			r.headers = slices.DeleteFunc(slices.Clone(r.headers), func(h string) bool { return strings.HasPrefix(h, value+":") })
		case key == "hex":
			p, err := hex.DecodeString(value)
			if err != nil {
				return err
			}
			r.body, r.length = string(p), true
		case key == "repeat":
			body, err := repeated(arg)
			if err != nil {
				return err
			}
			r.body, r.length = body, true
		default:
			r.body, r.length = arg, true
		}
	}
	if sid != "" {
		revision := Revision4
		for s, n := range b.names {
			if n == sid {
				revision = s.revision
			}
		}
		if query == "" {
			query = fmt.Sprintf("EIO=%d&transport=%s", revision, transport)
		}
		query += "&sid=" + sid
	}
	query = b.reveal(query)
	r.target = path
	if query != "" {
		r.target += "?" + query
	}
	id := ""
	if _, after, ok := strings.Cut(query, "sid="); ok {
		id, _, _ = strings.Cut(after, "&")
	}
	c := b.client(name, id)
	if show != "" {
		c.show = strings.Split(show, ",")
	}
	b.request(c, r)
	return nil
}

// frameCommand: frame w text 4hello, frame w binary 0102, frame w ping x,
// frame w text repeat=4,100,a
func (b *bench) frameCommand(args []string) error {
	payload, err := repeated(strings.Join(args[2:], " "))
	if err != nil {
		return err
	}
	op := ws.OpText
	switch args[1] {
	case "text":
	case "ping":
		op = ws.OpPing
	case "pong":
		op = ws.OpPong
	case "binary":
		p, err := hex.DecodeString(strings.ReplaceAll(payload, " ", ""))
		if err != nil {
			return err
		}
		op, payload = ws.OpBinary, string(p)
	default:
		return fmt.Errorf("unknown frame %q", args[1])
	}
	b.client(args[0], "").peer.Write(frame(op, payload))
	return nil
}

// repeated reads "repeat=4,100,a", which is "4" and 100 times "a"; other text is
// itself.
func repeated(text string) (string, error) {
	rest, ok := strings.CutPrefix(text, "repeat=")
	if !ok {
		return text, nil
	}
	parts := strings.Split(rest, ",")
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return "", err
	}
	return parts[0] + strings.Repeat(parts[2], n), nil
}

// split cuts a command into words. A quoted part, which may begin inside a
// word, is a Go string.
func split(line string) (words []string, err error) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		word := ""
		for line != "" && line[0] != ' ' {
			if line[0] != '"' {
				word, line = word+line[:1], line[1:]
				continue
			}
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, fmt.Errorf("%w: %s", err, line)
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, err
			}
			word, line = word+text, line[len(quoted):]
		}
		words = append(words, word)
	}
	return words, nil
}

// setOptions reads "pingInterval=200ms app=echo reject=no transports=polling".
func setOptions(words []string) (o Options, echo bool, reject string, err error) {
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "app":
			echo = value == "echo"
			continue
		case "reject":
			reject = value
			continue
		}
		field := reflect.ValueOf(&o).Elem()
		for part := range strings.SplitSeq(key, ".") {
			if field.Kind() == reflect.Struct {
				field = field.FieldByName(strings.ToUpper(part[:1]) + part[1:])
			}
		}
		if !field.IsValid() {
			return o, false, "", fmt.Errorf("no option %s", key)
		}
		switch p := field.Addr().Interface().(type) {
		case *time.Duration:
			*p, err = time.ParseDuration(value)
		case *int:
			*p, err = strconv.Atoi(value)
		case *bool:
			*p, err = strconv.ParseBool(value)
		case *string:
			*p = value
		case *Overflow:
			*p = map[string]Overflow{"close": OverflowClose, "drop": OverflowDrop}[value]
		case *[]string:
			*p = strings.Split(value, ",")
		case *[]Transport:
			for _, name := range strings.Split(value, ",") {
				*p = append(*p, parseTransport([]byte(name)))
			}
		case *[]Revision:
			for _, name := range strings.Split(value, ",") {
				*p = append(*p, parseRevision([]byte(name)))
			}
		default:
			err = fmt.Errorf("option %s cannot be set in a script", key)
		}
		if err != nil {
			return o, false, "", err
		}
	}
	return o, echo, reject, nil
}

// prepared is Prepare for what is known to be sendable.
func prepared(m Message) *Prepared {
	p, err := Prepare(m)
	if err != nil {
		panic(err)
	}
	return p
}
