package loop

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"slices"
	"unsafe"
)

// tlsBuffers are the places of two buffers in a tls.Conn, which never shrink: the
// bytes of a record that is not whole, and those of a handshake message. Left
// alone, each connection keeps some 3 KB in them, and 16 KB more for good once
// it has received one full record.
//
// So the bytes of the loop's read are put where crypto/tls looks for those it has
// read before, and what is left over, if anything, is kept in a copy of its size.
// This rests on fields that are nobody's business. Where they are not what they
// are known to be, crypto/tls reads as it was meant to, and only memory is lost.
type tlsBuffers struct {
	raw, hand uintptr
	known     bool
}

var theTLSBuffers = findTLSBuffers(reflect.TypeFor[tls.Conn]())

func findTLSBuffers(conn reflect.Type) (b tlsBuffers) {
	buffer := reflect.TypeFor[bytes.Buffer]()
	raw, haveRaw := conn.FieldByName("rawInput")
	hand, haveHand := conn.FieldByName("hand")
	if haveRaw && haveHand && raw.Type == buffer && hand.Type == buffer && len(raw.Index) == 1 && len(hand.Index) == 1 {
		b = tlsBuffers{raw: raw.Offset, hand: hand.Offset, known: true}
	}
	return b
}

func (f *tlsConn) rawInput() *bytes.Buffer {
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(f.tls), theTLSBuffers.raw)) // #nosec G103 -- checked when the program starts
}

func (f *tlsConn) handInput() *bytes.Buffer {
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(f.tls), theTLSBuffers.hand)) // #nosec G103 -- the same
}

// lend gives crypto/tls p, which is borrowed and changed, to decrypt in its
// place. It reports whether it did.
func (f *tlsConn) lend(p []byte) bool {
	if !theTLSBuffers.known || len(p) == 0 || f.rawInput().Len() > 0 {
		return false
	}
	*f.rawInput() = *bytes.NewBuffer(p)
	return true
}

// holdsRecord reports whether a whole record is left of what was lent.
func (f *tlsConn) holdsRecord() bool {
	p := f.rawInput().Bytes()
	return len(p) >= 5 && len(p) >= 5+(int(p[3])<<8|int(p[4]))
}

// trim takes back what was lent, and lets go of what is empty.
func (f *tlsConn) trim(lent bool) {
	if !theTLSBuffers.known {
		return
	}
	switch raw := f.rawInput(); {
	case raw.Len() == 0:
		*raw = bytes.Buffer{}
	case lent:
		*raw = *bytes.NewBuffer(slices.Clone(raw.Bytes()))
	}
	if hand := f.handInput(); hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
}
