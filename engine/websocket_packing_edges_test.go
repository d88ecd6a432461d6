package engine

import (
	"testing"

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
