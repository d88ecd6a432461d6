package engine

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"turbine/internal/race"

	"github.com/stretchr/testify/require"
)

// audiences is a server with sessions a to f. The groups are red (a, b, c), blue (b,
// c, d) and green (c, d, e); f is in none.
func audiences(t *testing.T, loops int) (b *bench, of func(names string) []*Session) {
	b = newSpec(t, loops, Options{}, nil)
	openMany(b, "a", "b", "c", "d", "e", "f")
	of = func(names string) (all []*Session) {
		for _, name := range strings.Fields(names) {
			all = append(all, b.sessions[name[0]-'a'])
		}
		return all
	}
	for group, names := range map[string]string{"red": "a b c", "blue": "b c d", "green": "c d e"} {
		for _, s := range of(names) {
			s.Join(group)
		}
	}
	b.world.Run()
	return b, of
}

func TestAudiences(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b, of := audiences(t, loops)
		other, _ := audiences(t, 1)
		not := func(names string) func(*Session) bool {
			return func(s *Session) bool { return !slices.Contains(of(names), s) }
		}
		for name, c := range map[string]struct {
			Audience
			want string
		}{
			"everybody":                        {Audience{}, "a b c d e f"},
			"one group":                        {Audience{Groups: []string{"red"}}, "a b c"},
			"a union":                          {Audience{Groups: []string{"green", "red", "blue"}}, "a b c d e"},
			"a name twice":                     {Audience{Groups: []string{"red", "red"}}, "a b c"},
			"an unknown name":                  {Audience{Groups: []string{"grey", "blue", "black"}}, "b c d"},
			"sessions":                         {Audience{Sessions: of("f a f")}, "a f"},
			"sessions and groups":              {Audience{Groups: []string{"red"}, Sessions: of("f a")}, "a b c f"},
			"all except a group":               {Audience{Except: []string{"blue"}}, "a e f"},
			"all except groups":                {Audience{Except: []string{"blue", "red", "grey"}}, "e f"},
			"all except sessions":              {Audience{ExceptSessions: of("a f")}, "b c d e"},
			"a union except a group":           {Audience{Groups: []string{"red", "green"}, Except: []string{"blue"}}, "a e"},
			"a union except one of its groups": {Audience{Groups: []string{"red", "green"}, Except: []string{"red"}}, "d e"},
			"groups except sessions":           {Audience{Groups: []string{"red", "green"}, ExceptSessions: of("c f")}, "a b d e"},
			"sessions except a group":          {Audience{Sessions: of("a b f"), Except: []string{"blue"}}, "a f"},
			"sessions except sessions":         {Audience{Sessions: of("a b f"), ExceptSessions: of("a")}, "b f"},
			"a session that is also a member":  {Audience{Groups: []string{"red"}, Sessions: of("a"), ExceptSessions: of("a")}, "b c"},
			"Keep":                             {Audience{Groups: []string{"red"}, Sessions: of("f"), Keep: not("a f")}, "b c"},
			"Keep of everybody":                {Audience{Except: []string{"red"}, Keep: not("e")}, "d f"},
			"no group":                         {Audience{Groups: []string{}}, ""},
			"no session":                       {Audience{Sessions: []*Session{}}, ""},
			"no session, but a group":          {Audience{Groups: []string{"red"}, Sessions: []*Session{}}, "a b c"},
			"nil, and another server's":        {Audience{Sessions: append(of("a"), nil, other.sessions[1])}, "a"},
			"nil excepted":                     {Audience{ExceptSessions: []*Session{nil, other.sessions[1]}}, "a b c d e f"},
			"nobody is left":                   {Audience{Groups: []string{"red"}, Except: []string{"red"}}, ""},
		} {
			dones := 0
			c.Done = func(taken, refused int) {
				dones++
				require.Equal(t, len(strings.Fields(c.want)), taken, name)
				require.Zero(t, refused, name)
			}
			require.NoError(t, b.server.PublishTo(c.Audience, say("x")))
			for _, list := range [][]string{c.Groups, c.Except} { // they are borrowed
				for i := range list {
					list[i] = "overwritten"
				}
			}
			clear(c.Sessions)
			clear(c.ExceptSessions)
			require.Zero(t, dones, "before the loops had their turn")
			var got []string
			for client := range b.texts() {
				got = append(got, client)
			}
			slices.Sort(got)
			require.Equal(t, c.want, strings.Join(got, " "), name)
			require.Equal(t, 1, dones, name)
			for _, shard := range b.server.shards {
				for _, g := range shard.groups {
					require.Zero(t, g.role)
				}
			}
		}
		b.finish()
		other.finish()
	})
}

// Done counts those that took the message, and those that did not although it was
// for them.
func TestDoneCountsTakenAndRefused(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Queue: Queue{MaxPackets: 2, Overflow: OverflowDrop}}, nil)
		openMany(b, "a", "b", "c")
		b.play("get EIO=4&transport=polling conn=p")
		a, ended, closing, full := b.sessions[0], b.sessions[1], b.sessions[2], b.sessions[3]
		ended.CloseNow()
		b.world.Run()
		for full.Send(message) == nil {
		}
		closing.Close()
		told := ""
		tell := func(taken, refused int) { told += fmt.Sprintf("%d and %d. ", taken, refused) }
		require.NoError(t, b.server.PublishTo(Audience{Sessions: []*Session{a, ended, closing, full}, Done: tell}, say("x")))
		b.world.Run()
		require.NoError(t, b.server.PublishTo(Audience{Done: tell}, say("x")))
		b.world.Run()
		require.NoError(t, b.server.PublishTo(Audience{Keep: func(s *Session) bool { return s == a }, Done: tell}, say("x")))
		b.world.Run()
		lines := strings.Split(told, ". ")
		require.Equal(t, "1 and 3", lines[0])
		require.True(t, strings.HasPrefix(lines[1], "1 and "), told)
		require.Equal(t, "1 and 0", lines[2])
		require.Len(t, lines, 4)
		for s := range b.server.Sessions() {
			s.CloseNow() // nobody polls for what waits
		}
		b.work()
		b.collect()
		b.world.Close()
		require.Zero(t, OnLoan(), "buffers left on loan")
	})
}

// A next message that is published from Done goes out when the one before has
// reached all: a program holds itself back.
func TestPublishingFromDone(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, nil)
		names := make([]string, 3*walkVisits)
		for i := range names {
			names[i] = fmt.Sprint("w", i)
		}
		openMany(b, names...)
		var publish func(n int)
		publish = func(n int) {
			if n == 10 {
				return
			}
			require.NoError(t, b.server.PublishTo(Audience{Done: func(taken, _ int) {
				require.Equal(t, len(names), taken)
				publish(n + 1)
			}}, say(fmt.Sprint(n))))
		}
		publish(0)
		got := b.texts()
		for _, name := range names {
			require.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, got[name])
		}
		b.finish()
	})
}

// Where loops stop, Done of what they have taken on is called once all the same, also
// of a program that publishes again from each Done; afterwards there is an error.
func TestDoneWhereLoopsStop(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, nil)
		require.ErrorIs(t, b.server.Broadcast(nil), ErrNotUTF8)
		require.ErrorIs(t, b.server.Publish("g", nil), ErrNotUTF8)
		require.ErrorIs(t, b.server.PublishTo(Audience{}, nil), ErrNotUTF8)
		openMany(b, "a", "b")
		for _, s := range b.sessions {
			s.Join("g")
		}
		asked, dones := 0, 0
		var again func()
		again = func() {
			for _, a := range []Audience{{}, {Groups: []string{"g"}}} {
				last := b.server.PublishTo(Audience{Groups: a.Groups, Done: func(int, int) {
					dones++
					if asked < 100_000/race.Less {
						again()
					}
				}}, say("x"))
				if last == nil {
					asked++
				} else {
					require.ErrorIs(t, last, ErrNotServing)
				}
			}
		}
		again()
		b.world.Close()
		require.Equal(t, asked, dones)
		require.ErrorIs(t, b.server.Broadcast(say("x")), ErrNotServing)
		require.ErrorIs(t, b.server.Publish("g", say("x")), ErrNotServing)
		b.server.CloseGroup("g")
		require.Equal(t, asked, dones)
	})
}

// Publishing, in all its forms, from several goroutines to sessions on sockets, while
// they join and leave: each message that Done reports as taken arrives.
func TestAudiencesOnSockets(t *testing.T) {
	const sessions, callers, rounds = 12, 3, 40
	opened := make(chan *Session, sessions)
	server, address, ended := serveWith(t, Options{Loops: 2}, Events{Open: func(s *Session, _ *Request) { opened <- s }})
	var all []*Session
	clients := make([]*wire, sessions)
	for i := range clients {
		clients[i] = dialWire(t, address)
		clients[i].websocket()
		all = append(all, <-opened)
	}
	var mu sync.Mutex
	taken, dones := 0, 0
	var group, told sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			red, blue := fmt.Sprint("red", c), fmt.Sprint("blue", c)
			for n := range rounds {
				s := all[n%sessions]
				s.Join(red)
				all[(n+5)%sessions].Join(blue)
				if n%3 == 0 {
					s.Leave(blue)
				}
				told.Add(1)
				done := func(took, refused int) {
					mu.Lock()
					defer mu.Unlock()
					taken, dones = taken+took, dones+1
					if refused != 0 {
						t.Error("refused", refused)
					}
					told.Done()
				}
				a := []Audience{
					{Done: done}, {Groups: []string{red, blue}, Sessions: all[:3], Done: done},
					{Groups: []string{red}, Except: []string{blue}, Done: done}, {ExceptSessions: all[4:], Done: done},
				}[n%4]
				if err := server.PublishTo(a, say("x")); err != nil {
					t.Error(err)
				}
				members := 0
				for range server.Members(red) {
					members++
				}
				if count := server.Count(red); count > sessions || members > sessions {
					t.Error(count, members)
				}
				for name, n := range server.GroupNames() {
					if n > sessions || n < 1 {
						t.Error(name, n)
					}
				}
			}
		})
	}
	group.Wait()
	told.Wait()
	require.Equal(t, callers*rounds, dones)
	require.NoError(t, server.Broadcast(say("end")))
	got := 0
	for _, c := range clients {
		for text := c.text(); text != "4end"; text = c.text() {
			if text == "4x" {
				got++
			}
		}
	}
	require.Equal(t, taken, got)
	for _, c := range clients {
		c.hangUp()
	}
	require.NoError(t, server.Shutdown(t.Context()))
	if err := <-ended; !errors.Is(err, ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		require.NoError(t, err)
	}
	require.ErrorIs(t, server.Broadcast(say("x")), ErrNotServing)
}
