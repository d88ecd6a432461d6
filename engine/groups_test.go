package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"turbine/internal/race"

	"github.com/stretchr/testify/require"
)

// got is what each client was sent, by name, since it was asked last.
func (b *bench) got() string {
	b.world.Run()
	var lines []string
	for _, line := range b.collect() {
		lines = append(lines, strings.Replace(line, `: text "4`, ` "`, 1))
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

func say(text string) *Prepared { return prepared(Message{Data: []byte(text)}) }

// openMany opens sessions on WebSockets. It looks once for all of them at what has
// arrived, not after each: 10,000 sessions take a second.
func openMany(b *bench, names ...string) {
	b.t.Helper()
	for _, name := range names {
		require.NoError(b.t, b.command("ws", []string{"EIO=4&transport=websocket", "conn=" + name}, nil))
		b.work()
	}
	b.collect()
	b.events()
}

func TestGroups(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, nil)
		openMany(b, "a", "b", "c")
		a, c := b.session("A"), b.session("C")

		_ = b.server.Publish("news", say("nobody"))
		require.Empty(t, b.got())

		a.Join("news")
		a.Join("news")
		c.Join("news")
		c.Join("sports")
		_ = b.server.Publish("news", say("1"))
		_ = b.server.Publish("sports", say("2"))
		_ = b.server.Publish("weather", say("3"))
		require.Equal(t, `a "1", c "1", c "2"`, strings.ReplaceAll(b.got(), `""`, `"`))
		require.Equal(t, []string{"news", "sports"}, c.Groups())
		require.Nil(t, b.session("B").Groups())

		_ = b.server.PublishTo(Audience{Groups: []string{"news"}, Keep: func(s *Session) bool { return s != a }}, say("4"))
		_ = b.server.PublishTo(Audience{Keep: func(s *Session) bool { return s == a }}, say("5"))
		require.Equal(t, `a "5", c "4"`, b.got())

		c.Leave("news")
		c.Leave("unknown")
		_ = b.server.Publish("news", say("6"))
		require.Equal(t, `a "6"`, b.got())
		require.Equal(t, []string{"sports"}, c.Groups())

		a.CloseNow()
		_ = b.server.Publish("news", say("7"))
		require.NotContains(t, b.got(), "7")
		a.Join("weather")
		a.Leave("news")
		b.world.Run()
		require.Equal(t, []string{"news"}, a.Groups(), "a closed session joins and leaves nothing")
		b.finish()
	})
}

// However a session ends, its Close and whoever asks later hear what it was in,
// and nothing is published to it any more.
func TestGroupsOfAClosedSession(t *testing.T) {
	for _, held := range []bool{false, true} {
		for name, end := range map[string]func(b *bench, s *Session){
			"the client closes": func(b *bench, _ *Session) { b.play("close a") },
			"its connection":    func(b *bench, _ *Session) { b.play("reset a") },
			"CloseNow":          func(_ *bench, s *Session) { s.CloseNow() },
			"Close":             func(_ *bench, s *Session) { s.Close() },
			"a panic":           func(b *bench, _ *Session) { b.play("frame a text 4panic") },
			"ping timeout":      func(b *bench, _ *Session) { b.play("advance 46s") },
		} {
			t.Run(fmt.Sprint(name, " with an Executor: ", held), func(t *testing.T) {
				var heard []string
				o := Options{}
				if held {
					o.Executor = new(byHand)
				}
				b := newSpec(t, 2, o, func(b *bench, e *Events) {
					e.Message = func(*Session, Message) { panic("on purpose") }
					closed := e.Close
					e.Close = func(s *Session, r Reason, err error) {
						closed(s, r, err)
						_ = b.server.Publish("news", say("too late"))
						heard = s.Groups()
						heard[0] += "!" // a copy
					}
				})
				b.play("ws EIO=4&transport=websocket conn=a")
				b.rest()
				b.collect()
				s := b.session("A")
				s.Join("news")
				s.Join("weather")
				s.Join("sports")
				s.Leave("weather")
				b.world.Run()
				end(b, s)
				b.rest()
				got := b.collect()
				require.Equal(t, StateClosed, s.State())
				require.NotContains(t, strings.Join(got, "|"), "too late")
				require.Equal(t, []string{"news!", "sports"}, heard)
				require.Equal(t, []string{"news", "sports"}, s.Groups())
				for _, shard := range b.server.shards {
					require.Empty(t, shard.groups)
				}
				b.logged.lines.Store(0)
				b.finish()
			})
		}
	}
}

// A join is seen by what is published after it, and so is a leave, from within a
// callback as from elsewhere.
func TestGroupsKeepTheOrderOfCalls(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, func(b *bench, e *Events) {
			e.Message = func(s *Session, _ Message) {
				_ = b.server.Publish("g", say("before"))
				s.Join("g")
				_ = b.server.Publish("g", say("joined"))
				s.Leave("g")
				_ = b.server.Publish("g", say("left"))
			}
		})
		openMany(b, "a")
		require.Equal(t, []string{`a: text "4joined"`}, b.play("frame a text 4x"))
		b.finish()
	})
}

// Publishing continues, turn by turn, while sessions join, leave and close: a session
// that stays gets each message once, in order. Against a plain model.
func TestGroupsUnderChange(t *testing.T) {
	const seeds uint64 = 20 / min(race.Less, 5)
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 4))
		loops := 1 + int(seed%3)
		b := newSpec(t, loops, Options{}, nil)
		const clients = 200
		names := make([]string, clients)
		for i := range names {
			names[i] = fmt.Sprintf("w%d", i)
		}
		openMany(b, names...)
		member, closed := make([]bool, clients), make([]bool, clients)
		for i := range clients {
			if random.IntN(4) > 0 {
				b.sessions[i].Join("g")
				member[i] = true
			}
		}
		b.world.Run()
		for round := range 10 {
			stays := slices.Clone(member)
			for n := range 5 {
				_ = b.server.Publish("g", say(fmt.Sprintf("%d.%d", round, n)))
				for range random.IntN(60) {
					i := random.IntN(clients)
					switch s := b.sessions[i]; random.IntN(10) {
					case 0:
						s.CloseNow()
						member[i], stays[i], closed[i] = false, false, true
					case 1, 2, 3, 4:
						if !closed[i] {
							s.Join("g")
							member[i] = true
						}
					default:
						s.Leave("g")
						member[i], stays[i] = false, false
					}
					if random.IntN(4) == 0 {
						b.world.Turn()
					}
				}
			}
			b.world.Run()
			for i, c := range b.clients {
				var numbers []int
				for _, line := range b.collectFrom(c) {
					var r, n int
					if _, err := fmt.Sscanf(line, c.name+": text \"4%d.%d\"", &r, &n); err == nil {
						require.Equal(t, round, r)
						numbers = append(numbers, n)
					}
				}
				require.True(t, slices.IsSorted(numbers), "%s got %v", c.name, numbers)
				require.Len(t, slices.Compact(slices.Clone(numbers)), len(numbers), "%s got %v", c.name, numbers)
				if stays[i] {
					require.Equal(t, []int{0, 1, 2, 3, 4}, numbers, "seed %d, round %d, %s", seed, round, c.name)
				}
			}
			b.events()
		}
		for i, s := range b.sessions {
			if s.State() == StateOpen {
				require.Equal(t, member[i], slices.Contains(s.Groups(), "g"))
			}
		}
		b.finish()
	}
}

// A group costs nothing once all have left.
func TestGroupsShrink(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	names := make([]string, 300)
	for i := range names {
		names[i] = fmt.Sprintf("w%d", i)
	}
	openMany(b, names...)
	for _, s := range b.sessions {
		s.Join("g")
		s.Join("h")
	}
	b.world.Run()
	for _, s := range b.sessions[:299] {
		s.Leave("g")
	}
	b.world.Run()
	g := b.server.shards[0].groups["g"]
	require.Less(t, len(g.members), 2*minEmpty)
	require.LessOrEqual(t, cap(g.members), 4*minEmpty)
	_ = b.server.Publish("g", say("x"))
	require.Equal(t, `w299 "x"`, b.got())
	b.finish()
}

// A panic in a filter costs the session it was asked about, and nobody else.
func TestFilterPanics(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	openMany(b, "a", "b", "c")
	for _, s := range b.sessions {
		s.Join("g")
	}
	var dones []string
	_ = b.server.PublishTo(Audience{Groups: []string{"g"}, Keep: func(s *Session) bool {
		if s == b.sessions[1] {
			panic("filter")
		}
		return true
	}, Done: func(taken, refused int) { dones = append(dones, fmt.Sprint(taken, " and ", refused)) }}, say("x"))
	require.Equal(t, `a "x", b: close, b: closed, c "x"`, b.got())
	require.Contains(t, b.events(), ErrCallbackPanic.Error())
	require.Equal(t, []string{"2 and 1"}, dones)
	b.logged.lines.Store(0)
	b.finish()
}
