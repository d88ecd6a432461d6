//go:build linux || darwin || freebsd

package loop

import (
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// failingAccepts are the errors of the next accepts. They belong to loop 0.
type failingAccepts struct{ errors []error }

func (f *failingAccepts) Kernel(_ int, k Kernel) Kernel { return k }

func (f *failingAccepts) Accept() error {
	if len(f.errors) == 0 {
		return nil
	}
	err := f.errors[0]
	f.errors = f.errors[1:]
	return err
}

// Whatever an accept fails with, and however often, the next client is served.
func TestAcceptFaults(t *testing.T) {
	faults := new(failingAccepts)
	a := startOnFaults(t, faults)
	failed := uint64(0)
	for _, err := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.EPROTO, syscall.EINTR, syscall.EPERM, syscall.EIO,
	} {
		a.on0(func() { faults.errors = []error{err, err, err, err} }) // also of the reserve's accepts
		a.requireServed()
		a.on0(func() { require.Empty(t, faults.errors) })
		require.Greater(t, a.Stats().AcceptErrors, failed, "%v", err)
		failed = a.Stats().AcceptErrors
	}
	require.Zero(t, a.Stats().Refused)
}

// A client that comes when there is no descriptor is told so at once, by the reserve.
func TestAcceptWithoutDescriptorsSheds(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE} {
		faults := new(failingAccepts)
		a := startOnFaults(t, faults)
		a.on0(func() { faults.errors = []error{err} })
		c, dialled := net.Dial("tcp", a.address)
		require.NoError(t, dialled)
		got, _ := io.ReadAll(c) // an end or a reset
		require.Empty(t, got)
		require.NoError(t, c.Close())
		require.EqualValues(t, 1, a.Stats().Refused)
		a.requireServed()
	}
}
