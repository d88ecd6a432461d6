package httpparse

const (
	maxSizeDigits = 16   // hex digits of a chunk size: what 64 bits hold
	maxExtension  = 256  // bytes of a size line behind the ';'; nobody uses extensions
	maxTrailer    = 8192 // bytes of all trailer fields together
)

// Chunked decodes one body in chunked transfer coding, RFC 9112, 7.1. The zero
// value is ready; assign it to start with another body. It keeps a few counters
// and never bytes: chunk extensions and trailers are checked and dropped.
//
// Limits: a size has 1 to 16 hex digits, an extension 256 bytes a line, all trailer
// fields together 8192 bytes. The sum of the sizes is bounded by what Decode is told.
type Chunked struct {
	left    uint64 // bytes of this chunk still to come
	fault   *Error // the error that ended it
	trailer uint16 // bytes of trailer so far
	line    uint16 // bytes of extension in this size line
	digits  uint8  // of this chunk's size
	state   chunkState
}

type chunkState uint8

const (
	chunkSize    chunkState = iota
	extensionDue            // behind ';': the name of an extension is due
	extensionName
	extensionAssign // behind a name and whitespace: '=' or ';' is due
	extensionValue  // behind '=': a token or a quoted string is due
	extensionToken
	extensionQuoted
	extensionEscape // behind a backslash in a quoted string
	extensionClosed // behind the closing quote
	extensionNext   // behind a value and whitespace: ';' is due
	chunkSizeLF     // LF of the size line is due
	chunkData       // left bytes to come
	chunkDataCR     // CR behind the data is due
	chunkDataLF     // and its LF
	trailerStart    // a trailer field or the last line begins
	trailerName     // up to the colon
	trailerValue    // up to CR
	trailerLF       // LF of a trailer field is due
	trailerEndLF    // LF of the last line is due
	chunkDone
)

// Decode takes bytes from the front of p until it has a piece of body or p is
// used up. body, which may be empty, and rest borrow p. Call again with rest
// until rest is empty, then with the bytes that come next, until done; with
// done, rest is what follows the body. done repeats.
//
// room is how many bytes of body the caller takes beyond the pieces that it has. A chunk
// whose size is larger is refused before its first byte, with ErrBodyBytes.
//
// The error is an *Error with status 400, 413 for a body above room, or 431 for trailers
// above the limit. The error repeats, and the connection must be closed.
func (c *Chunked) Decode(p []byte, room uint64) (body, rest []byte, done bool, err error) {
	if c.fault != nil {
		return nil, nil, false, c.fault
	}
	if c.state == chunkDone {
		return nil, p, true, nil
	}
	for i, b := range p {
		if c.state == chunkData {
			p = p[i:]
			n := len(p)
			if uint64(n) >= c.left {
				n = int(c.left) // #nosec G115 -- at most len(p)
				c.state = chunkDataCR
			}
			c.left -= uint64(n)
			return p[:n], p[n:], false, nil
		}
		if c.fault = c.step(b); c.fault != nil {
			return nil, nil, false, c.fault
		}
		if c.state == chunkData && c.left > room {
			c.fault = ErrBodyBytes
			return nil, nil, false, c.fault
		}
		if c.state == chunkDone {
			return nil, p[i+1:], true, nil
		}
	}
	return nil, p[len(p):], false, nil
}

// step takes one byte that is not data.
func (c *Chunked) step(b byte) *Error {
	switch c.state {
	case chunkSize:
		return c.size(b)
	case extensionDue, extensionName, extensionAssign, extensionValue, extensionToken,
		extensionQuoted, extensionEscape, extensionClosed, extensionNext:
		if c.line++; c.line > maxExtension && b != '\r' {
			return errChunkLine
		}
		return c.extension(b)
	case chunkSizeLF:
		if b != '\n' {
			return errChunkLine
		}
		c.state = chunkData
		if c.left == 0 {
			c.state = trailerStart
		}
		c.digits, c.line = 0, 0
	case chunkDataCR:
		if b != '\r' {
			return errChunkEnd
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if b != '\n' {
			return errChunkEnd
		}
		c.state = chunkSize
	default:
		return c.trailers(b)
	}
	return nil
}

// size takes one byte of a chunk size or the first one behind it.
func (c *Chunked) size(b byte) *Error {
	switch {
	case class[b]&isHex != 0:
		// Refused before it is added, so that left cannot overflow.
		if c.digits == maxSizeDigits {
			return errChunkSize
		}
		c.digits++
		c.left = c.left<<4 | uint64(hexValue(b))
	case c.digits == 0:
		return errChunkSize
	case b == ';':
		c.state = extensionDue
	case b == '\r':
		c.state = chunkSizeLF
	default:
		return errChunkSize
	}
	return nil
}

// extension takes one byte behind the ';' of a size line: RFC 9112, 7.1.1.
// Extensions that are not understood are ignored, and we understand none; but
// each has to be one, since parsers that make something else of an odd line end
// the chunk elsewhere. Whitespace before the first ';' is refused by size, although
// the grammar has it: many parsers would not take it, and nobody sends it.
func (c *Chunked) extension(b byte) *Error {
	token, space := class[b]&isToken != 0, b == ' ' || b == '\t'
	switch c.state {
	case extensionDue:
		if token {
			c.state = extensionName
		} else if !space {
			return errChunkLine
		}
	case extensionName:
		switch {
		case token:
		case space:
			c.state = extensionAssign
		case b == '=':
			c.state = extensionValue
		default:
			return c.extensionEnd(b)
		}
	case extensionAssign:
		switch {
		case space:
		case b == '=':
			c.state = extensionValue
		default:
			return c.extensionNext(b)
		}
	case extensionValue:
		switch {
		case token:
			c.state = extensionToken
		case b == '"':
			c.state = extensionQuoted
		case !space:
			return errChunkLine
		}
	case extensionQuoted:
		switch {
		case b == '"':
			c.state = extensionClosed
		case b == '\\':
			c.state = extensionEscape
		case class[b]&isValue == 0:
			return errChunkLine
		}
	case extensionEscape:
		if class[b]&isValue == 0 {
			return errChunkLine
		}
		c.state = extensionQuoted
	case extensionToken, extensionClosed:
		switch {
		case token && c.state == extensionToken:
		case space:
			c.state = extensionNext
		default:
			return c.extensionEnd(b)
		}
	case extensionNext:
		if !space {
			return c.extensionNext(b)
		}
	}
	return nil
}

// extensionEnd takes the byte behind a whole extension: the end of the line, or
// the ';' of the next extension.
func (c *Chunked) extensionEnd(b byte) *Error {
	if b == '\r' {
		c.state = chunkSizeLF
		return nil
	}
	return c.extensionNext(b)
}

// extensionNext takes the ';' of the next extension.
func (c *Chunked) extensionNext(b byte) *Error {
	if b != ';' {
		return errChunkLine
	}
	c.state = extensionDue
	return nil
}

// trailers takes one byte behind the last chunk: RFC 9112, 7.1.2. The fields
// are judged like those of a head and then dropped, since a field that came too
// late to be routed by must not change the request.
func (c *Chunked) trailers(b byte) *Error {
	switch c.state {
	case trailerStart:
		switch {
		case b == '\r':
			c.state = trailerEndLF
			return nil
		case class[b]&isToken == 0:
			return errTrailer
		}
		c.state = trailerName
	case trailerName:
		switch {
		case b == ':':
			c.state = trailerValue
		case class[b]&isToken == 0:
			return errTrailer
		}
	case trailerValue:
		switch {
		case b == '\r':
			c.state = trailerLF
		case class[b]&isValue == 0:
			return errTrailer
		}
	case trailerLF:
		if b != '\n' {
			return errTrailer
		}
		c.state = trailerStart
	case trailerEndLF:
		if b != '\n' {
			return errTrailer
		}
		c.state = chunkDone
		return nil
	}
	if c.trailer++; c.trailer > maxTrailer {
		return ErrTrailerBytes
	}
	return nil
}
