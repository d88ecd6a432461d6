package packet

// Decode returns the packet in one WebSocket message. It borrows frame and
// overwrites it when it holds base64; binary tells a binary message from text.
//
// Text, both revisions: a digit 0..6 and data, absent if empty; or base64
// behind 'b' (revision 4) or behind 'b' and a digit (revision 3), which a
// lenient decoder reads as the reference server's does. Text must be valid
// UTF-8, which the WebSocket layer has to check anyway.
//
// Binary: revision 4 is the raw data of a message. Revision 3 starts with the
// type id as a byte; an id above 6 is ErrMalformed, where the reference server
// ignores the packet. All else, the empty text included, is ErrMalformed.
func (r Revision) Decode(frame []byte, binary bool) (Packet, error) {
	switch {
	case !binary:
		return r.decodeText(frame)
	case r == Revision3:
		return decodeBinary3(frame)
	}
	return Packet{Type: Message, Binary: true, Data: frame}, nil
}

// FramePrefix returns the byte that stands in front of p.Data in a WebSocket
// message: the digit of the type in text; the type id in a binary message of
// revision 3. A binary message of revision 4 has none, and ok is false.
func (r Revision) FramePrefix(p Packet) (prefix byte, ok bool) {
	switch {
	case !p.Binary:
		return digit(p.Type), true
	case r == Revision3:
		return byte(p.Type), true
	}
	return 0, false
}

// AppendFrame appends the payload of the WebSocket message that carries p, and
// reports whether that message is binary. It borrows p. base64 says that the
// client cannot take binary messages: p becomes text, "b" and base64 in
// revision 4, "b", digit and base64 in revision 3.
func (r Revision) AppendFrame(dst []byte, p Packet, base64 bool) (out []byte, binary bool) {
	if p.Binary && !base64 {
		if prefix, ok := r.FramePrefix(p); ok {
			dst = append(dst, prefix)
		}
		return append(dst, p.Data...), true
	}
	return r.appendText(dst, p), false
}

// decodeText decodes the text form of a packet, which WebSocket messages and
// payloads share. It borrows and may overwrite text.
func (r Revision) decodeText(text []byte) (Packet, error) {
	if len(text) == 0 {
		return Packet{}, ErrMalformed
	}
	if t := fromDigit(text[0]); t.known() {
		if len(text) == 1 {
			return Packet{Type: t}, nil
		}
		return Packet{Type: t, Data: text[1:]}, nil
	}
	if text[0] != 'b' {
		return Packet{}, ErrMalformed
	}
	t, encoded := Message, text[1:]
	if r == Revision3 {
		if len(encoded) == 0 || !fromDigit(encoded[0]).known() {
			return Packet{}, ErrMalformed
		}
		t, encoded = fromDigit(encoded[0]), encoded[1:]
	}
	return Packet{Type: t, Binary: true, Data: decodeBase64(encoded)}, nil
}

// appendText appends the text form of p, base64 if p is binary.
func (r Revision) appendText(dst []byte, p Packet) []byte {
	if !p.Binary {
		return append(append(dst, digit(p.Type)), p.Data...)
	}
	dst = append(dst, 'b')
	if r == Revision3 {
		dst = append(dst, digit(p.Type))
	}
	return appendBase64(dst, p.Data)
}

// textLen is the number of bytes that appendText appends.
func (r Revision) textLen(p Packet) int {
	switch {
	case !p.Binary:
		return 1 + len(p.Data)
	case r == Revision3:
		return 2 + base64Len(len(p.Data))
	}
	return 1 + base64Len(len(p.Data))
}

// decodeBinary3 decodes the binary form of a revision 3 packet. It borrows p.
func decodeBinary3(p []byte) (Packet, error) {
	if len(p) == 0 || !Type(p[0]).known() {
		return Packet{}, ErrMalformed
	}
	return Packet{Type: Type(p[0]), Binary: true, Data: p[1:]}, nil
}

func digit(t Type) byte { return '0' + byte(t) }

// fromDigit returns an unknown type for everything but '0' to '6': what is
// below '0' wraps around.
func fromDigit(c byte) Type { return Type(c - '0') }
