package ops

import (
	"runtime/metrics"

	"github.com/prometheus/procfs"
)

// processFigures are what the process has taken, without a stop of the world. What the
// system does not tell is left out.
func processFigures() object {
	const heap, total, released = "/memory/classes/heap/objects:bytes", "/memory/classes/total:bytes", "/memory/classes/heap/released:bytes"
	samples := []metrics.Sample{{Name: heap}, {Name: total}, {Name: released}, {Name: "/sched/goroutines:goroutines"}}
	metrics.Read(samples)
	all := object{
		"heap_bytes": samples[0].Value.Uint64(),
		"go_bytes":   samples[1].Value.Uint64() - samples[2].Value.Uint64(),
		"goroutines": samples[3].Value.Uint64(),
	}
	if self, err := procfs.Self(); err == nil {
		if stat, err := self.Stat(); err == nil {
			all["resident_bytes"], all["cpu_seconds"] = stat.ResidentMemory(), stat.CPUTime()
		}
	}
	return all
}
