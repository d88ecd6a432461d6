package ops

import (
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/procfs"
)

// newProcess has the metrics of the process that Prometheus users know. Before version
// 6.2 Linux does not tell how many descriptors a process has: the collector of
// client_golang then lists them, which at a million takes seconds and makes the kernel
// keep an entry for each. There it is replaced by one that does not ask.
func newProcess() prometheus.Collector {
	if listsDescriptors("/proc/self/fd") {
		return newFrugalProcess()
	}
	return collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
}

// listsDescriptors reports whether dir, of the descriptors of a process, has to be
// listed to know how many they are. It is false where there is no such folder.
func listsDescriptors(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.Size() == 0
}

// frugalProcess has the metrics of collectors.NewProcessCollector that two short files
// of the kernel have. turbine_descriptors_used stands for process_open_fds.
type frugalProcess struct {
	cpu, resident, virtual, started, descriptors *prometheus.Desc
}

func newFrugalProcess() *frugalProcess {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return &frugalProcess{
		cpu:         desc("process_cpu_seconds_total", "Total user and system CPU time spent in seconds."),
		resident:    desc("process_resident_memory_bytes", "Resident memory size in bytes."),
		virtual:     desc("process_virtual_memory_bytes", "Virtual memory size in bytes."),
		started:     desc("process_start_time_seconds", "Start time of the process since unix epoch in seconds."),
		descriptors: desc("process_max_fds", "Maximum number of open file descriptors."),
	}
}

// Describe is for the registry.
func (p *frugalProcess) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{p.cpu, p.resident, p.virtual, p.started, p.descriptors} {
		descs <- desc
	}
}

// Collect is for the registry. What cannot be read is left out: the metrics of the
// server are worth more than an error.
func (p *frugalProcess) Collect(metrics chan<- prometheus.Metric) {
	self, err := procfs.Self()
	if err != nil {
		return
	}
	if stat, err := self.Stat(); err == nil {
		metrics <- prometheus.MustNewConstMetric(p.cpu, counter, stat.CPUTime())
		metrics <- prometheus.MustNewConstMetric(p.resident, gauge, float64(stat.ResidentMemory()))
		metrics <- prometheus.MustNewConstMetric(p.virtual, gauge, float64(stat.VirtualMemory()))
		if started, err := stat.StartTime(); err == nil {
			metrics <- prometheus.MustNewConstMetric(p.started, gauge, started)
		}
	}
	if limits, err := self.Limits(); err == nil {
		metrics <- prometheus.MustNewConstMetric(p.descriptors, gauge, float64(limits.OpenFiles))
	}
}
