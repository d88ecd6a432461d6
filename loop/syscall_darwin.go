package loop

import "golang.org/x/sys/unix"

func setKeepAlive(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPALIVE, keepAliveIdle)
}
