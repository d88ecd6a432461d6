//go:build !linux

package peer

import (
	"os"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return nil }

func end(p *os.Process, kill bool) {
	if kill {
		_ = p.Kill()
		return
	}
	_ = p.Signal(syscall.SIGTERM)
}
