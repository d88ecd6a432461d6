package engine

import (
	"context"
	"fmt"
)

// lifetime is what stands in Session.value once somebody has asked for the
// session's context: most never do, and have no place for one.
type lifetime struct {
	value  any // the application's
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Context is cancelled when the session closes, before Events.Close runs: it is for
// work that is done for this client alone. context.Cause is then a *ClosedError. The
// first call makes the context; after the session's end it returns one that is
// cancelled already. Safe from any goroutine.
func (s *Session) Context() context.Context {
	s.mu.Lock()
	l, ok := s.value.(*lifetime)
	if !ok {
		l = &lifetime{value: s.value}
		l.ctx, l.cancel = context.WithCancelCause(context.Background())
		s.value = l
	}
	s.mu.Unlock()
	if !ok && s.State() == StateClosed {
		l.cancel(&ClosedError{Reason: s.endedFor()}) // close may have been past
	}
	return l.ctx
}

// endedFor is why the session has ended. Safe from any goroutine.
func (s *Session) endedFor() Reason { return Reason(s.public.Load() &^ publicTraced >> publicReason) }

// Value is what SetValue stored, nil at first. Safe from any goroutine.
func (s *Session) Value() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.value.(*lifetime); ok {
		return l.value
	}
	return s.value
}

// SetValue attaches the application's own data. Safe from any goroutine.
func (s *Session) SetValue(v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.value.(*lifetime); ok {
		l.value = v
		return
	}
	s.value = v
}

// ClosedError says why the Context of a session was cancelled: context.Cause returns
// it. It wraps ErrClosed, and Err if that is not nil.
type ClosedError struct {
	Reason Reason
	// Err is what Events.Close is told: more about the cause, or nil. It is also nil if
	// the context was first asked for after the end.
	Err error
}

// Error is the reason, and what is known of the cause.
func (e *ClosedError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%v: %v", ErrClosed, e.Reason)
	}
	return fmt.Sprintf("%v: %v: %v", ErrClosed, e.Reason, e.Err)
}

// Unwrap is ErrClosed and Err.
func (e *ClosedError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrClosed}
	}
	return []error{ErrClosed, e.Err}
}
