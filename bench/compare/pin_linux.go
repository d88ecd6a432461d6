package compare

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxCores is more than a machine has; the kernel takes those that there are.
const maxCores = 1024

// pinProcess moves all threads of this process to one core; below 0 gives it
// all cores again. Threads that are made later inherit that.
func pinProcess(core int) error {
	var set unix.CPUSet
	if core >= 0 {
		set.Set(core)
	} else {
		for i := range maxCores {
			set.Set(i)
		}
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
			return err
		}
	}
	return nil
}
