package peer

import (
	"os"
	"syscall"
)

// attributes put a server into a group of its own, and have it end with us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// end asks the server's group to end, or kills it.
func end(p *os.Process, kill bool) {
	signal := syscall.SIGTERM
	if kill {
		signal = syscall.SIGKILL
	}
	_ = syscall.Kill(-p.Pid, signal) // it may be gone
}
