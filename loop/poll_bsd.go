//go:build darwin || freebsd

package loop

import "github.com/panjf2000/gnet/v2/pkg/netpoll"

// polling hands each ready descriptor to handle, until handle returns an error.
func (k *pollKernel) polling(handle netpoll.PollEventHandler) error { return k.poller.Polling(handle) }
