package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func limitUnsent(n int) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n) // #nosec G115 -- a descriptor
		})
		if failed != nil {
			return failed
		}
		return err
	}
}
