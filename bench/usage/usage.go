// Package usage reads what a process has used: CPU time and memory.
package usage

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"
)

// Usage of a process up to now.
type Usage struct {
	CPU time.Duration // of all its threads, user and system; steps of 10 ms
	RSS int64         // resident memory in bytes; the kernel's socket memory is extra
}

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, which is 100
// on every Linux.
const clockTick = 10 * time.Millisecond

// Of reads the usage of the process pid.
func Of(pid int) (Usage, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	stat, err := p.Stat()
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	return Usage{
		CPU: time.Duration(stat.UTime+stat.STime) * clockTick,
		RSS: int64(stat.ResidentMemory()),
	}, nil
}
