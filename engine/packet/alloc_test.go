package packet

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// None of these may allocate: they run for each message of each session.
func TestNoAllocs(t *testing.T) {
	var (
		textFrame   = []byte("4hello €😀")
		binaryFrame = []byte("\x04\x01\x02\x03")
		base64Frame = []byte("b" + strings.Repeat("AQID", 50))
		payload4    = []byte("4hello\x1ebAQIDBA==\x1e4€😀")
		payload3    = []byte("6:4hello10:b4AQIDBA==4:4€😀0:")
		octets3     = []byte("\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04")
		bad         = []byte("9999999999:4hi")
		scratch     = make([]byte, 1024)
		dst         = make([]byte, 0, 1024)
		ps          = []Packet{message("hello €😀"), bytesOf(1, 2, 3, 4), text(Noop, "")}
		open        = OpenData{SID: "a\"€", Upgrades: []string{"websocket"}, PingInterval: 25 * time.Second, MaxPayload: 1e6}
	)
	all := func(next step, payload []byte) {
		rest := scratch[:copy(scratch, payload)] // base64 is decoded in place
		for more := true; more; more = rest != nil {
			_, rest, _ = next(rest)
		}
	}
	next4, next3, nextBinary := step(Revision4.Next), step(Revision3.Next), step(Revision3.NextBinary)
	for name, f := range map[string]func(){
		"Decode text":       func() { _, _ = Revision4.Decode(textFrame, false) },
		"Decode binary":     func() { _, _ = Revision3.Decode(binaryFrame, true) },
		"Decode base64":     func() { _, _ = Revision4.Decode(scratch[:copy(scratch, base64Frame)], false) },
		"Decode malformed":  func() { _, _ = Revision4.Decode(bad, false) },
		"Next rev 4":        func() { all(next4, payload4) },
		"Next rev 3":        func() { all(next3, payload3) },
		"Next malformed":    func() { all(next3, bad) },
		"NextBinary":        func() { all(nextBinary, octets3) },
		"FramePrefix":       func() { _, _ = Revision3.FramePrefix(ps[1]) },
		"AppendFrame":       func() { _, _ = Revision4.AppendFrame(dst, ps[0], false) },
		"AppendFrame b64":   func() { _, _ = Revision3.AppendFrame(dst, ps[1], true) },
		"AppendPayload v4":  func() { _ = Revision4.AppendPayload(dst, ps, false) },
		"AppendPayload v3":  func() { _ = Revision3.AppendPayload(dst, ps, false) },
		"AppendPayload b64": func() { _ = Revision3.AppendPayload(dst, ps, true) },
		"PayloadSize":       func() { _ = Revision3.PayloadSize(ps, true) },
		"PayloadCost":       func() { _ = Revision3.PayloadCost(ps[0], true) },
		"AppendOpen":        func() { _ = AppendOpen(dst, open) },
		"utf16Len":          func() { _ = utf16Len(textFrame) },
		"IsProbe":           func() { _ = ps[0].IsProbe() },
	} {
		require.Zero(t, testing.AllocsPerRun(100, f), name)
	}
}
