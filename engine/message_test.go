package engine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Text that is not UTF-8 is refused where it is sent, whatever sends it, and
// leaves the session unchanged. A WebSocket client would close with 1007.
func TestSendRefusesWhatIsNotUTF8(t *testing.T) {
	send := map[string]func(s *Session, m Message) error{
		"Send":                (*Session).Send,
		"SendWith":            func(s *Session, m Message) error { return s.SendWith(m, SendOptions{Sent: func() {}}) },
		"SendWith NoCompress": func(s *Session, m Message) error { return s.SendWith(m, SendOptions{NoCompress: true}) },
		"SendPrepared": func(s *Session, m Message) error {
			p, err := Prepare(m)
			return errors.Join(err, s.SendPrepared(p))
		},
	}
	for name, send := range send {
		for _, command := range []string{hsPolling, hsWebSocket} {
			t.Run(name+" "+command, func(t *testing.T) {
				b := newSpec(t, 1, Options{}, nil)
				b.play(command)
				s := b.session("A")
				for _, text := range []string{"\xff", "a\x80b", "\xed\xa0\x80", "\xc0\xaf", string(make([]byte, 100)) + "\xe2\x82"} {
					require.ErrorIs(t, send(s, Message{Data: []byte(text)}), ErrNotUTF8, "%q", text)
					require.Zero(t, s.Buffered())
				}
				require.NoError(t, send(s, Message{Binary: true, Data: []byte("\xff")}))
				require.NoError(t, send(s, Message{Data: []byte("é€😀")}))
				require.NoError(t, send(s, Message{}))
				require.Equal(t, StateOpen, s.State())
				s.Close()
				b.collect()
				require.ErrorIs(t, s.Send(Message{Data: []byte("\xff")}), ErrClosed)
				if command == hsPolling {
					b.play("get sid=A")
				}
				b.finish()
			})
		}
	}
}

// What Prepare returns with an error is sent to nobody.
func TestNothingPreparedReachesNobody(t *testing.T) {
	b := newSpec(t, 2, Options{}, nil)
	openMany(b, "a", "b")
	b.session("A").Join("g")
	p, err := Prepare(Message{Data: []byte{0xff}})
	require.ErrorIs(t, err, ErrNotUTF8)
	require.Nil(t, p)
	_ = b.server.Broadcast(p)
	_ = b.server.Publish("g", p)
	require.ErrorIs(t, b.session("A").SendPrepared(p), ErrNotUTF8)
	require.Empty(t, b.got())
	b.finish()
}

func TestInitialPacketIsUTF8(t *testing.T) {
	_, err := New(Options{InitialPacket: &Message{Data: []byte{0xff}}}, Events{})
	require.ErrorIs(t, err, ErrOptions)
	require.ErrorIs(t, err, ErrNotUTF8)
	_, err = New(Options{InitialPacket: &Message{Binary: true, Data: []byte{0xff}}}, Events{})
	require.NoError(t, err)
}

// A client's text goes back without another look, but what an application has
// made of it is looked at.
func TestTextFromAClientIsKnown(t *testing.T) {
	for _, executor := range []bool{false, true} {
		for name, change := range map[string]func(m Message) (Message, error){
			"unchanged": func(m Message) (Message, error) { return m, nil },
			"cut short": func(m Message) (Message, error) {
				m.Data = m.Data[:len(m.Data)-1]
				return m, ErrNotUTF8
			},
			"begun later": func(m Message) (Message, error) {
				m.Data = m.Data[1:]
				return m, ErrNotUTF8
			},
			"longer": func(m Message) (Message, error) {
				m.Data = append(m.Data[:len(m.Data):len(m.Data)], 0xff)
				return m, ErrNotUTF8
			},
			"other data": func(m Message) (Message, error) {
				m.Data = []byte{0xff, 0xff, 0xff, 0xff}
				return m, ErrNotUTF8
			},
			"a copy": func(m Message) (Message, error) { return Message{Data: []byte(string(m.Data))}, nil },
			"whole runes of it": func(m Message) (Message, error) {
				m.Data = m.Data[:2]
				return m, nil
			},
		} {
			for _, command := range []string{hsPolling, hsWebSocket} {
				t.Run(fmt.Sprint(name, " ", command, " executor ", executor), func(t *testing.T) {
					o := Options{}
					if executor {
						o.Executor = new(byHand)
					}
					asked := 0
					b := newSpec(t, 1, o, func(_ *bench, e *Events) {
						e.Message = func(s *Session, m Message) {
							asked++
							m, want := change(m)
							require.ErrorIs(t, s.Send(m), want)
						}
					})
					b.play(command)
					b.rest()
					if command == hsPolling {
						b.play("post sid=A 4éé")
					} else {
						b.play("frame w text 4éé")
					}
					b.rest()
					require.Equal(t, 1, asked)
					b.server.CloseSessions()
					b.collect()
					if command == hsPolling {
						b.play("get sid=A")
					}
					b.rest()
					b.finish()
				})
			}
		}
	}
}

// Text and Binary are the messages that they say.
func TestTextAndBinary(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsWebSocket)
	require.NoError(t, b.session("A").Send(Text("h\u00e9")))
	require.Equal(t, []string{`w: text "4hé"`}, b.collect())
	require.NoError(t, b.session("A").Send(Binary([]byte{0xff, 0})))
	require.Equal(t, []string{`w: binary ff00`}, b.collect())
	require.ErrorIs(t, b.session("A").Send(Text("\xff")), ErrNotUTF8)
	b.finish()
}
