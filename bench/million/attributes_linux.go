package million

import "syscall"

// attributes have a client end with us, and keep an interrupt at the terminal
// from it: it is asked to end in order.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
