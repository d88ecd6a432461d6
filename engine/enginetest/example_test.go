package enginetest_test

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"
)

// chat is the application: a client that has a name gets in, and is heard by all.
type chat struct{ server *engine.Server }

func (c *chat) events() engine.Events {
	return engine.Events{
		Admit: func(a *engine.Admission) error {
			if a.Query("name") == "" {
				return engine.Refuse("what is your name?")
			}
			a.SetValue(a.Query("name"))
			return nil
		},
		Open: func(s *engine.Session, _ *engine.Request) { s.Join("all") },
		Message: func(s *engine.Session, m engine.Message) {
			p, err := engine.Prepare(engine.Message{Data: append([]byte(s.Value().(string)+": "), m.Data...)})
			if err == nil {
				_ = c.server.Publish("all", p)
			}
		},
	}
}

// newWorld runs the application in memory.
func newWorld(t *testing.T) *enginetest.World {
	var app chat
	w := enginetest.New(t, engine.Options{}, app.events())
	app.server = w.Server()
	return w
}

func TestChat(t *testing.T) {
	w := newWorld(t)
	ada := w.Dial(enginetest.Options{Query: url.Values{"name": {"ada"}}})
	bob := w.Dial(enginetest.Options{Query: url.Values{"name": {"bob"}}, Transport: engine.WebSocket})
	ada.Upgrade()

	bob.Send(engine.Message{Data: []byte("hello")})
	for _, c := range []*enginetest.Client{ada, bob} {
		if got := c.NextText(); got != "bob: hello" {
			t.Errorf("got %q", got)
		}
		c.None()
	}
}

func TestChatWantsAName(t *testing.T) {
	w := newWorld(t)
	_, err := w.TryDial(enginetest.Options{})
	var refused *enginetest.Refused
	if !errors.As(err, &refused) || refused.Status != 403 || refused.Message != "what is your name?" {
		t.Errorf("got %v", err)
	}
}

// A minute passes in no time.
func TestChatForgetsSilentClients(t *testing.T) {
	w := newWorld(t)
	silent := w.Dial(enginetest.Options{Query: url.Values{"name": {"eve"}}, Mute: true})
	w.Dial(enginetest.Options{Query: url.Values{"name": {"ada"}}})

	w.Advance(time.Minute)
	if how := silent.Closed(); how != "close packet" {
		t.Errorf("got %q", how)
	}
	if n := w.Server().Stats().Sessions; n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// The tests of an application's handlers. "go test" runs those that stand beside this
// example.
func Example() {}
