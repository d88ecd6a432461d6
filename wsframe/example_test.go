package wsframe_test

import (
	"fmt"

	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// A connection hands over its bytes as they come. Here a ping interrupts a
// message of two fragments, and a read ends in the middle of it all.
func ExampleReader() {
	key := [4]byte{1, 2, 3, 4}
	stream := wsframe.AppendMaskedFrame(nil, ws.OpText, false, key, []byte("hello, "))
	stream = wsframe.AppendMaskedFrame(stream, ws.OpPing, true, key, []byte("still there?"))
	stream = wsframe.AppendMaskedFrame(stream, ws.OpContinuation, true, key, []byte("world"))
	stream = wsframe.AppendMaskedFrame(stream, ws.OpText, true, key, []byte{0xff})

	var r wsframe.Reader
	defer r.Release()
	for _, p := range [][]byte{stream[:20], stream[20:]} {
		for {
			m, rest, err := r.Next(p, wsframe.Limits{})
			if err == wsframe.ErrIncomplete {
				fmt.Println("more")
				break
			}
			if err != nil {
				fault := err.(*wsframe.CloseError)
				fmt.Printf("%x\n", wsframe.AppendClose(nil, fault.Code, ""))
				return
			}
			fmt.Printf("%x %s\n", m.OpCode, m.Payload)
			p = rest
		}
	}
	// Output:
	// more
	// 9 still there?
	// 1 hello, world
	// 880203ef
}

func ExampleHandshake() {
	h := wsframe.Handshake{
		Method:  []byte("GET"),
		Key:     []byte("dGhlIHNhbXBsZSBub25jZQ=="),
		Version: []byte("12"),
	}
	fmt.Println(h.Check())
	h.Version = []byte("13")
	fmt.Println(h.Check())
	fmt.Println(string(wsframe.AppendAcceptKey(nil, h.Key)))
	// Output:
	// Missing or invalid Sec-WebSocket-Version header
	// <nil>
	// s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
}
