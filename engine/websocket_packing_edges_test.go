package engine

import (
	"strings"
	"testing"
	"time"

	"turbine/engine/packet"
	"turbine/loop/looptest"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// What a client has posted before it upgraded is told before what it sends by
// WebSocket, also while a large message for it is compressed.
func TestDeflatePortionsLeaveWhatWasPostedInFront(t *testing.T) {
	const messages = 300
	app := newSlowApp(t, Options{PerMessageDeflate: &PerMessageDeflate{}})
	peer := app.world.Dial()
	id := app.polling(peer)
	large := text(3_000_000)
	app.on = func(s *Session, text string) {
		if text == "0" {
			require.NoError(t, s.Send(Text(large)))
		}
	}
	peer.Write(app.post(id, numbered(messages)))
	for len(app.taken) == 0 {
		require.True(t, app.world.Turn())
	}
	require.Less(t, len(app.taken), messages)
	candidate := app.world.Dial()
	candidate.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket&sid=" + id,
		headers: append([]string{"Sec-WebSocket-Extensions: permessage-deflate"}, upgradeHeaders...)}.bytes())
	candidate.Write(frame(ws.OpText, "2probe"))
	candidate.Write(frame(ws.OpText, "5"))
	candidate.Write(textFrames([]string{"last", "behind"}))
	app.world.Pace(pieceTime)
	app.world.Run()
	app.world.Pace(0)
	require.Equal(t, append(numbered(messages), "last", "behind"), app.taken)
	require.Contains(t, string(candidate.Read()), "permessage-deflate")
}

// A client whose messages wait for others to be compressed is pinged in time. One that
// was slow, so that a ping waits behind such a message, has its time to answer once it
// is asked.
func TestDeflatePingsThoseInLine(t *testing.T) {
	const clients, interval, timeout = 100, 2 * time.Second, time.Second
	app := newSlowApp(t, Options{PerMessageDeflate: &PerMessageDeflate{}, PingInterval: interval, PingTimeout: timeout})
	app.cost = 20 * time.Millisecond // the loop has much else to do in each turn
	busy := app.websocket()
	var peers []*looptest.Peer
	for range clients {
		peer := app.world.Dial()
		peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket",
			headers: append([]string{"Sec-WebSocket-Extensions: permessage-deflate"}, upgradeHeaders...)}.bytes())
		app.world.Run()
		require.Contains(t, string(peer.Read()), "permessage-deflate")
		peers = append(peers, peer)
	}
	var slow *Session
	large := Text(text(1_000_000))
	for s := range app.server.Sessions() {
		if slow == nil && s.websocket.deflate.Accepted {
			slow = s
			peers[0].SetWindow(0)
			require.NoError(t, s.SendWith(large, SendOptions{NoCompress: true}))
			app.world.Run()
			require.False(t, s.websocket.conn.Ready())
		}
		require.NoError(t, s.Send(large))
	}
	app.world.Pace(pieceTime)
	const ping = "\x81\x012"
	got, pinged := make([]string, clients), make([]time.Duration, clients)
	began, most := app.world.Now(), time.Duration(0)
	for i := range pinged {
		pinged[i] = began
	}
	p := &app.server.shards[0].packing
	for rest := 200; rest > 0; {
		if p.session == nil && p.waiting.Len() == 0 {
			rest--
		}
		if app.world.Now()-began > interval+timeout/2 {
			peers[0].SetWindow(4_000_000)
		} else if app.world.Now()-began > interval+timeout/4 {
			require.True(t, slow.waits(packet.Ping))
		}
		busy.Write(frame(ws.OpText, "4x"))
		require.True(t, app.world.Turn())
		if strings.Contains(string(busy.Read()), ping) {
			busy.Write(frame(ws.OpText, "3"))
		}
		for i, peer := range peers {
			if got[i] += string(peer.Read()); strings.Contains(got[i], ping) {
				pinged[i], got[i] = app.world.Now(), ""
				peer.Write(frame(ws.OpText, "3"))
			}
			if i > 0 {
				most = max(most, app.world.Now()-pinged[i])
			}
		}
	}
	app.world.Pace(0)
	require.Greater(t, app.world.Now()-began, interval+timeout)
	require.Zero(t, app.server.Stats().Closed[ReasonPingTimeout])
	require.LessOrEqual(t, most, interval+timeout)
}
