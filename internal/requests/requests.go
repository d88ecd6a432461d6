// Package requests is a table of unusual, ambiguous and malformed HTTP requests
// and of what becomes of each. Tests of several packages read it: the parser's
// compares it with net/http, the engine's plays it in memory and over sockets,
// and internal/e2e sends it through other people's proxies.
//
// The rows are in table/*.txt, one a line:
//
//	verdict | where the rule stands | name | request
//
// A verdict is the status of the answer, what happens to the connection, and
// what the request has done:
//
//	200 keep 4a       answered; the next request is served; the session was given the payload 4a
//	200 keep session  a session has begun
//	400 close         answered for the last time; what is behind is not looked at
//	101 switch        the connection is a WebSocket
//	mute              no answer, and what is behind is not looked at
//	wait              no answer, because more has to come
//
// A ~ behind it says that net/http's ReadRequest takes what we refuse: the list
// of the places where we are stricter. A ^ says the opposite.
//
// A line that begins with = is the frame of the rows below it: the request of a
// row takes the place of {}. Requests are written with \r, \n, \t, \0, \xNN and
// \\, and with {path} for the target of a handshake, {session} for that of a
// session, {ws} for that of a WebSocket, and {text*n} for n times a text.
package requests

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Targets stand for {path}, {session} without its id, and {ws}.
const (
	handshake = "/engine.io/?EIO=4&transport=polling"
	session   = handshake + "&sid="
	websocket = "/engine.io/?EIO=4&transport=websocket"
)

// Fate is what happens to the connection.
type Fate string

// The fates.
const (
	Keep   Fate = "keep"
	Close  Fate = "close"
	Switch Fate = "switch"
	Mute   Fate = "mute"
	Wait   Fate = "wait"
)

// Case is one row.
type Case struct {
	Topic   string // the file's name
	Name    string
	Section string // "9112 2.2": RFC and section
	Status  int    // of the answer; 0 when there is none
	Fate    Fate
	Payload string // that the session is given
	Opens   bool   // a session begins
	Lenient bool   // net/http takes it, and we do not
	Strict  bool   // we take it, and net/http does not
	text    string
}

// Request is the bytes of the request, for the session with that id.
func (c *Case) Request(sid string) []byte {
	return []byte(strings.ReplaceAll(c.text, session, session+sid))
}

// Method is what stands before the first space.
func (c *Case) Method() string {
	method, _, _ := strings.Cut(c.text, " ")
	return method
}

//go:embed table/*.txt
var files embed.FS

// Load reads the table.
func Load() (cases []Case, err error) {
	names, err := fs.Glob(files, "table/*.txt")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		frame := "{}"
		for i, line := range strings.Split(string(text), "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if rest, ok := strings.CutPrefix(line, "= "); ok {
				frame = rest
				continue
			}
			c, err := parseCase(line, frame)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
			}
			c.Topic = strings.TrimSuffix(path.Base(name), ".txt")
			cases = append(cases, c)
		}
	}
	return cases, nil
}

func parseCase(line, frame string) (c Case, err error) {
	cells := strings.SplitN(line, " | ", 4)
	if len(cells) != 4 {
		return c, fmt.Errorf("%d cells in %q", len(cells), line)
	}
	if err := c.judge(strings.Fields(cells[0])); err != nil {
		return c, err
	}
	c.Section, c.Name = strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])
	c.text, err = unescape(strings.ReplaceAll(frame, "{}", cells[3]))
	return c, err
}

// judge reads a verdict.
func (c *Case) judge(words []string) (err error) {
	for i, word := range words {
		switch {
		case word == "~":
			c.Lenient = true
		case word == "^":
			c.Strict = true
		case word == "session":
			c.Opens = true
		case word == string(Mute) || word == string(Wait):
			c.Fate = Fate(word)
		case i == 0:
			if c.Status, err = strconv.Atoi(word); err != nil {
				return err
			}
		case i == 1 && (word == string(Keep) || word == string(Close) || word == string(Switch)):
			c.Fate = Fate(word)
		case i == 2 && word[0] == '4':
			c.Payload = word
		default:
			return fmt.Errorf("odd word %q in a verdict", word)
		}
	}
	if c.Fate == "" {
		return fmt.Errorf("verdict %q says nothing of the connection", words)
	}
	return nil
}

// unescape undoes the table's way of writing bytes.
func unescape(text string) (string, error) {
	var out strings.Builder
	for text != "" {
		switch text[0] {
		case '\\':
			n := 2
			if strings.HasPrefix(text, `\x`) {
				n = 4
			}
			if len(text) < n {
				return "", fmt.Errorf("cut escape %q", text)
			}
			escape := text[:n]
			if escape == `\0` {
				escape = `\x00`
			}
			c, _, rest, err := strconv.UnquoteChar(escape, 0)
			if err != nil || rest != "" {
				return "", fmt.Errorf("odd escape %q", text[:n])
			}
			out.WriteByte(byte(c)) // #nosec G115 -- the escapes of the table stand for bytes
			text = text[n:]
		case '{':
			end := strings.IndexByte(text, '}')
			if end < 0 {
				return "", fmt.Errorf("open brace in %q", text)
			}
			expanded, err := expand(text[1:end])
			if err != nil {
				return "", err
			}
			out.WriteString(expanded)
			text = text[end+1:]
		default:
			out.WriteByte(text[0])
			text = text[1:]
		}
	}
	return out.String(), nil
}

func expand(word string) (string, error) {
	switch word {
	case "path":
		return handshake, nil
	case "session":
		return session, nil
	case "ws":
		return websocket, nil
	}
	star := strings.LastIndexByte(word, '*')
	if star < 0 {
		return "", fmt.Errorf("unknown word {%s}", word)
	}
	n, err := strconv.Atoi(word[star+1:])
	if err != nil {
		return "", err
	}
	text, err := unescape(word[:star])
	return strings.Repeat(text, n), err
}
