package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"turbine/engine"

	"golang.org/x/text/secure/precis"
	"golang.org/x/time/rate"
)

// What a chat may take of our memory, and of the others' attention.
const (
	maxRooms   = 200
	maxMembers = 200 // of a room
	maxHistory = 50  // messages that a newcomer is shown
	maxText    = 500 // characters of a message
	maxNick    = 24  // characters of a name
)

// Somebody may send ten messages at once, then one a second.
const (
	burst = 10
	pace  = rate.Limit(1)
)

var roomName = regexp.MustCompile(`^[a-z0-9-]{1,24}$`)

// A note is a message of the page's or ours, as JSON.
//
//	| type               | from | has
//	| join               | page | room, nick
//	| say                | page | text
//	| leave              | page |
//	| joined             | us   | n, room, nick, who, history: the answer to join
//	| left               | us   | the answer to leave
//	| came, went, said   | us   | n, nick, at, and text: to all in the room
//	| error              | us   | text
//
// n counts what is told to rooms. What arrives with a smaller one than joined had
// was on its way already, and is for the room that the page was in before, or in
// the history.
type note struct {
	Type    string    `json:"type"`
	N       uint64    `json:"n,omitempty"`
	Room    string    `json:"room,omitempty"`
	Nick    string    `json:"nick,omitempty"`
	Text    string    `json:"text,omitempty"`
	At      time.Time `json:"at,omitzero"`
	Who     []string  `json:"who,omitempty"`
	History []note    `json:"history,omitempty"`
}

func (n note) message() engine.Message {
	data, err := json.Marshal(n)
	if err != nil {
		panic(err) // texts and times can always be encoded
	}
	return engine.Message{Data: data}
}

// A hub has all rooms. Sessions live on several event loops, so what they share
// is behind a lock; nothing waits while it is held: sending only queues.
type hub struct {
	publish func(group string, p *engine.Prepared) // Server.Publish

	mu    sync.Mutex
	n     uint64           // guarded by mu
	rooms map[string]*room // guarded by mu
}

// tell gives a note to everybody in a room, encoded once for all. Sessions that
// Join afterwards do not get it. mu is held, so that all get notes in one order.
func (h *hub) tell(room string, n note) note {
	h.n++
	n.N, n.At = h.n, time.Now()
	p, _ := engine.Prepare(n.message()) // JSON that was made here is UTF-8
	h.publish(room, p)
	return n
}

// A room is there as long as somebody is in it.
type room struct {
	nicks   map[string]string // by what must not be equal, "ada" for "Ada"
	history []note
}

// A visitor is what a session's Value holds. Only the session's callbacks use
// it, which come one after another.
type visitor struct {
	room, nick, key string // empty when in no room
	limit           *rate.Limiter
}

func (h *hub) open(s *engine.Session, _ *engine.Request) {
	s.SetValue(&visitor{limit: rate.NewLimiter(pace, burst)})
}

func (h *hub) message(s *engine.Session, m engine.Message) {
	v := s.Value().(*visitor)
	var in note
	var err error
	switch {
	case !v.limit.Allow():
		err = errors.New("not so fast")
	case m.Binary || json.Unmarshal(m.Data, &in) != nil:
		err = errors.New("that is no message of this chat")
	case in.Type == "join":
		err = h.join(s, v, in.Room, in.Nick)
	case in.Type == "say":
		err = h.say(v, in.Text)
	case in.Type == "leave":
		h.mu.Lock()
		h.leave(s, v)
		h.mu.Unlock()
		_ = s.Send(note{Type: "left"}.message())
	default:
		err = fmt.Errorf("there is no message %q", in.Type)
	}
	if err != nil {
		// Send never waits. Its error says that the session is over, or is being
		// closed because its client reads nothing: there is nobody to tell.
		_ = s.Send(note{Type: "error", Text: err.Error()}.message())
	}
}

func (h *hub) close(s *engine.Session, _ engine.Reason, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leave(s, s.Value().(*visitor))
}

// join moves a visitor into a room, unless it returns an error.
func (h *hub) join(s *engine.Session, v *visitor, name, nick string) error {
	nick, key, err := checkNick(nick)
	if err != nil {
		return err
	}
	if !roomName.MatchString(name) {
		return errors.New("a room's name is 1 to 24 of a-z 0-9 -")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[name]
	switch {
	case v.room == name:
		return errors.New("you are here already")
	case r == nil && len(h.rooms) == maxRooms:
		return errors.New("there are too many rooms")
	case r == nil:
		r = &room{nicks: map[string]string{}}
		h.rooms[name] = r
	case len(r.nicks) == maxMembers:
		return errors.New("the room is full")
	case r.nicks[key] != "":
		return fmt.Errorf("somebody here is called %s already", r.nicks[key])
	}
	h.leave(s, v)
	h.tell(name, note{Type: "came", Nick: nick})
	r.nicks[key] = nick
	v.room, v.nick, v.key = name, nick, key
	s.Join(name)
	return s.Send(note{Type: "joined", N: h.n, Room: name, Nick: nick, Who: r.who(), History: r.history}.message())
}

func (r *room) who() []string {
	who := make([]string, 0, len(r.nicks))
	for _, nick := range r.nicks {
		who = append(who, nick)
	}
	slices.Sort(who)
	return who
}

// say tells a text to everybody in the visitor's room.
func (h *hub) say(v *visitor, text string) error {
	text = strings.TrimSpace(text)
	switch {
	case v.room == "":
		return errors.New("join a room first")
	case text == "":
		return errors.New("say something")
	case utf8.RuneCountInString(text) > maxText:
		return fmt.Errorf("a message is at most %d characters", maxText)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[v.room]
	r.history = append(r.history, h.tell(v.room, note{Type: "said", Nick: v.nick, Text: text}))
	r.history = r.history[max(0, len(r.history)-maxHistory):]
	return nil
}

// leave takes a visitor out of the room, if any, and tells the others. mu is held.
func (h *hub) leave(s *engine.Session, v *visitor) {
	r := h.rooms[v.room]
	if r == nil {
		return
	}
	delete(r.nicks, v.key)
	if len(r.nicks) == 0 {
		delete(h.rooms, v.room)
	}
	s.Leave(v.room)
	h.tell(v.room, note{Type: "went", Nick: v.nick})
	v.room, v.nick, v.key = "", "", ""
}

// checkNick brings a name into its one form, and returns with it what must
// differ from the names of others: RFC 8266 knows both. What is in it, such as
// <b>, is the page's affair, which shows it as text.
func checkNick(nick string) (name, key string, err error) {
	if len(nick) > 4*maxNick {
		return "", "", errLongNick
	}
	name, err = precis.Nickname.String(nick)
	if err == nil {
		key, err = precis.Nickname.CompareKey(nick)
	}
	switch {
	case err != nil:
		return "", "", errors.New("a name has letters, digits, signs and spaces, and is not empty")
	case utf8.RuneCountInString(name) > maxNick:
		return "", "", errLongNick
	}
	return name, key, nil
}

var errLongNick = fmt.Errorf("a name is at most %d characters", maxNick)
