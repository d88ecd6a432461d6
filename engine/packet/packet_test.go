package packet

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTypeNames(t *testing.T) {
	names := []string{"open", "close", "ping", "pong", "message", "upgrade", "noop", "unknown"}
	for id, name := range names {
		require.Equal(t, name, Type(id).String())
	}
	require.Equal(t, "unknown", Type(255).String())
}

func TestIsProbe(t *testing.T) {
	for _, c := range []struct {
		p    Packet
		want bool
	}{
		{text(Ping, "probe"), true},
		{text(Pong, "probe"), false},
		{text(Message, "probe"), false},
		{text(Ping, ""), false},
		{text(Ping, "prob"), false},
		{text(Ping, "probes"), false},
		{Packet{Type: Ping, Binary: true, Data: []byte("probe")}, false},
	} {
		require.Equal(t, c.want, c.p.IsProbe(), "%v", show([]Packet{c.p}))
	}
}

func TestServerPings(t *testing.T) {
	require.False(t, Revision3.ServerPings())
	require.True(t, Revision4.ServerPings())
}

func TestErrorText(t *testing.T) {
	_, err := Revision4.Decode(nil, false)
	require.True(t, errors.Is(err, ErrMalformed))
	require.EqualError(t, err, "packet: malformed packet")
}

// Rows of the protocol text, in both directions, for every form a packet has.
func TestExamples(t *testing.T) {
	const open = `{"sid":"AjxCl0Vo0Iw2NKLoAAAA","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	zeros := "00 00 00 00 00 00 00 00 00 00"
	all := []Packet{text(Open, ""), text(Close, ""), text(Ping, ""), text(Pong, ""), text(Message, ""), text(Upgrade, ""), text(Noop, "")}
	type frames []string // "t" text or "b" hex bytes, behind that letter
	for _, c := range []struct {
		name                 string
		ps                   []Packet
		v4, v3, v3b64        string
		frames4, frames3     frames
		frames4b64, frames3b frames // nil: as without base64
	}{
		{"hi", []Packet{message("hi")}, "\x34\x68\x69", "3:4hi", "3:4hi",
			frames{"t4hi"}, frames{"t4hi"}, nil, nil},
		{"all types", all, "0\x1e1\x1e2\x1e3\x1e4\x1e5\x1e6", "1:01:11:21:31:41:51:6", "1:01:11:21:31:41:51:6",
			frames{"t0", "t1", "t2", "t3", "t4", "t5", "t6"}, frames{"t0", "t1", "t2", "t3", "t4", "t5", "t6"}, nil, nil},
		{"hello world", []Packet{message("hello"), message("world")}, "4hello\x1e4world", "6:4hello6:4world", "6:4hello6:4world",
			frames{"t4hello", "t4world"}, frames{"t4hello", "t4world"}, nil, nil},
		{"euro", []Packet{message("€")}, "\x34\xe2\x82\xac", "\x32\x3a\x34\xe2\x82\xac", "2:4€",
			frames{"t4€"}, frames{"t4€"}, nil, nil},
		{"euro emoji", []Packet{message("€😀")}, "\x34\xe2\x82\xac\xf0\x9f\x98\x80", "4:4€😀", "4:4€😀",
			frames{"t4€😀"}, frames{"t4€😀"}, nil, nil},
		{"euro and bytes", []Packet{message("€"), bytesOf(1, 2, 3, 4)},
			string(unhex("34 e2 82 ac 1e 62 41 51 49 44 42 41 3d 3d")),
			string(unhex("00 04 ff 34 e2 82 ac 01 05 ff 04 01 02 03 04")), "2:4€10:b4AQIDBA==",
			frames{"t4€", "b01 02 03 04"}, frames{"t4€", "b04 01 02 03 04"}, frames{"t4€", "tbAQIDBA=="}, frames{"t4€", "tb4AQIDBA=="}},
		{"emoji and byte", []Packet{message("😀é"), bytesOf(0xff)}, "4😀é\x1eb/w==",
			string(unhex("00 07 ff 34 f0 9f 98 80 c3 a9 01 02 ff 04 ff")), "4:4😀é6:b4/w==",
			frames{"t4😀é", "bff"}, frames{"t4😀é", "b04 ff"}, frames{"t4😀é", "tb/w=="}, frames{"t4😀é", "tb4/w=="}},
		{"ten zeros", []Packet{bytesOf(make([]byte, 10)...)}, "bAAAAAAAAAAAAAA==",
			string(unhex("01 01 01 ff 04 " + zeros)), "18:b4AAAAAAAAAAAAAA==",
			frames{"b" + zeros}, frames{"b04 " + zeros}, frames{"tbAAAAAAAAAAAAAA=="}, frames{"tb4AAAAAAAAAAAAAA=="}},
		{"empty bytes", []Packet{bytesOf()}, "b", string(unhex("01 01 ff 04")), "2:b4",
			frames{"b"}, frames{"b04"}, frames{"tb"}, frames{"tb4"}},
		{"123", []Packet{bytesOf(1, 2, 3)}, "bAQID", string(unhex("01 04 ff 04 01 02 03")), "6:b4AQID",
			frames{"b01 02 03"}, frames{"b04 01 02 03"}, frames{"tbAQID"}, frames{"tb4AQID"}},
		{"orderly close", []Packet{text(Noop, ""), text(Close, "")}, "6\x1e1", "1:61:1", "1:61:1",
			frames{"t6", "t1"}, frames{"t6", "t1"}, nil, nil},
		{"open and initial packet", []Packet{text(Open, open), message("hi")}, "0" + open + "\x1e4hi", "118:0" + open + "3:4hi", "118:0" + open + "3:4hi",
			frames{"t0" + open, "t4hi"}, frames{"t0" + open, "t4hi"}, nil, nil},
		// Of the statements that concern encoding.
		{"echo of three", []Packet{message("test1"), message("test2"), message("test3")}, "4test1\x1e4test2\x1e4test3", "6:4test16:4test26:4test3", "6:4test16:4test26:4test3",
			frames{"t4test1", "t4test2", "t4test3"}, frames{"t4test1", "t4test2", "t4test3"}, nil, nil},
		{"echo mixed", []Packet{message("hello"), bytesOf(1, 2, 3, 4)}, "4hello\x1ebAQIDBA==",
			"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04", "6:4hello10:b4AQIDBA==",
			frames{"t4hello", "b01 02 03 04"}, frames{"t4hello", "b04 01 02 03 04"}, frames{"t4hello", "tbAQIDBA=="}, frames{"t4hello", "tb4AQIDBA=="}},
		{"private use", []Packet{message("\ue000\uf8ff\U000f0000")}, "4\ue000\uf8ff\U000f0000", "5:4\ue000\uf8ff\U000f0000", "5:4\ue000\uf8ff\U000f0000",
			frames{"t4\ue000\uf8ff\U000f0000"}, frames{"t4\ue000\uf8ff\U000f0000"}, nil, nil},
		{"no data", []Packet{message("")}, "4", "1:4", "1:4", frames{"t4"}, frames{"t4"}, nil, nil},
		{"ignored types", []Packet{text(Open, ""), text(Upgrade, ""), text(Noop, ""), message("x")}, "0\x1e5\x1e6\x1e4x", "1:01:51:62:4x", "1:01:51:62:4x",
			frames{"t0", "t5", "t6", "t4x"}, frames{"t0", "t5", "t6", "t4x"}, nil, nil},
		{"four euros and bytes", []Packet{message("€€€€"), bytesOf(1, 2, 3)}, "4€€€€\x1ebAQID",
			"\x00\x01\x03\xff4€€€€\x01\x04\xff\x04\x01\x02\x03", "5:4€€€€6:b4AQID",
			frames{"t4€€€€", "b01 02 03"}, frames{"t4€€€€", "b04 01 02 03"}, frames{"t4€€€€", "tbAQID"}, frames{"t4€€€€", "tb4AQID"}},
		{"probe", []Packet{text(Ping, "probe"), text(Pong, "probe")}, "2probe\x1e3probe", "6:2probe6:3probe", "6:2probe6:3probe",
			frames{"t2probe", "t3probe"}, frames{"t2probe", "t3probe"}, nil, nil},
	} {
		payload := func(r Revision, base64 bool, want string) {
			t.Run(fmt.Sprintf("%s/rev%d base64=%v", c.name, r, base64), func(t *testing.T) {
				require.Equal(t, want, string(r.AppendPayload(nil, c.ps, base64)))
				require.Equal(t, len(want), r.PayloadSize(c.ps, base64))
				got, err := readAll(stepFor(r, c.ps, base64), []byte(want))
				require.NoError(t, err)
				require.Equal(t, show(c.ps), show(got))
			})
		}
		payload(Revision4, false, c.v4)
		payload(Revision4, true, c.v4)
		payload(Revision3, false, c.v3)
		payload(Revision3, true, c.v3b64)

		frame := func(r Revision, base64 bool, want frames) {
			t.Run(fmt.Sprintf("%s/rev%d frames base64=%v", c.name, r, base64), func(t *testing.T) {
				require.Len(t, c.ps, len(want))
				for i, p := range c.ps {
					wire := []byte(want[i][1:])
					if want[i][0] == 'b' {
						wire = unhex(want[i][1:])
					}
					out, binary := r.AppendFrame([]byte("x"), p, base64)
					require.Equal(t, "x"+string(wire), string(out))
					require.Equal(t, want[i][0] == 'b', binary)
					got, err := r.Decode(wire, binary)
					require.NoError(t, err)
					require.Equal(t, show([]Packet{p}), show([]Packet{got}))
				}
			})
		}
		if c.frames4b64 == nil {
			c.frames4b64, c.frames3b = c.frames4, c.frames3
		}
		frame(Revision4, false, c.frames4)
		frame(Revision3, false, c.frames3)
		frame(Revision4, true, c.frames4b64)
		frame(Revision3, true, c.frames3b)
	}
}
