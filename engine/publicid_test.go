package engine

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// The form of a public id, which others keep: it does not change between versions.
func TestPublicIDForm(t *testing.T) {
	var s secret
	for i := range s {
		s[i] = byte(i)
	}
	require.EqualValues(t, uint64(0xa9c504c2196b1f12), s.tag(), "the first bytes of what sha256sum says of the prefix and the secret")
	for _, c := range []struct {
		id   publicID
		want string
	}{
		{publicID{}, "AAAAAAAAAAAAAAAAAAAAAA"},
		{publicID{loop: 1, slot: 2, tag: 0xa9c504c2196b1f12}, "AAAAAAEAAAKpxQTCGWsfEg"},
		{publicID{node: 1<<32 - 1, loop: 255, slot: maxSlot, tag: 1<<64 - 1}, "_____________________w"},
	} {
		require.Equal(t, c.want, c.id.String())
		got, ok := parsePublicID(c.want)
		require.True(t, ok)
		require.Equal(t, c.id, got)
	}
}

// A session is found by its public id from Open until it has ended, whatever its
// transport, its loop and its own id are, and no other session has that one.
func TestFindPublic(t *testing.T) {
	for _, loops := range []int{1, 2, 3} {
		for _, own := range []bool{false, true} {
			var o Options
			if own {
				o.GenerateID = func(r *Request) (string, error) { return "own-" + r.Query("n"), nil }
			}
			b := newSpec(t, loops, o, nil)
			found := map[string]bool{} // in the event of that name
			b.on = func(event, name string) {
				if event == "open" || event == "close" {
					_, found[event+" "+name] = b.server.FindPublic(b.session(name).PublicID())
				}
			}
			all := map[string]*Session{}
			for i := range 12 {
				b.play(fmt.Sprint("get EIO=4&transport=polling&n=", 2*i), fmt.Sprintf("ws EIO=4&transport=websocket&n=%d conn=w%d", 2*i+1, i))
			}
			for _, s := range b.sessions {
				id := s.PublicID()
				require.Regexp(t, "^[A-Za-z0-9_-]{22}$", id)
				require.Equal(t, id, s.PublicID())
				require.NotContains(t, all, id)
				require.True(t, found["open "+b.name(s)])
				all[id] = s
			}
			for id, s := range all {
				got, ok := b.server.FindPublic(id)
				require.True(t, ok)
				require.Same(t, s, got)
			}
			a := b.session("A")
			before := a.PublicID()
			b.play("ws sid=A conn=u", "frame u text 2probe", "frame u text 5")
			require.True(t, a.Upgraded())
			require.Equal(t, before, a.PublicID(), "the transport is not in it")

			closing := b.session("C")
			require.NoError(t, closing.Send(message))
			closing.Close()
			b.world.Run()
			require.Equal(t, StateClosing, closing.State())
			got, ok := b.server.FindPublic(closing.PublicID())
			require.True(t, ok)
			require.Same(t, closing, got)

			b.finish()
			for id, s := range all {
				require.False(t, found["close "+b.name(s)])
				require.Equal(t, id, s.PublicID(), "it names a session that has ended")
				_, ok := b.server.FindPublic(id)
				require.False(t, ok)
			}
		}
	}
}

// The next session in a slot is not met by the public id of the one before, also if both
// have the same id of the application's own.
func TestPublicIDOfAReusedSlot(t *testing.T) {
	for _, own := range []bool{false, true} {
		var o Options
		if own {
			o.GenerateID = func(*Request) (string, error) { return "the same", nil }
		}
		b := newSpec(t, 1, o, nil)
		slots, ids := map[loop.Slot]bool{}, map[string]bool{}
		for i := range 20 {
			b.play(hsPolling)
			s := b.session(letters(i))
			slots[s.slot] = true
			for id := range ids {
				got, ok := b.server.FindPublic(id)
				require.False(t, ok)
				require.Nil(t, got)
			}
			ids[s.PublicID()] = true
			got, ok := b.server.FindPublic(s.PublicID())
			require.True(t, ok)
			require.Same(t, s, got)
			s.CloseNow()
			b.world.Run()
		}
		require.Len(t, ids, 20)
		require.Less(t, len(slots), 20, "no slot was used twice")
		b.finish()
	}
}

// What is no session's public id finds nothing, and does no harm.
func TestFindPublicNobody(t *testing.T) {
	b := newSpec(t, 2, Options{}, nil)
	b.play(hsPolling, hsPolling, hsPolling)
	s := b.session("A")
	id, known := s.PublicID(), publicID{loop: uint8(s.loop.Index()), slot: s.slot, tag: s.secret.tag()}
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", id[publicIDLength-1])
	require.Zero(t, last%16, "the last character has four bits too many")
	wrong := []string{
		"", "nobody", s.ID(), id[:21], id + "A", id[:21] + "\n", "\n" + id[:21], id[:20] + "==", id[:21] + "+", id[:21] + "/", id[:21] + " ",
		id[:21] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last+1]), // of the same bytes, spelt otherwise
		strings.Repeat("\x00", 22), strings.Repeat("é", 11), strings.Repeat("A", 22), strings.Repeat("A", 1<<20),
	}
	for bit := range 64 {
		near := known
		near.tag ^= 1 << bit
		wrong = append(wrong, near.String())
	}
	for bit := range 24 {
		near := known
		near.slot ^= 1 << bit
		wrong = append(wrong, near.String())
	}
	for bit := range 32 {
		near := known
		near.node ^= 1 << bit
		wrong = append(wrong, near.String())
	}
	for _, elsewhere := range []uint8{known.loop ^ 1, 2, 255} {
		near := known
		near.loop = elsewhere
		wrong = append(wrong, near.String())
	}
	b.play("get sid=B conn=p") // a connection that waits
	for slot := range b.server.shards[0].loop.Slots() {
		near := known
		near.loop, near.slot = 0, slot
		if near != known {
			wrong = append(wrong, near.String())
		}
	}
	for _, id := range wrong {
		got, ok := b.server.FindPublic(id)
		require.False(t, ok, "%.40q", id)
		require.Nil(t, got)
	}
	b.finish()
	unbound, err := New(Options{}, Events{})
	require.NoError(t, err)
	got, ok := unbound.FindPublic(id)
	require.False(t, ok)
	require.Nil(t, got)
}

// A client that knows a session's public id has no part in the session: neither as it
// is, nor with its bytes in the places that they have in a session id.
func TestPublicIDOpensNothing(t *testing.T) {
	for _, loops := range []int{1, 2, 3} {
		b := newSpec(t, loops, Options{}, nil)
		b.play(hsPolling)
		b.events()
		s := b.session("A")
		raw, err := base64.RawURLEncoding.DecodeString(s.PublicID())
		require.NoError(t, err)
		for from := range len(s.secret) - 3 { // a run of four by chance: one test in ten million
			require.NotContains(t, string(raw), string(s.secret[from:from+4]), "a part of the secret")
		}
		guesses := []string{s.PublicID(), s.PublicID() + "AAAAA"}
		for at := 0; at+8 <= secretSize; at += 8 {
			guess := sid{loop: uint8(s.loop.Index()), slot: s.slot}
			copy(guess.secret[at:], raw[8:])
			guesses = append(guesses, string(appendSID(nil, guess)))
		}
		for _, guess := range guesses {
			for on := range loops {
				for method, body := range map[string]string{"GET": "", "POST": "4hi"} {
					status, answer := b.ask(on, method, "transport=polling&sid="+guess, body)
					require.Equal(t, `400 {"code":1,"message":"Session ID unknown"}`, fmt.Sprint(status, " ", answer))
				}
			}
			require.Equal(t, []string{"x: 400 Session ID unknown", "x: closed"}, b.play("ws EIO=4&transport=websocket&sid="+guess+" conn=x"))
			b.clients = b.clients[:len(b.clients)-1]
			require.Nil(t, b.server.Find(guess))
		}
		require.Empty(t, b.events())
		require.Equal(t, StateOpen, s.State())
		b.finish()
	}
}

// Each bit of a secret is hidden: a change of it changes about half of the tag.
func TestPublicIDHidesTheSecret(t *testing.T) {
	var s secret
	for i := range s {
		s[i] = byte(31 * i)
	}
	before := publicID{tag: s.tag()}
	changed := map[uint64]bool{before.tag: true}
	for bit := range secretSize * 8 {
		near := s
		near[bit/8] ^= 1 << (bit % 8)
		changed[near.tag()] = true
		different := 0
		for rest := near.tag() ^ before.tag; rest != 0; rest &= rest - 1 {
			different++
		}
		require.Greater(t, different, 10, "bit %d", bit)
		require.Less(t, different, 54, "bit %d", bit)
	}
	require.Len(t, changed, secretSize*8+1)
}

// No record shows a session's id, whatever it is about: the ids are what clients poll with.
// All that a client can cause here is logged, with every scope of Debug.
func TestNoRecordShowsASessionID(t *testing.T) {
	for _, form := range []string{"text", "json"} {
		for _, own := range []bool{false, true} {
			var log bytes.Buffer
			level := &slog.HandlerOptions{Level: slog.LevelDebug}
			logger := slog.New(slog.NewTextHandler(&log, level))
			if form == "json" {
				logger = slog.New(slog.NewJSONHandler(&log, level))
			}
			o := Options{Logger: logger, Debug: func(scope string) *slog.Logger { return logger.With("scope", scope) }, Cookie: &Cookie{EveryResponse: true}}
			o.Access.Bind = func(r *Request) string { return r.Query("me") }
			if own {
				o.GenerateID = func(r *Request) (string, error) { return "own-id-of-" + r.Query("n"), nil }
			}
			b := newSpec(t, 1, o, nil)
			b.echo = true
			b.play(hsPolling+"&n=1", "post sid=A 4hi", "get sid=A", "post sid=A&me=other 4hi", "get sid=A method=PUT", "get sid=A&transport=none", "get sid=A&EIO=3",
				"ws sid=A conn=w", "frame w text 2probe", "frame w text 5", "frame w text 4up", "get sid=A",
				"ws EIO=4&transport=websocket&n=2 conn=v", "frame v binary 6869", "frame v text 9", hsPolling+"&n=3", "get sid=C", "post sid=C x")
			b.session("A").Close()
			b.world.Run()
			require.Len(t, b.sessions, 3)
			text := log.String()
			for _, s := range b.sessions {
				require.NotContains(t, text, s.ID())
				require.Contains(t, text, s.PublicID())
			}
			for _, message := range []string{"handshake", "refused", "packet received", "flushing", "closed", "transport", "request", "message"} {
				require.Contains(t, text, message)
			}
			require.Contains(t, text, "sid=-")
			if form == "json" {
				for line := range strings.Lines(text) { // names, as in text, not the numbers behind them
					var record map[string]any
					require.NoError(t, json.Unmarshal([]byte(line), &record))
					for _, key := range []string{"transport", "reason", "now", "type"} {
						if value, ok := record[key]; ok {
							require.IsType(t, "", value, line)
						}
					}
				}
			}
			log.Reset()
			b.finish()
		}
	}
}

// A record has of a target what the protocol knows, and no more than a few bytes.
func TestLoggedTargets(t *testing.T) {
	for _, c := range []struct{ target, want string }{
		{"/engine.io/", "/engine.io/"},
		{"/engine.io/?", "/engine.io/"},
		{"/engine.io/?EIO=4&transport=polling&t=abc&b64=1&j=0", "/engine.io/?EIO=4&transport=polling&t=abc&b64=1&j=0"},
		{"/engine.io/?sid=secret", "/engine.io/?sid=-"},
		{"/engine.io/?EIO=4&sid=secret&sid=", "/engine.io/?EIO=4&sid=-&sid=-"},
		{"/engine.io/?s%69d=secret&token=secret", "/engine.io/?s%69d=-&token=-"},
		{"/engine.io/?secret&&EIO=4&", "/engine.io/?-&EIO=4"},
		{"/engine.io/?sid=sec=ret?secret", "/engine.io/?sid=-"},
		{"/engine.io/?&&", "/engine.io/"},
		{"/" + strings.Repeat("x", 300), "/" + strings.Repeat("x", 199) + "..."},
	} {
		require.Equal(t, c.want, loggedTarget([]byte(c.target)), c.target)
	}
}

func BenchmarkPublicID(b *testing.B) {
	s := newBench(b, 1, Options{})
	s.world.Dial().Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=polling"}.bytes())
	s.world.Run()
	session := s.sessions[0]
	id := session.PublicID()
	b.Run("compute", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_ = session.PublicID()
		}
	})
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = s.server.FindPublic(id)
		}
	})
	s.world.Close()
}
