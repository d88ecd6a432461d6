//go:build darwin || freebsd

package loop

import "github.com/panjf2000/gnet/v2/pkg/netpoll"

// polling hands each ready descriptor to handle, until handle returns an error. It
// calls looked ahead of each, because gnet does not say when it has waited.
func (k *pollKernel) polling(looked func(), _ func() bool, handle netpoll.PollEventHandler) error {
	return k.poller.Polling(func(fd int, event netpoll.IOEvent, flags netpoll.IOFlags) error {
		looked()
		return handle(fd, event, flags)
	})
}
