package packet_test

import (
	"fmt"

	"turbine/engine/packet"
)

// A polling client posts two packets; a server reads them and echoes them into
// the answer of a poll.
func Example() {
	const revision = packet.Revision4
	body := []byte("4hello\x1ebAQID")

	var echo []packet.Packet
	for rest, more := body, true; more; more = rest != nil {
		var p packet.Packet
		var err error
		if p, rest, err = revision.Next(rest); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%v binary=%v %q\n", p.Type, p.Binary, p.Data)
		echo = append(echo, p)
	}
	fmt.Println(revision.PayloadSize(echo, false), "bytes")
	fmt.Printf("%q\n", revision.AppendPayload(nil, echo, false))
	// Output:
	// message binary=false "hello"
	// message binary=true "\x01\x02\x03"
	// 12 bytes
	// "4hello\x1ebAQID"
}

// The same message for clients of both revisions.
func ExampleRevision_AppendFrame() {
	p := packet.Packet{Type: packet.Message, Binary: true, Data: []byte{1, 2, 3}}
	for _, revision := range []packet.Revision{packet.Revision3, packet.Revision4} {
		frame, binary := revision.AppendFrame(nil, p, false)
		fmt.Printf("%v % x\n", binary, frame)
		frame, binary = revision.AppendFrame(nil, p, true)
		fmt.Printf("%v %s\n", binary, frame)
	}
	// Output:
	// true 04 01 02 03
	// false b4AQID
	// true 01 02 03
	// false bAQID
}
