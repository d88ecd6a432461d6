package main

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"sync/atomic"

	"turbine/engine"
)

// maxTopics is how many topics one client may have.
const maxTopics = 50

var topicName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]{0,63}$`)

const topicRule = "a topic is 1 to 64 of a-z 0-9 . _ / - and begins with a letter or digit"

// note is a message between a client and us. Clients send subscribe and
// unsubscribe, we send subscribed, unsubscribed, push and error.
type note struct {
	Type    string          `json:"type"`
	Topic   string          `json:"topic,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Error   string          `json:"error,omitempty"`
}

func (n note) message() engine.Message {
	data, err := json.Marshal(n)
	if err != nil {
		panic(err) // the payload was checked when it came
	}
	return engine.Message{Data: data}
}

type pusher struct {
	server  *engine.Server
	token   string
	maxBody int64
	pushes  atomic.Int64
}

func newPusher(c config) (*pusher, error) {
	p := &pusher{token: c.token, maxBody: c.maxBody}
	o := engine.Options{MaxPayload: 4096} // clients have little to say
	if c.origins != nil {
		o.Access.CORS = &engine.CORS{Origins: c.origins} // pages of these may connect
	}
	var err error
	p.server, err = engine.New(o, engine.Events{
		Open:    func(s *engine.Session, _ *engine.Request) { s.SetValue(topics{}) },
		Message: p.message,
	})
	return p, err
}

// topics are those of one client. Only its callbacks use them, and these come
// one after another, so there is no lock.
type topics map[string]bool

// message runs on the event loop of the session: nothing here waits.
func (p *pusher) message(s *engine.Session, m engine.Message) {
	var in note
	if m.Binary || json.Unmarshal(m.Data, &in) != nil {
		answer(s, note{Type: "error", Error: `send {"type":"subscribe","topic":"..."}`})
		return
	}
	mine := s.Value().(topics)
	switch {
	case !topicName.MatchString(in.Topic):
		answer(s, note{Type: "error", Error: topicRule})
	case in.Type == "subscribe" && len(mine) == maxTopics && !mine[in.Topic]:
		answer(s, note{Type: "error", Topic: in.Topic, Error: fmt.Sprintf("a client may have %d topics", maxTopics)})
	case in.Type == "subscribe":
		mine[in.Topic] = true
		s.Join(in.Topic) // it counts for every Publish after it
		answer(s, note{Type: "subscribed", Topic: in.Topic})
	case in.Type == "unsubscribe":
		delete(mine, in.Topic)
		s.Leave(in.Topic)
		answer(s, note{Type: "unsubscribed", Topic: in.Topic})
	default:
		answer(s, note{Type: "error", Topic: in.Topic, Error: "the type is subscribe or unsubscribe"})
	}
}

// answer sends without waiting. An error says that the session is closed, or is
// being closed because its client reads nothing: there is nobody to tell.
func answer(s *engine.Session, n note) { _ = s.Send(n.message()) }

// feed is what the other port serves.
func (p *pusher) feed() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /push", p.push)
	mux.HandleFunc("GET /metrics", p.metrics)
	return mux
}

// push gives the payload to all who have subscribed to the topic. 202 says that
// it is on its way, not that it has arrived.
func (p *pusher) push(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+p.token)) != 1 {
		w.Header().Set("WWW-Authenticate", `Bearer realm="pusher"`)
		http.Error(w, "send the field Authorization: Bearer, with the token of PUSHER_TOKEN", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, p.maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		http.Error(w, fmt.Sprintf("a push is at most %d bytes (-max-body)", tooLarge.Limit), http.StatusRequestEntityTooLarge)
		return
	} else if err != nil {
		return // the job that pushed has gone
	}
	var in note
	switch err := json.Unmarshal(body, &in); {
	case err != nil:
		http.Error(w, fmt.Sprintf(`send {"topic":"...","payload":...}: %v`, err), http.StatusBadRequest)
	case !topicName.MatchString(in.Topic):
		http.Error(w, topicRule, http.StatusBadRequest)
	case len(in.Payload) == 0:
		http.Error(w, "the payload is missing", http.StatusBadRequest)
	default:
		// Encoded once, for however many.
		out := note{Type: "push", Topic: in.Topic, Payload: in.Payload}
		prepared, err := engine.Prepare(out.message())
		if err != nil {
			http.Error(w, "the payload is not UTF-8", http.StatusBadRequest)
			return
		}
		if err := p.server.Publish(in.Topic, prepared); err != nil { // the server has ended
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		p.pushes.Add(1)
		w.WriteHeader(http.StatusAccepted)
	}
}

// metrics are in the format of Prometheus.
func (p *pusher) metrics(w http.ResponseWriter, _ *http.Request) {
	stats := p.server.Stats()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(w, "# TYPE pusher_pushes_total counter\npusher_pushes_total %d\n", p.pushes.Load())
	fmt.Fprintf(w, "# TYPE pusher_sessions gauge\npusher_sessions %d\n", stats.Sessions)
	fmt.Fprintf(w, "# TYPE pusher_queued_bytes gauge\npusher_queued_bytes %d\n", stats.Queued)
	fmt.Fprintln(w, "# TYPE pusher_sessions_closed_total counter")
	for reason, n := range stats.Closed {
		if reason > 0 { // there is no reason 0
			fmt.Fprintf(w, "pusher_sessions_closed_total{reason=%q} %d\n", engine.Reason(reason), n)
		}
	}
}
