package httpparse

// Limits bounds what a peer may make a server keep and look at before the
// request is known. Zero or less stands for the default.
type Limits struct {
	RequestLine int // bytes of the request line without its CRLF; default 8192; above: 414. RFC 9112, 3 asks for at least 8000
	HeaderBytes int // bytes of all header fields together, each with its CRLF; default 16384; above: 431
	HeaderCount int // number of header fields; default 100; above: 431
}

const (
	defaultRequestLine = 8192
	defaultHeaderBytes = 16384
	defaultHeaderCount = 100
)

// Head returns the length in bytes of the longest head these limits let pass,
// with the empty lines before and behind it. Parse never answers
// ErrIncomplete to a slice longer than this.
func (l Limits) Head() int {
	l = l.filled()
	return len("\r\n") + l.RequestLine + len("\r\n") + l.HeaderBytes + len("\r\n")
}

func (l Limits) filled() Limits {
	if l.RequestLine <= 0 {
		l.RequestLine = defaultRequestLine
	}
	if l.HeaderBytes <= 0 {
		l.HeaderBytes = defaultHeaderBytes
	}
	if l.HeaderCount <= 0 {
		l.HeaderCount = defaultHeaderCount
	}
	return l
}
