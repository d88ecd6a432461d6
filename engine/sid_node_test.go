package engine

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// The bytes of ids: those of a server alone are as they were before there were nodes.
func TestIDForms(t *testing.T) {
	var s secret
	for i := range s {
		s[i] = byte(0xf0 + i)
	}
	for _, c := range []struct {
		id   sid
		text string
	}{
		{sid{}, strings.Repeat("A", 27)},
		{sid{loop: 1, slot: 2, secret: s}, "AQAAAvDx8vP09fb3-Pn6-_z9_v8"},
		{sid{loop: 255, slot: maxSlot, secret: s}, "______Dx8vP09fb3-Pn6-_z9_v8"},
		{sid{node: 1, loop: 1, slot: 2, secret: s}, "AAAAAQEAAALw8fLz9PX29_j5-vv8_f7_"},
		{sid{node: 1<<32 - 1, loop: 255, slot: maxSlot, secret: s}, "__________" + "_w8fLz9PX29_j5-vv8_f7_"},
	} {
		require.Equal(t, c.text, string(appendSID(nil, c.id)))
		for _, named := range []bool{false, true} {
			id, ok := parseSID([]byte(c.text), named)
			require.Equal(t, named == (c.id.node != 0), ok, "a server takes the ids of its own form: %q", c.text)
			if ok {
				require.Equal(t, c.id, id)
			}
		}
	}
	_, ok := parseSID([]byte(strings.Repeat("A", 32)), true)
	require.False(t, ok, "node 0 is none")
	for i := range 32 {
		text := []byte(strings.Repeat("B", 32))
		text[i] = '~'
		_, ok := parseSID(text, true)
		require.False(t, ok, "%q", text)
	}
}

// Ids name the node of a server that has one, whoever has chosen them, and the server
// finds its own sessions alone.
func TestIDsNameTheNode(t *testing.T) {
	for _, loops := range []int{1, 3} {
		b := newSpec(t, loops, Options{Node: &Node{ID: 0xfedcba98}, Cookie: &Cookie{EveryResponse: true}}, func(_ *bench, e *Events) {
			e.Admit = func(a *Admission) error {
				a.SetID(a.Query("id"))
				return nil
			}
		})
		b.echo = true
		for i, own := range []string{"", "own", "a b~AAAAAA", strings.Repeat("x", 25), strings.Repeat("é ", 150)} {
			status, body := b.ask(0, "GET", "transport=polling&id="+url.QueryEscape(own), "")
			require.Equal(t, 200, status)
			s := b.session(letters(i))
			require.Equal(t, s.ID(), openSID(t, []byte(body)))
			if own == "" {
				require.Regexp(t, "^_ty6m[A-Za-z0-9_-]{27}$", s.ID())
			} else {
				require.Equal(t, own+"~_ty6mA", s.ID())
			}
			require.Same(t, s, b.server.Find(s.ID()))
			public, ok := b.server.FindPublic(s.PublicID())
			require.True(t, ok)
			require.Same(t, s, public)
			require.True(t, strings.HasPrefix(s.PublicID(), "_ty6m"), "%q", s.PublicID())
			for on := range loops {
				query := "transport=polling&sid=" + url.QueryEscape(s.ID())
				status, body = b.ask(on, "POST", query, "4hi")
				require.Equal(t, "200 ok", fmt.Sprint(status, " ", body))
				status, body = b.ask(on, "GET", query, "")
				require.Equal(t, "200 4hi", fmt.Sprint(status, " ", body))
			}
			for _, other := range othersIDs(s) {
				require.Nil(t, b.server.Find(other), "%q", other)
				for on := range loops {
					status, body = b.ask(on, "GET", "transport=polling&sid="+url.QueryEscape(other), "")
					require.Equal(t, `400 {"code":1,"message":"Session ID unknown"}`, fmt.Sprint(status, " ", body), "%q", other)
				}
				require.Equal(t, []string{"x: 400 Session ID unknown", "x: closed"}, b.play("ws EIO=4&transport=websocket&sid="+url.QueryEscape(other)+" conn=x"))
				b.clients = b.clients[:len(b.clients)-1]
			}
		}
		b.finish()
		require.Empty(t, b.server.ownIDs.homes)
	}
}

// othersIDs are ids that are the session's but for what they say of the node.
func othersIDs(s *Session) (ids []string) {
	if own, ok := strings.CutSuffix(s.ID(), "~_ty6mA"); ok {
		return []string{own, own + "~_ty6mQ", own + "~_ty6mB", own + "~_ty6m", own + "~_ty6mAA"}
	}
	for _, node := range []NodeID{0, 1, s.server.node() - 1} {
		id := s.home()
		id.node = node
		ids = append(ids, string(appendSID(nil, id)))
	}
	return ids
}

// A secret and a place are not enough: an id of another node is not a session's here.
func TestIDOfAnotherNodeHasNoHome(t *testing.T) {
	b := newSpec(t, 2, Options{Node: &Node{ID: 7}}, nil)
	b.play(hsPolling)
	id := b.session("A").home()
	home, ok := b.server.homeOf(&id)
	require.True(t, ok)
	require.Same(t, b.session("A").loop, home)
	for _, other := range []sid{
		{node: 8, loop: id.loop, slot: id.slot, secret: id.secret},
		{node: 0, loop: id.loop, slot: id.slot, secret: id.secret},
		{node: 7, loop: 2, slot: id.slot, secret: id.secret},
	} {
		home, ok := b.server.homeOf(&other)
		require.False(t, ok)
		require.Equal(t, (*loop.Loop)(nil), home)
	}
	b.finish()
}
