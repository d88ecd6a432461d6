package packet

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

func text(t Type, data string) Packet { return Packet{Type: t, Data: []byte(data)} }

func message(data string) Packet { return text(Message, data) }

func bytesOf(data ...byte) Packet { return Packet{Type: Message, Binary: true, Data: data} }

// unhex reads "34 0a"; everything a table row of the protocol text may hold.
func unhex(s string) []byte {
	var p []byte
	for _, field := range strings.Fields(s) {
		var b byte
		if _, err := fmt.Sscanf(field, "%02x", &b); err != nil {
			panic(err)
		}
		p = append(p, b)
	}
	return p
}

// show makes packets comparable: a Data of nil and an empty one are the same.
func show(ps []Packet) []string {
	out := []string{}
	for _, p := range ps {
		form := "text"
		if p.Binary {
			form = "binary"
		}
		out = append(out, fmt.Sprintf("%v %s %q", p.Type, form, p.Data))
	}
	return out
}

type step func([]byte) (Packet, []byte, error)

// readAll decodes a copy of payload to its end or first error.
func readAll(next step, payload []byte) (ps []Packet, err error) {
	rest := append([]byte{}, payload...)
	for {
		var p Packet
		if p, rest, err = next(rest); err != nil {
			return ps, err
		}
		p.Data = append([]byte(nil), p.Data...)
		if ps = append(ps, p); rest == nil {
			return ps, nil
		}
	}
}

// stepFor is the decoder of what AppendPayload made of ps.
func stepFor(r Revision, ps []Packet, base64 bool) step {
	if r.BinaryPayload(ps, base64) {
		return r.NextBinary
	}
	return r.Next
}

var alphabet = []string{"a", "Z", "7", ":", "b", "=", "\"", "\\", "\n", "\x00", "é", "€", "\u2028", "\ue000", "\uffff", "😀", "\U0010ffff", "0123456789"}

// randomPackets makes packets that the revision can carry without loss.
func randomPackets(random *rand.Rand, r Revision) []Packet {
	ps := make([]Packet, 1+random.IntN(5))
	for i := range ps {
		p := Packet{Type: Type(random.IntN(int(Noop) + 1)), Binary: random.IntN(3) == 0}
		if p.Binary {
			if r != Revision3 {
				p.Type = Message
			}
			for range random.IntN(40) {
				p.Data = append(p.Data, byte(random.Uint32()))
			}
		} else {
			for range random.IntN(40) {
				p.Data = append(p.Data, alphabet[random.IntN(len(alphabet))]...)
			}
		}
		ps[i] = p
	}
	return ps
}
