//go:build !linux

package compare

import (
	"runtime"
	"strings"

	"turbine/bench/report"
)

// machine says what Go knows: the servers are measured on Linux only.
func machine() report.Machine {
	return report.Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), Go: "Go " + strings.TrimPrefix(runtime.Version(), "go")}
}
