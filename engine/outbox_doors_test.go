package engine

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"turbine/engine/packet"
)

// The ways in which a packet comes into an outbox. Each asks the same limits.
var outboxDoors = []struct {
	name string
	on   string // the command that opens the session
	put  func(b *bench, s *Session) error
}{
	{"Send on polling", hsPolling, func(_ *bench, s *Session) error { return s.Send(filler(100)) }},
	{"Send on a WebSocket", hsWebSocket, func(_ *bench, s *Session) error { return s.Send(filler(100)) }},
	{"SendWith Sent", hsPolling, func(_ *bench, s *Session) error {
		return s.SendWith(filler(100), SendOptions{Sent: func() {}})
	}},
	{"SendWith Sent on a WebSocket", hsWebSocket, func(_ *bench, s *Session) error {
		return s.SendWith(filler(100), SendOptions{Sent: func() {}})
	}},
	{"SendPrepared", hsPolling, func(_ *bench, s *Session) error { return s.SendPrepared(prepared(filler(100))) }},
	{"Broadcast", hsPolling, func(b *bench, _ *Session) error {
		_ = b.server.Broadcast(prepared(filler(100)))
		b.world.Run()
		return nil
	}},
	{"Publish", hsPolling, func(b *bench, s *Session) error {
		s.Join("g")
		_ = b.server.Publish("g", prepared(filler(100)))
		b.world.Run()
		return nil
	}},
	{"ping", hsPolling, func(_ *bench, s *Session) error { _ = s.control(packet.Ping); return nil }},
	{"pong", "get EIO=3&transport=polling", func(b *bench, _ *Session) error { b.play("post sid=A 1:2"); return nil }},
}

// Nothing is queued for a client without a look at the limits, whoever queues
// it, and with either policy.
func TestEveryWayIntoAnOutboxAsksTheLimits(t *testing.T) {
	for _, limit := range []struct {
		name    string
		options Options
		most    int // bytes that may wait
	}{
		{"MaxQueue", Options{Queue: Queue{MaxBytes: 1000}}, 1000},
		{"MaxQueuePackets", Options{Queue: Queue{MaxPackets: 3}}, 3 * 300},
		{"QueueBudget", Options{Queue: Queue{Budget: 1000}}, 1125},
	} {
		for _, door := range outboxDoors {
			for _, policy := range []Overflow{OverflowClose, OverflowDrop} {
				t.Run(fmt.Sprint(limit.name, "/", door.name, "/", policy), func(t *testing.T) {
					o := limit.options
					o.Queue.Overflow = policy
					b := newSpec(t, 1, o, nil)
					b.play(door.on)
					if door.on == hsWebSocket {
						s := b.session("A")
						s.transport = deafTransport{s.transport} // takes nothing at all
					}
					s := b.session("A")
					for range 50 {
						err := door.put(b, s)
						require.LessOrEqual(t, b.server.Stats().Queued, int64(limit.most))
						require.LessOrEqual(t, s.Buffered(), limit.most)
						if err != nil {
							break
						}
					}
					switch {
					case door.name == "ping" || door.name == "pong":
						require.Equal(t, packetSize, s.Buffered(), "one that waits stands for all")
					case policy == OverflowClose:
						require.Zero(t, s.Buffered())
					}
					b.finish()
				})
			}
		}
	}
}

// deafTransport takes nothing.
type deafTransport struct{ transport }

func (deafTransport) ready() bool { return false }

// Whoever puts packets into an outbox has asked book before.
func TestOutboxHasOneDoor(t *testing.T) {
	files := token.NewFileSet()
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	doors := map[string][]string{}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, source, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := sel.X.(*ast.SelectorExpr)
				pushes := ok && x.Sel.Name == "outbox" && (sel.Sel.Name == "push" || sel.Sel.Name == "pushFrame")
				if pushes || sel.Sel.Name == "book" {
					doors[f.Name.Name] = append(doors[f.Name.Name], sel.Sel.Name)
				}
				return true
			})
		}
	}
	require.Equal(t, map[string][]string{"put": {"book", "push"}, "queueFrame": {"book", "pushFrame"}}, doors)
}

// A client of revision 3 that pings and reads nothing has one answer waiting,
// however often it pings: it does not use up what others need.
func TestPongsOfWhoReadsNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		const hostile, posts = 16, 4
		b := newSpec(t, loops, Options{Queue: Queue{Budget: 8 << 20}}, func(b *bench, e *Events) {
			e.Message = func(s *Session, m Message) { require.NoError(b.t, s.Send(m)) }
		})
		pings := strings.Repeat("1:2", 16_384)
		for range hostile {
			b.play("get EIO=3&transport=polling conn=one")
		}
		one := b.client("one", "").peer
		for i := range hostile {
			post := fmt.Sprintf("POST /engine.io/?EIO=3&transport=polling&sid=%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s",
				b.sessions[i].ID(), len(pings), pings)
			for range posts {
				one.Write([]byte(post))
				b.world.Run()
				require.Contains(t, string(one.Read()), "200 OK")
			}
		}
		require.EqualValues(t, hostile*packetSize, b.server.Stats().Queued)
		require.Zero(t, b.server.Stats().Limits[LimitQueueBudget])
		b.play("ws EIO=4&transport=websocket conn=good")
		require.Equal(t, []string{`good: text "4hello"`}, b.play("frame good text 4hello"))
		require.Equal(t, []string{`200 1:3`}, b.play("get sid=A"), "one answer is due")
		b.finish()
	})
}
