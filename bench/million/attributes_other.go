//go:build !linux

package million

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
