package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// autobahnCases is how many cases each group of the Autobahn|Testsuite has.
var autobahnCases = map[int]int{1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1, 12: 90, 13: 126}

// What the suite calls a case.
const (
	good          = "OK"
	informational = "INFORMATIONAL" // the suite has no opinion
)

// explained are the cases that need not be OK, with what they are instead.
// docs/conformance.md says why.
var explained = map[string]string{
	"7.1.6":  informational,
	"7.13.1": informational,
	"7.13.2": informational,
}

// A verdict is what the report says of one case.
type verdict struct {
	Behavior      string `json:"behavior"`      // during the case
	BehaviorClose string `json:"behaviorClose"` // at its end
	Duration      int    `json:"duration"`      // milliseconds
}

// judge returns what is wrong with a run of the groups: cases that are missing
// or too many, and those that did not pass.
func judge(report map[string]verdict, groups []int) (faults []string) {
	got := map[int]int{}
	for name, v := range report {
		got[group(name)]++
		want := cmp.Or(explained[name], good)
		if v.Behavior != want {
			faults = append(faults, fmt.Sprintf("%s is %s, not %s", name, v.Behavior, want))
		}
		if v.BehaviorClose != good && v.BehaviorClose != want {
			faults = append(faults, fmt.Sprintf("%s ends %s, not %s", name, v.BehaviorClose, good))
		}
	}
	for _, g := range groups {
		if got[g] != autobahnCases[g] {
			faults = append(faults, fmt.Sprintf("group %d has %d cases, not %d", g, got[g], autobahnCases[g]))
		}
		delete(got, g)
	}
	for g, n := range got {
		faults = append(faults, fmt.Sprintf("group %d with %d cases was not asked for", g, n))
	}
	slices.Sort(faults)
	return faults
}

// group is the first number of a case's name.
func group(name string) int {
	first, _, _ := strings.Cut(name, ".")
	n, _ := strconv.Atoi(first)
	return n
}

// count sums the verdicts up.
func count(report map[string]verdict) string {
	n := map[string]int{}
	for _, v := range report {
		n[v.Behavior]++
	}
	var parts []string
	for _, behavior := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%d %s", n[behavior], behavior))
	}
	return strings.Join(parts, ", ")
}

func TestJudge(t *testing.T) {
	passing := func() map[string]verdict {
		report := map[string]verdict{}
		for i := range autobahnCases[3] {
			report[fmt.Sprintf("3.%d", i+1)] = verdict{good, good, 1}
		}
		report["10.1.1"] = verdict{good, good, 1}
		return report
	}
	for _, c := range []struct {
		name   string
		change func(map[string]verdict)
		want   []string
	}{
		{"all pass", func(map[string]verdict) {}, nil},
		{"failed", func(r map[string]verdict) { r["3.2"] = verdict{"FAILED", good, 1} }, []string{"3.2 is FAILED, not OK"}},
		{"not strict", func(r map[string]verdict) { r["3.2"] = verdict{"NON-STRICT", good, 1} }, []string{"3.2 is NON-STRICT, not OK"}},
		{"no compression", func(r map[string]verdict) { r["3.3"] = verdict{"UNIMPLEMENTED", good, 1} }, []string{"3.3 is UNIMPLEMENTED, not OK"}},
		{"bad end", func(r map[string]verdict) { r["10.1.1"] = verdict{good, "UNCLEAN", 1} }, []string{"10.1.1 ends UNCLEAN, not OK"}},
		{"no verdict", func(r map[string]verdict) { r["10.1.1"] = verdict{} }, []string{"10.1.1 ends , not OK", "10.1.1 is , not OK"}},
		{"missing", func(r map[string]verdict) { delete(r, "3.7") }, []string{"group 3 has 6 cases, not 7"}},
		{"nothing", func(r map[string]verdict) { clear(r) }, []string{"group 10 has 0 cases, not 1", "group 3 has 0 cases, not 7"}},
		{"another", func(r map[string]verdict) { r["4.1.1"] = verdict{good, good, 1} }, []string{"group 4 with 1 cases was not asked for"}},
	} {
		report := passing()
		c.change(report)
		require.Equal(t, c.want, judge(report, []int{3, 10}), c.name)
	}

	report := passing()
	report["7.1.6"] = verdict{informational, informational, 1}
	require.Equal(t, []string{"group 7 has 1 cases, not 37"}, judge(report, []int{3, 7, 10}), "explained")
	report["7.1.6"] = verdict{good, good, 1}
	require.Contains(t, judge(report, []int{3, 7, 10}), "7.1.6 is OK, not INFORMATIONAL", "to be explained no more")
}
