package compare

import (
	"slices"
	"syscall"
	"time"

	"turbine/bench/report"

	"github.com/prometheus/procfs"
)

// activity is what CPUs have done up to a moment, in seconds of CPU time.
type activity struct {
	all    float64 // busy or not
	busy   float64 // for processes; without interrupts, which belong to none
	stolen float64 // by other virtual machines
	known  float64 // busy for the server and for us
}

// cpuTimes reads what the CPUs have done since the machine began; of all of them if
// cpus is empty. It may be of a test.
type cpuTimes func(cpus []int) (activity, error)

func readTimes(cpus []int) (a activity, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return a, err
	}
	stat, err := fs.Stat()
	if err != nil {
		return a, err
	}
	for i, c := range stat.CPU {
		if len(cpus) > 0 && !slices.Contains(cpus, int(i)) {
			continue
		}
		busy := c.User + c.Nice + c.System
		a.busy += busy
		a.stolen += c.Steal
		a.all += busy + c.Idle + c.Iowait + c.IRQ + c.SoftIRQ + c.Steal
	}
	return a, nil
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// look reads what the CPUs of the scenario have done, and how much of it for the
// server and for the load generator.
func (f *field) look(r Running) (activity, error) {
	a, err := f.times(f.cpus())
	if err != nil {
		return a, err
	}
	u, err := r.Usage()
	a.known = (u.CPU + ownCPU()).Seconds()
	return a, err
}

// cpus are those that server and load generator are pinned to; nil for all.
func (f *field) cpus() []int {
	n := max(1, f.settings.Cores)
	if f.settings.Core < 0 || f.settings.Core+n >= f.report.Machine.Cores {
		return nil
	}
	var list []int
	for i := range n + 1 { // the load generator has the next
		list = append(list, f.settings.Core+i)
	}
	return list
}

// disturb notes in a sample what others had of the CPUs between two looks.
func disturb(s *report.Sample, before, after activity) {
	all := after.all - before.all
	if all <= 0 {
		return
	}
	s.Steal = max(0, after.stolen-before.stolen) / all
	s.Others = max(0, after.busy-before.busy-(after.known-before.known)) / all
}
