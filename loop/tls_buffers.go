package loop

import (
	"bytes"
	"crypto/tls"
	"io"
	"reflect"
	"unsafe"

	"turbine/internal/invariants"
	"turbine/pool"
)

// tlsBuffers are the places of two buffers in a tls.Conn, which never shrink: the
// bytes of a record that is not whole, and those of a handshake message. Left
// alone, each connection keeps about 3 KB in them, and 16 KB more for good once
// it has received one full record.
//
// So whole records are put where crypto/tls looks for bytes that it has read
// before, to be decrypted in the loop's own read buffer. A piece of one waits with
// us, in a buffer that grows with what has come: crypto/tls would take the room
// that the record's header promises.
//
// This relies on unexported fields of crypto/tls. If they have another name or type
// in a new Go, crypto/tls reads as it was meant to, and only memory is lost.
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

// open decrypts p, which it borrows and changes, and what has come before, into
// plain, which is large enough. An error says that no more will come.
func (f *tlsConn) open(p, plain []byte) (n int, err error) {
	if !theTLSBuffers.known {
		return f.openAsMeant(p, plain)
	}
	if f.part != nil {
		if p = f.complete(p); wholeRecords(f.part.Bytes()) == 0 {
			return 0, f.endOf()
		}
		part := f.part
		f.part = nil
		n, err = f.openWhole(part.Bytes(), plain)
		part.Release()
	}
	if whole := wholeRecords(p); err == nil && whole > 0 {
		var m int
		m, err = f.openWhole(p[:whole], plain[n:])
		n, p = n+m, p[whole:]
	}
	if err == nil && len(p) > 0 {
		f.part = pool.Spills.Get(len(p))
		f.part.Append(p)
	}
	if err == nil {
		err = f.endOf()
	}
	return n, err
}

// endOf is the error of the socket's end, if that was seen: crypto/tls need not
// be asked, but does not know either what has come of a record.
func (f *tlsConn) endOf() error {
	switch {
	case !f.atEnd:
		return nil
	case f.part != nil:
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

// openAsMeant is open without a look into crypto/tls.
func (f *tlsConn) openAsMeant(p, plain []byte) (n int, err error) {
	f.in = p
	for n < len(plain) && err == nil {
		var m int
		m, err = f.tls.Read(plain[n:])
		n += m
	}
	f.in = nil
	if err == errTLSAgain {
		err = nil
	}
	return n, err
}

// openWhole decrypts whole records, which it borrows and changes.
func (f *tlsConn) openWhole(records, plain []byte) (n int, err error) {
	raw := f.rawInput()
	*raw = *bytes.NewBuffer(records)
	for err == nil && raw.Len() > 0 { // to ask in vain costs an allocation
		var m int
		m, err = f.tls.Read(plain[n:])
		n += m
	}
	if err == errTLSAgain {
		err = nil
		invariants.Check(raw.Len() == 0, "crypto/tls wants more than a whole record")
	}
	*raw = bytes.Buffer{}
	if hand := f.handInput(); hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	if err == nil && f.hoards(f.maxUpdate()) {
		err = errTLSTooLong
	}
	return n, err
}

const (
	// maxTLSMessage is how much may have come of a message of the handshake that
	// is not whole: room for a client's chain of certificates. crypto/tls takes
	// 256 KiB of anybody.
	maxTLSMessage = 32 << 10
	// maxTLSUpdate is the same behind the handshake. What clients have to say
	// there, that they change their key, has 5 bytes. A server may send tickets, which
	// may have its client's chain in them.
	maxTLSUpdate = 1 << 10
)

// maxUpdate is how much may have come of a message behind the handshake.
func (f *tlsConn) maxUpdate() int {
	if f.client {
		return maxTLSMessage
	}
	return maxTLSUpdate
}

// hoards reports whether more than limit bytes have come of a message of TLS
// itself that is not whole.
func (f *tlsConn) hoards(limit int) bool {
	return theTLSBuffers.known && f.handInput().Len() > limit
}

// complete moves bytes of p to the piece of a record that has come, as far as
// that needs them, and returns the others.
func (f *tlsConn) complete(p []byte) (rest []byte) {
	take := func(n int) {
		n = min(max(n, 0), len(p))
		f.part.Append(p[:n])
		p = p[n:]
	}
	take(tlsHeader - f.part.Len())
	if have := f.part.Bytes(); len(have) >= tlsHeader {
		take(recordLength(have) - len(have))
	}
	return p
}

// tlsHeader is the length of a record's header.
const tlsHeader = 5

// recordLength is the length of the record whose header is at the front of p. Of
// what is no record, or one that is too long, it is the header: crypto/tls says so
// as soon as it sees that.
func recordLength(p []byte) int {
	n := int(p[3])<<8 | int(p[4])
	if p[1] != 3 || tlsHeader+n > maxTLSRecord {
		return tlsHeader
	}
	return tlsHeader + n
}

// wholeRecords is how many of the bytes of p are whole records.
func wholeRecords(p []byte) (n int) {
	for len(p)-n >= tlsHeader {
		length := recordLength(p[n:])
		if len(p)-n < length {
			break
		}
		n += length
	}
	return n
}

// takeRead takes what crypto/tls has read ahead during the handshake.
func (f *tlsConn) takeRead() (b *pool.Buf) {
	if !theTLSBuffers.known {
		return nil
	}
	raw := f.rawInput()
	if raw.Len() > 0 {
		b = pool.Spills.Get(raw.Len())
		b.Append(raw.Bytes())
	}
	*raw = bytes.Buffer{}
	if hand := f.handInput(); hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	return b
}
