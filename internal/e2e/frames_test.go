package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What breaks RFC 6455 or Engine.IO on a WebSocket closes it with the code for
// it, and the session with it.
func TestUncleanFrame(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		name   string
		in     string
		codes  []int
		strict bool
	}{
		{"unmasked", string(frameHead(fin|text, 0, 2)) + "4a", []int{1002}, false},
		{"reserved bit 1", masked(fin|0x40|text, "4a"), []int{1002}, false},
		{"reserved bit 3", masked(fin|0x10|text, "4a"), []int{1002}, false},
		{"opcode 3", masked(fin|0x3, "4a"), []int{1002}, false},
		{"opcode 15", masked(fin|0xf, ""), []int{1002}, false},
		{"fragmented ping", masked(ping, "a"), []int{1002}, false},
		{"long ping", masked(fin|ping, strings.Repeat("a", 126)), []int{1002}, false},
		{"continuation of nothing", masked(fin|continuation, "4a"), []int{1002}, false},
		{"text inside a message", masked(text, "4a") + masked(fin|text, "4b"), []int{1002}, false},
		{"close of one byte", masked(fin|closing, "\x03"), []int{1002}, false},
		{"close 1005", masked(fin|closing, status(1005, "")), []int{1002}, false},
		{"close 999", masked(fin|closing, status(999, "")), []int{1002}, false},
		{"close with a reason not UTF-8", masked(fin|closing, status(1000, "\xff")), []int{1007}, false},
		{"not UTF-8", masked(fin|text, "4\xff\xfe"), []int{1007}, false},
		{"half a character", masked(fin|text, "4\xe2\x82"), []int{1007}, false},
		{"a surrogate", masked(fin|text, "4\xed\xa0\x80"), []int{1007}, false},
		{"not UTF-8 in two frames", masked(text, "4\xe2\x82") + masked(fin|continuation, "a"), []int{1007}, false},
		{"too large", string(frameHead(fin|bin, 0x80, maxPayload+1)) + "mask", []int{1009}, false},
		{"too large in two frames", masked(bin, strings.Repeat("a", 600_000)) + masked(fin|continuation, strings.Repeat("a", 400_001)), []int{1009}, false},
		{"size over 63 bits", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" + "mask", []int{1002, 1009}, false},
		{"unknown packet", masked(fin|text, "9x"), []int{noStatus}, false},
		{"letters", masked(fin|text, "abc"), []int{noStatus}, false},
		{"empty text", masked(fin|text, ""), []int{noStatus}, false},
		{"ping packet from the client", masked(fin|text, "2"), []int{noStatus}, false},
		{"close packet", masked(fin|text, "1"), []int{noStatus, 1000}, true}, // the reference server ignores it
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.strict {
				stricter(t)
			}
			p, session := s.websocket(t, 4)
			p.echoes()
			done := p.writeAside(c.in)
			p.closes(c.codes...)
			<-done
			session.gone()
		})
	}
	s.goesOn(t)
}

// The same of revision 3, where it differs: a binary message has a type byte.
func TestUncleanFrame3(t *testing.T) {
	s := serve(t)
	p, session := s.websocket(t, 3)
	p.send("2") // here the client pings
	p.receives("3")
	p.send("3")
	p.closes(noStatus)
	session.gone()

	p, session = s.websocket(t, 3)
	p.send("9x")
	p.closes(noStatus)
	session.gone()
	s.goesOn(t)
}

// A client's close frame comes back with its code, then the connection ends.
func TestCloseFrame(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		payload string
		codes   []int
	}{
		{status(1000, ""), []int{1000}},
		{status(1001, "bye"), []int{1001}},
		{status(4999, ""), []int{4999}},
		{"", []int{noStatus, 1000}}, // RFC 6455 leaves the code of this answer open
	} {
		p, session := s.websocket(t, 4)
		p.close(c.payload, c.codes...)
		session.gone()
	}
	s.goesOn(t)
}

// Frames that are unusual but in order.
func TestCleanFrames(t *testing.T) {
	s := serve(t)
	p, _ := s.websocket(t, 4)

	p.write(masked(fin|ping, "are you there"))
	first, data := p.frame()
	require.Equal(t, byte(fin|pong), first)
	require.Equal(t, "are you there", data)

	p.write(masked(fin|pong, "nobody asked"))
	p.echoes()

	// A message in three fragments, cut inside a character, with a ping in between.
	p.write(masked(text, "4\xe2") + masked(continuation, "\x82") + masked(fin|ping, "") + masked(fin|continuation, "\xac"))
	first, data = p.frame()
	require.Equal(t, byte(fin|pong), first)
	require.Empty(t, data)
	p.receives("4€")

	p.write(masked(fin|bin, "\x01\x02\x03\x04"))
	first, data = p.frame()
	require.Equal(t, byte(fin|bin), first)
	require.Equal(t, "\x01\x02\x03\x04", data)

	p.send("bAQIDBA==") // base64 is binary also in a text frame
	first, data = p.frame()
	require.Equal(t, byte(fin|bin), first)
	require.Equal(t, "\x01\x02\x03\x04", data)

	p.send("4")
	p.receives("4")
	p.send("6")
	p.send("0")
	p.echoes()

	// Exactly the largest message there may be.
	largest := "4" + strings.Repeat("x", maxPayload-1)
	done := p.writeAside(masked(fin|text, largest))
	require.Equal(t, len(largest), len(p.textFrame()))
	<-done
	p.echoes()
}

// A WebSocket request that is refused gets status 400, the text of the error and the end.
func TestRefusedUpgrade(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		name, query, body string
		strict            bool
	}{
		{"unknown session", "EIO=4&transport=websocket&sid=test", "Session ID unknown", false},
		{"prototype as session", "EIO=4&transport=websocket&sid=__proto__", "Session ID unknown", false},
		{"unknown transport", "EIO=4&transport=tobi", "Transport unknown", false},
		{"prototype as transport", "EIO=4&transport=__proto__", "Transport unknown", false},
		{"no query", "", "Transport unknown", false},
		// The reference server says so only after the 101, inside the WebSocket.
		{"unsupported revision", "EIO=5&transport=websocket", "Unsupported protocol version", true},
		{"no revision", "transport=websocket", "Unsupported protocol version", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.strict {
				stricter(t)
			}
			p := s.dial(t)
			p.write(s.upgradeRequest(c.query))
			r := p.reply("GET")
			require.Equal(t, http.StatusBadRequest, r.status)
			require.Equal(t, c.body, r.body)
			require.Equal(t, "text/html", r.header.Get("Content-Type"))
			require.True(t, r.close, "the connection is kept")
			p.ended()
		})
	}

	// Faults of the WebSocket handshake itself.
	for _, c := range []struct{ name, from, to string }{
		{"no key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""},
		{"short key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhl"},
		{"version 9", "Version: 13", "Version: 9"},
		{"no version", "Sec-WebSocket-Version: 13\r\n", ""},
		{"another protocol", "Upgrade: websocket", "Upgrade: h2c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.dial(t)
			p.write(strings.Replace(s.upgradeRequest("EIO=4&transport=websocket"), c.from, c.to, 1))
			require.Equal(t, http.StatusBadRequest, p.reply("GET").status)
		})
	}

	// Polling is no WebSocket: accepted and closed at once, with and without a session.
	t.Run("polling", func(t *testing.T) {
		p := s.dial(t)
		p.upgrade("EIO=4&transport=polling")
		p.closes(noStatus)
		session := s.poll4(t)
		p = s.dial(t)
		p.upgrade(session.query())
		p.closes(noStatus)
		session.echoes()
	})
	s.goesOn(t)
}

// Bytes that follow the upgrade request at once are frames already.
func TestUpgradeWithBody(t *testing.T) {
	s := serve(t)
	p := s.dial(t)
	p.write(s.upgradeRequest("EIO=4&transport=websocket") + "test")
	p.switched()
	// A server may have sent the open packet before it read on.
	if first, data := p.frame(); first == fin|text {
		parseOpen(t, data)
		p.closes(1002)
	} else {
		require.Equal(t, byte(fin|closing), first)
		require.Equal(t, status(1002, ""), data)
	}

	session := s.poll4(t)
	p = s.dial(t)
	p.write(s.upgradeRequest(session.with("websocket")) + "test")
	p.switched()
	p.closes(1002)
	session.echoes()

	// Good frames that come this early are taken.
	p = s.dial(t)
	p.write(s.upgradeRequest(session.with("websocket")) + masked(fin|text, "2probe") + masked(fin|text, "5"))
	p.switched()
	p.receives("3probe")
	p.echoes()
	s.goesOn(t)
}
