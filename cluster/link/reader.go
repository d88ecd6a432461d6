package link

import "turbine/pool"

// reader takes frames out of a stream of bytes. A frame that comes whole is handed on in
// place, others wait in a Buf that is there only meanwhile. Its zero value is ready.
type reader struct {
	header Header
	begun  [HeaderLen]byte // the first bytes of a header
	n      int             // so many
	body   *pool.Buf       // what has come of the body; nil: none waits
	lent   bool            // body was handed on, and is free at the next call
}

// next returns the first frame of p, of what came before and p together, and what of p is
// behind it. body is borrowed until the next call. It returns ErrIncomplete if p has no
// end of a frame: then it has taken p.
func (r *reader) next(p []byte) (h Header, body, rest []byte, err error) {
	if r.lent {
		r.drop()
	}
	if r.body != nil {
		return r.more(p)
	}
	if r.n == 0 {
		h, body, n, err := Parse(p)
		if err == nil {
			return h, body, p[n:], nil
		}
		if err != ErrIncomplete {
			return h, nil, nil, err
		}
	}
	taken := copy(r.begun[r.n:], p)
	if r.n += taken; r.n < HeaderLen {
		return h, nil, nil, ErrIncomplete
	}
	if r.header, err = ParseHeader(r.begun[:]); err != nil {
		return r.header, nil, nil, err
	}
	r.n = 0
	if r.header.Length == 0 {
		return r.header, nil, p[taken:], nil
	}
	if len(p)-taken >= int(r.header.Length) {
		end := taken + int(r.header.Length)
		return r.header, p[taken:end], p[end:], nil
	}
	r.body = pool.Spills.Get(int(r.header.Length))
	return r.more(p[taken:])
}

// more takes what p has of a body that has begun.
func (r *reader) more(p []byte) (h Header, body, rest []byte, err error) {
	missing := int(r.header.Length) - r.body.Len()
	if len(p) < missing {
		r.body.Append(p)
		return h, nil, nil, ErrIncomplete
	}
	r.body.Append(p[:missing])
	r.lent = true
	return r.header, r.body.Bytes(), p[missing:], nil
}

// drop gives up what waits.
func (r *reader) drop() {
	if r.body != nil {
		r.body.Release()
	}
	r.body, r.lent = nil, false
}

// reset forgets what has begun.
func (r *reader) reset() {
	r.drop()
	r.n = 0
}
