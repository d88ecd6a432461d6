package compare

import (
	"runtime"
	"strings"

	"turbine/bench/report"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// machine describes where we run. What cannot be found out stays empty.
func machine() report.Machine {
	m := report.Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), Go: "Go " + strings.TrimPrefix(runtime.Version(), "go")}
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if cpus, err := fs.CPUInfo(); err == nil && len(cpus) > 0 && cpus[0].ModelName != "" {
			m.CPU = cpus[0].ModelName
		}
		if memory, err := fs.Meminfo(); err == nil && memory.MemTotalBytes != nil {
			m.MemoryBytes = int64(*memory.MemTotalBytes)
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		m.Descriptors = limit.Max
	}
	return m
}
