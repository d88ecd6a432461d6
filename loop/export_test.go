package loop

// TLSBuffersKnown reports whether the buffers of a tls.Conn are where they are
// known to be.
func TLSBuffersKnown() bool { return theTLSBuffers.known }

// ForgetTLSBuffers has crypto/tls used as it was meant to, until the result is
// called.
func ForgetTLSBuffers() (remember func()) {
	before := theTLSBuffers
	theTLSBuffers = tlsBuffers{}
	return func() { theTLSBuffers = before }
}

// Arriving is the number of connections that are dealt to the loop and not open.
func (l *Loop) Arriving() int { return int(l.arriving.Load()) }
