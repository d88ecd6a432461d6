package ops

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/stretchr/testify/require"
)

// What the frugal collector has is what client_golang's has.
func TestFrugalProcess(t *testing.T) {
	frugal := samples(t, newFrugalProcess())
	full := samples(t, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	require.Len(t, frugal, 5)
	for key, value := range frugal {
		require.Contains(t, full, key)
		require.Positive(t, value, key)
	}
	for _, steady := range []string{"process_start_time_seconds", "process_max_fds"} {
		require.Equal(t, full[steady], frugal[steady])
	}
}

// A folder of the kernel has size 0 if the kernel does not count what is in it.
func TestListsDescriptors(t *testing.T) {
	for dir, want := range map[string]bool{
		"/proc/self/task": true,
		t.TempDir():       false,
		"/proc/self/no":   false,
	} {
		require.Equal(t, want, listsDescriptors(dir), dir)
	}
}
